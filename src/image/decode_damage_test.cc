// SPDX-License-Identifier: Apache-2.0
// Files that a line meets on a bad day: none may crash, none may be taken for an image.
#include "image/decode.h"
#include "image/image_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace takt {
namespace {

using fixtures::Bytes;
using namespace std::string_view_literals;

Bytes bytes_of(std::string_view text) {
  Bytes bytes(text.size());
  std::transform(text.begin(), text.end(), bytes.begin(),
                 [](char c) { return static_cast<std::byte>(c); });
  return bytes;
}

// Probes and decodes as a source does; the room is exactly what the header asks for, so that a
// sanitizer sees every write beyond it.
Result<void> read(const Bytes& bytes, PixelFormat wanted, const ImageLimits& limits = {}) {
  const auto info = probe(bytes, limits);
  if (!info) return std::unexpected(info.error());
  Image image(info->width, info->height, wanted);
  return decode(bytes, wanted, image.pixels, static_cast<std::size_t>(image.view().stride_bytes),
                limits);
}

std::string message_of(const Bytes& bytes, const ImageLimits& limits = {}) {
  const auto done = read(bytes, PixelFormat::gray8, limits);
  if (done) return "decoded";
  EXPECT_EQ(done.error().kind, ErrorKind::invalid_input);
  return done.error().message;
}

std::vector<Bytes> samples() {
  const Image board = fixtures::board(40, 24);
  const Image color = fixtures::gradient(40, 24, PixelFormat::rgb8);
  std::vector<std::uint8_t> bits(5UL * 24);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint8_t>(i * 37);
  spng_plte palette{};
  palette.n_entries = 256;
  std::vector<std::uint32_t> grays(256);
  for (std::uint32_t i = 0; i < 256; ++i) grays[i] = i * 0x010101U;
  return {
      fixtures::png({SPNG_COLOR_TYPE_GRAYSCALE, 1}, 40, 24, bits),
      fixtures::png({}, 40, 24, board.pixels),
      fixtures::png({SPNG_COLOR_TYPE_TRUECOLOR, 8}, 40, 24, color.pixels),
      fixtures::png({SPNG_COLOR_TYPE_TRUECOLOR, 8, SPNG_INTERLACE_ADAM7}, 40, 24, color.pixels),
      fixtures::png({SPNG_COLOR_TYPE_INDEXED, 8}, 40, 24, board.pixels, &palette),
      fixtures::jpeg(board, TJSAMP_GRAY),
      fixtures::jpeg(color, TJSAMP_420),
      fixtures::jpeg(color, TJSAMP_444, TJFLAG_PROGRESSIVE),
      fixtures::bmp({24}, 40, 24, color.pixels),
      fixtures::bmp({8}, 40, 24, board.pixels, grays),
      fixtures::bmp({1}, 40, 24, bits, std::vector<std::uint32_t>{0, 0xFFFFFF}),
  };
}

TEST(DamagedImage, EmptyFile) {
  EXPECT_EQ(message_of({}), "the image file is empty");
}

TEST(DamagedImage, WrongMagicSaysWhatItIs) {
  EXPECT_EQ(message_of(bytes_of("GIF89a")),
            "not a PNG, JPEG or BMP image: the data begins with 47 49 46 38 (a GIF); convert it to "
            "one of these formats");
  EXPECT_NE(message_of(bytes_of("II*\0abcd"sv)).find("(a TIFF)"), std::string::npos);
  EXPECT_EQ(message_of(bytes_of("x")),
            "not a PNG, JPEG or BMP image: the data begins with 78; convert it to one of these "
            "formats");
}

TEST(DamagedImage, TruncatedAtEveryLengthIsRefused) {
  int file = 0;
  for (const Bytes& whole : samples()) {
    ASSERT_TRUE(read(whole, PixelFormat::gray8)) << "sample " << file;
    // The last four bytes of a PNG are the checksum of its empty end marker: nothing is lost yet.
    const std::size_t needed = whole.size() - (probe(whole)->format == ImageFormat::png ? 4 : 0);
    for (std::size_t size = 0; size < needed; ++size) {
      const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      const auto done = read(cut, PixelFormat::gray8);
      ASSERT_FALSE(done) << "sample " << file << " cut to " << size << " of " << whole.size();
      ASSERT_EQ(done.error().kind, ErrorKind::invalid_input);
      ASSERT_FALSE(done.error().message.empty());
    }
    ++file;
  }
}

TEST(DamagedImage, TruncationIsNamed) {
  const auto files = samples();
  for (const Bytes& whole : files) {
    const Bytes half(whole.begin(),
                     whole.begin() + static_cast<std::ptrdiff_t>(whole.size() * 3 / 4));
    EXPECT_NE(message_of(half).find("truncated"), std::string::npos) << message_of(half);
  }
}

TEST(DamagedImage, EveryFlippedByteOfAPngsPixelsIsNoticed) {
  const Bytes whole = samples()[0];
  const std::string text(reinterpret_cast<const char*>(whole.data()), whole.size());
  const std::size_t begin = text.find("IDAT");
  const std::size_t end = text.find("IEND");
  ASSERT_NE(begin, std::string::npos);
  for (std::size_t at = begin + 4; at < end - 4; ++at) {
    Bytes flipped = whole;
    flipped[at] ^= std::byte{0x10};
    EXPECT_FALSE(read(flipped, PixelFormat::gray8)) << "byte " << at;
  }
}

// Ten thousand damaged files with a fixed seed: bytes flipped, ranges zeroed, pieces cut out or
// doubled. Whatever comes back, nothing may crash, and an error must be of a kind and say why.
TEST(DamagedImage, TenThousandMutationsNeverCrash) {
  const auto files = samples();
  std::minstd_rand random(20240611);
  const auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random()) % bound; };
  ImageLimits limits;
  limits.pixels_max = 1L << 20U;
  int refused = 0;
  for (int round = 0; round < 10000; ++round) {
    Bytes bytes = files[below(files.size())];
    for (std::size_t edits = 1 + below(4); edits > 0 && !bytes.empty(); --edits) {
      const std::size_t at =
          below(2) == 0 ? below(bytes.size()) : below(std::min<std::size_t>(bytes.size(), 64));
      const std::size_t count = std::min(bytes.size() - at, 1 + below(9));
      const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(at);
      const auto last = first + static_cast<std::ptrdiff_t>(count);
      switch (below(5)) {
        case 0:
          bytes[at] ^= static_cast<std::byte>(1U << below(8));
          break;
        case 1:
          bytes[at] = static_cast<std::byte>(below(256));
          break;
        case 2:
          std::fill(first, last, below(2) == 0 ? std::byte{0} : std::byte{0xFF});
          break;
        case 3:
          bytes.erase(first, last);
          break;
        default: {
          const Bytes piece(first, last);
          bytes.insert(first, piece.begin(), piece.end());
        }
      }
    }
    const auto wanted = below(2) == 0 ? PixelFormat::gray8 : PixelFormat::bgr8;
    const auto done = read(bytes, wanted, limits);
    if (done) continue;
    ++refused;
    ASSERT_EQ(done.error().kind, ErrorKind::invalid_input) << done.error().message;
    ASSERT_GT(done.error().message.size(), 10U);
  }
  EXPECT_GT(refused, 5000);  // most mutations hit something that matters
}

