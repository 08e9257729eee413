// SPDX-License-Identifier: Apache-2.0
#include "image/decode.h"

#include "image/color.h"
#include "image/image_fixture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <utility>
#include <vector>

namespace takt {
namespace {

using fixtures::Bytes;

Image decoded(const Bytes& bytes, PixelFormat wanted) {
  const auto info = probe(bytes);
  EXPECT_TRUE(info) << (info ? "" : info.error().message);
  if (!info) return {};
  Image image(info->width, info->height, wanted);
  const auto stride = static_cast<std::size_t>(image.view().stride_bytes);
  const auto done = decode(bytes, wanted, image.pixels, stride);
  EXPECT_TRUE(done) << (done ? "" : done.error().message);
  return image;
}

Image converted(const Image& image, PixelFormat format) {
  Image out(image.width, image.height, format);
  for (int y = 0; y < image.height; ++y) {
    convert_row(image.view().row(y), image.format, out.row(y), format, image.width);
  }
  return out;
}

constexpr std::array kFormats{PixelFormat::gray8, PixelFormat::rgb8, PixelFormat::bgr8};

// Every kind of PNG that the specification allows, with the sample that stands for each raw value.
struct PngCase {
  fixtures::PngKind kind;
  int channels;
};

class EveryPng : public testing::TestWithParam<std::tuple<PngCase, std::uint8_t, int>> {};

TEST_P(EveryPng, DecodesToItsSamples) {
  auto [png_case, interlace, width] = GetParam();
  png_case.kind.interlace = interlace;
  const auto& kind = png_case.kind;
  const int height = 11;
  const std::size_t row_bytes = fixtures::raw_row_bytes(kind, width);
  std::vector<std::uint8_t> raw(row_bytes * static_cast<std::size_t>(height));
  std::minstd_rand random(7);
  for (auto& byte : raw) byte = static_cast<std::uint8_t>(random() >> 8U);
  spng_plte palette{};
  palette.n_entries = 1U << kind.bit_depth;
  for (auto& entry : palette.entries) {
    entry.red = static_cast<std::uint8_t>(random() >> 8U);
    entry.green = static_cast<std::uint8_t>(random() >> 8U);
    entry.blue = static_cast<std::uint8_t>(random() >> 8U);
  }
  const bool indexed = kind.color_type == SPNG_COLOR_TYPE_INDEXED;
  const Bytes bytes = fixtures::png(kind, width, height, raw, indexed ? &palette : nullptr);

  const auto info = probe(bytes);
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->format, ImageFormat::png);
  EXPECT_EQ(info->width, width);
  EXPECT_EQ(info->height, height);
  EXPECT_EQ(info->channels, png_case.channels);