void put_big_endian(Bytes& bytes, std::size_t at, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<std::byte>(value >> (24 - 8 * i));
}

std::uint32_t crc32(std::span<const std::byte> bytes) {
  std::uint32_t crc = ~0U;
  for (const std::byte b : bytes) {
    crc ^= std::to_integer<std::uint32_t>(b);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0);
  }
  return ~crc;
}

// A whole PNG whose header claims another size, with a right checksum.
Bytes png_claiming(std::uint32_t width, std::uint32_t height) {
  Bytes bytes = samples()[0];
  put_big_endian(bytes, 16, width);
  put_big_endian(bytes, 20, height);
  put_big_endian(bytes, 29, crc32(std::span(bytes).subspan(12, 17)));
  return bytes;
}

TEST(DamagedImage, TwentyThousandPixelsSquareAreRefusedFromTheHeader) {
  EXPECT_EQ(
      message_of(png_claiming(20000, 20000)),
      "the image is 20000x20000 pixels, over the limit of 16384x16384; scale it down or raise "
      "the limit");
  Bytes bmp = samples()[8];
  bmp[18] = bmp[22] = std::byte{0x20};
  bmp[19] = bmp[23] = std::byte{0x4E};
  EXPECT_NE(message_of(bmp).find("the image is 20000x20000 pixels"), std::string::npos);
  Bytes jpeg = samples()[5];
  const std::string text(reinterpret_cast<const char*>(jpeg.data()), jpeg.size());
  const std::size_t frame_header = text.find("\xFF\xC0");
  ASSERT_NE(frame_header, std::string::npos);
  for (const std::size_t at : {5UL, 7UL}) {
    jpeg[frame_header + at] = std::byte{0x4E};
    jpeg[frame_header + at + 1] = std::byte{0x20};
  }
  EXPECT_NE(message_of(jpeg).find("the image is 20000x20000 pixels"), std::string::npos);
}

TEST(DamagedImage, PixelsInAllAreLimitedToo) {
  ImageLimits limits;
  limits.pixels_max = 900;
  EXPECT_EQ(
      message_of(samples()[1], limits),
      "the image is 40x24 pixels, over the limit of 900 pixels in all; scale it down or raise "
      "the limit");
}

TEST(DamagedImage, FileSizeIsLimited) {
  ImageLimits limits;
  limits.file_bytes_max = 10;
  EXPECT_NE(message_of(samples()[1], limits).find("bytes, over the limit of 10;"),
            std::string::npos);
}

TEST(DamagedImage, ZeroWidthOrHeightIsRefused) {
  EXPECT_EQ(message_of(png_claiming(0, 24)), "the image has no pixels (0x24)");
  EXPECT_EQ(message_of(png_claiming(40, 0)), "the image has no pixels (40x0)");
  Bytes bmp = samples()[8];
  bmp[18] = std::byte{0};
  EXPECT_EQ(message_of(bmp), "the image has no pixels (0x24)");
}

TEST(DamagedImage, SmallDataForALargeClaimedSizeIsTruncated) {
  // Within the limits, so that it must be noticed while decoding.
  EXPECT_NE(message_of(png_claiming(4000, 4000)).find("the PNG image is"), std::string::npos);
  Bytes bmp = samples()[8];
  bmp[19] = std::byte{4};
  EXPECT_NE(message_of(bmp).find("the BMP image is truncated"), std::string::npos);
}

TEST(DamagedImage, CompressedBmpIsRefusedWithARemedy) {
  const std::vector<std::uint8_t> rows(4);
  const Bytes bytes = fixtures::bmp({8, false, 1}, 2, 2, rows, std::vector<std::uint32_t>(256));
  EXPECT_EQ(message_of(bytes),
            "the BMP image has 8 bits a pixel with compression 1; expected 1, 4, 8, 24 or 32 bits "
            "without compression: save it so, or as PNG");
}

TEST(DamagedImage, PaletteIndexBeyondTheTableIsBlackNotACrash) {
  const std::vector<std::uint8_t> rows{0, 200, 255};
  const Bytes bytes = fixtures::bmp({8}, 3, 1, rows, std::vector<std::uint32_t>{0xFFFFFF});
  Image image(3, 1, PixelFormat::gray8);
  ASSERT_TRUE(decode(bytes, PixelFormat::gray8, image.pixels, 3));
  EXPECT_EQ(image.pixels, (std::vector<std::uint8_t>{255, 0, 0}));
}

}  // namespace
}  // namespace takt