  // The expectation goes bit by bit through the raw samples, with no table and no shortcut.
  const auto sample = [&](int y, int index) -> unsigned {
    unsigned value = 0;
    for (int bit = 0; bit < kind.bit_depth; ++bit) {
      const auto at =
          static_cast<std::size_t>(index) * kind.bit_depth + static_cast<std::size_t>(bit);
      const unsigned byte = raw[static_cast<std::size_t>(y) * row_bytes + at / 8];
      value = value * 2 + ((byte >> (7 - at % 8)) & 1U);
    }
    return value;
  };
  const auto to_8_bits = [&](unsigned value) {
    if (kind.bit_depth == 16) return static_cast<std::uint8_t>(value >> 8U);
    return static_cast<std::uint8_t>(value * 255U / ((1U << kind.bit_depth) - 1U));
  };
  const int samples = static_cast<int>(fixtures::raw_row_bytes({kind.color_type, 8}, 1));
  Image expected(width, height, png_case.channels == 1 ? PixelFormat::gray8 : PixelFormat::rgb8);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      if (indexed) {
        const auto& entry = palette.entries[sample(y, x)];
        std::uint8_t* pixel = expected.row(y) + std::ptrdiff_t{3} * x;
        pixel[0] = entry.red;
        pixel[1] = entry.green;
        pixel[2] = entry.blue;
        continue;
      }
      for (int c = 0; c < png_case.channels; ++c) {
        expected.row(y)[x * png_case.channels + c] = to_8_bits(sample(y, x * samples + c));
      }
    }
  }
  for (const PixelFormat format : kFormats) {
    EXPECT_EQ(decoded(bytes, format).pixels, converted(expected, format).pixels)
        << to_string(format);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Decode, EveryPng,
    testing::Combine(
        testing::Values(
            PngCase{{SPNG_COLOR_TYPE_GRAYSCALE, 1}, 1}, PngCase{{SPNG_COLOR_TYPE_GRAYSCALE, 2}, 1},
            PngCase{{SPNG_COLOR_TYPE_GRAYSCALE, 4}, 1}, PngCase{{SPNG_COLOR_TYPE_GRAYSCALE, 8}, 1},
            PngCase{{SPNG_COLOR_TYPE_GRAYSCALE, 16}, 1},
            PngCase{{SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, 8}, 1},
            PngCase{{SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, 16}, 1},
            PngCase{{SPNG_COLOR_TYPE_INDEXED, 1}, 3}, PngCase{{SPNG_COLOR_TYPE_INDEXED, 2}, 3},
            PngCase{{SPNG_COLOR_TYPE_INDEXED, 4}, 3}, PngCase{{SPNG_COLOR_TYPE_INDEXED, 8}, 3},
            PngCase{{SPNG_COLOR_TYPE_TRUECOLOR, 8}, 3}, PngCase{{SPNG_COLOR_TYPE_TRUECOLOR, 16}, 3},
            PngCase{{SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, 8}, 3},
            PngCase{{SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, 16}, 3}),
        testing::Values(SPNG_INTERLACE_NONE, SPNG_INTERLACE_ADAM7), testing::Values(1, 8, 21)));

TEST(DecodeJpeg, KeepsASmoothImageWithinAFewLevels) {
  for (const PixelFormat stored : {PixelFormat::gray8, PixelFormat::rgb8}) {
    const Image image = fixtures::gradient(61, 43, stored);
    const int subsampling = stored == PixelFormat::gray8 ? TJSAMP_GRAY : TJSAMP_444;
    for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
      const Bytes bytes = fixtures::jpeg(image, subsampling, flags);
      const auto info = probe(bytes);
      ASSERT_TRUE(info);
      EXPECT_EQ(info->format, ImageFormat::jpeg);
      EXPECT_EQ(info->channels, channel_count(stored));
      for (const PixelFormat format : kFormats) {
        const Image expected = converted(image, format);
        const Image found = decoded(bytes, format);
        ASSERT_EQ(found.pixels.size(), expected.pixels.size());
        for (std::size_t i = 0; i < found.pixels.size(); ++i) {
          ASSERT_NEAR(found.pixels[i], expected.pixels[i], 5) << to_string(format) << " at " << i;
        }
      }
    }
  }
}

TEST(DecodeBmp, TwentyFourBitsAreBlueGreenRed) {
  const Image image = fixtures::noise(13, 7, PixelFormat::bgr8, 3);
  for (const bool top_down : {false, true}) {
    const Bytes bytes = fixtures::bmp({24, top_down}, 13, 7, image.pixels);
    const auto info = probe(bytes);
    ASSERT_TRUE(info) << info.error().message;
    EXPECT_EQ(info->format, ImageFormat::bmp);
    EXPECT_EQ(info->channels, 3);
    for (const PixelFormat format : kFormats) {
      EXPECT_EQ(decoded(bytes, format).pixels, converted(image, format).pixels);
    }
  }
}

TEST(DecodeBmp, AlphaOfThirtyTwoBitsIsIgnored) {
  std::vector<std::uint8_t> rows;
  for (std::uint8_t i = 0; i < 6; ++i) rows.insert(rows.end(), {10, 20, i, 255});
  for (const std::uint32_t compression : {0U, 3U}) {
    for (const std::uint32_t header_bytes : {40U, 124U}) {
      const Bytes bytes = fixtures::bmp({32, false, compression, header_bytes}, 3, 2, rows);
      const Image image = decoded(bytes, PixelFormat::rgb8);
      EXPECT_EQ(image.pixels[0], 0);
      EXPECT_EQ(image.pixels[1], 20);
      EXPECT_EQ(image.pixels[2], 10);
      EXPECT_EQ(image.pixels[15], 5);
    }
  }
}

TEST(DecodeBmp, PalettesOfOneFourAndEightBits) {
  const std::vector<std::uint32_t> palette{0x000000, 0xFF0000, 0x00FF00, 0x0000FF};  // red highest
  const std::vector<std::uint8_t> one_bit{0b01000000};
  const std::vector<std::uint8_t> four_bits{0x01, 0x20};
  const std::vector<std::uint8_t> eight_bits{0, 1, 2};
  const Image four = decoded(fixtures::bmp({4}, 3, 1, four_bits, palette), PixelFormat::rgb8);
  EXPECT_EQ(four.pixels, (std::vector<std::uint8_t>{0, 0, 0, 255, 0, 0, 0, 255, 0}));
  const Image eight = decoded(fixtures::bmp({8}, 3, 1, eight_bits, palette), PixelFormat::rgb8);
  EXPECT_EQ(eight.pixels, four.pixels);
  const std::vector<std::uint32_t> two{0x000000, 0xFF0000};
  const Image one = decoded(fixtures::bmp({1}, 3, 1, one_bit, two), PixelFormat::bgr8);
  EXPECT_EQ(one.pixels, (std::vector<std::uint8_t>{0, 0, 0, 0, 0, 255, 0, 0, 0}));
}

TEST(DecodeBmp, OldCoreHeader) {
  const std::vector<std::uint8_t> rows{1, 2, 3, 4, 5, 6};
  const Bytes bytes = fixtures::bmp({24, false, 0, 12}, 2, 1, rows);
  EXPECT_EQ(decoded(bytes, PixelFormat::bgr8).pixels, rows);
}

TEST(DecodeBmp, CameraGrayIsGray) {
  std::vector<std::uint32_t> palette(256);
  for (std::uint32_t i = 0; i < 256; ++i) palette[i] = i * 0x010101U;
  const Image image = fixtures::noise(9, 5, PixelFormat::gray8, 4);
  const Bytes bytes = fixtures::bmp({8}, 9, 5, image.pixels, palette);
  EXPECT_EQ(probe(bytes)->channels, 1);
  for (const PixelFormat format : kFormats) {
    EXPECT_EQ(decoded(bytes, format).pixels, converted(image, format).pixels);
  }
}

TEST(Decode, WritesThroughTheStrideAndNothingElse) {
  const Image image = fixtures::board(20, 6);
  const Bytes files[] = {
      fixtures::png({}, 20, 6, image.pixels),
      fixtures::jpeg(image, TJSAMP_GRAY),
      fixtures::bmp({8}, 20, 6, image.pixels, std::vector<std::uint32_t>(256, 0x777777)),
  };
  for (const Bytes& bytes : files) {
    std::vector<std::uint8_t> room(32 * 5 + 20 + 8, 0xAB);
    ASSERT_TRUE(decode(bytes, PixelFormat::gray8, std::span(room).first(32 * 5 + 20), 32));
    for (std::size_t i = 0; i < room.size(); ++i) {
      if (i % 32 >= 20) {
        EXPECT_EQ(room[i], 0xAB) << "byte " << i;
      }
    }
    EXPECT_EQ(room.back(), 0xAB);
  }
}

TEST(Decode, RefusesRoomThatIsTooSmall) {
  const Bytes bytes = fixtures::png({}, 20, 6, fixtures::board(20, 6).pixels);
  std::vector<std::uint8_t> room(20UL * 6 * 3);
  for (const auto& [size, stride] :
       {std::pair{119UL, 20UL}, std::pair{120UL, 21UL}, std::pair{360UL, 19UL}, std::pair{0UL, 0UL},
        std::pair{360UL, ~0UL}}) {
    const auto done = decode(bytes, PixelFormat::gray8, std::span(room).first(size), stride);
    ASSERT_FALSE(done) << size << " " << stride;
    EXPECT_EQ(done.error().kind, ErrorKind::invalid_input);
    EXPECT_NE(done.error().message.find("needs 6 rows of 20 bytes"), std::string::npos);
  }
}

}  // namespace
}  // namespace takt
