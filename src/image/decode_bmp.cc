// SPDX-License-Identifier: Apache-2.0
// Uncompressed BMP, as cameras and their tools write it: 1, 4 and 8 bits with a palette, 24 and 32
// bits a pixel. Read here because rows go straight into the target with no copy of the image.
// Format: Microsoft, "Bitmap Header Types" (BITMAPCOREHEADER, BITMAPINFOHEADER and its successors).
#include "image/codec.h"
#include "image/color.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

namespace takt::codec {
namespace {

constexpr std::size_t kFileHeaderBytes = 14;

struct Bmp {
  int width = 0;
  int height = 0;
  bool top_down = false;
  int bits = 0;                                            // a pixel
  std::size_t pixels_at = 0;                               // first byte of the first stored row
  std::size_t row_bytes = 0;                               // padded to four
  bool gray = false;                                       // a palette of equal red, green and blue
  std::array<std::array<std::uint8_t, 3>, 256> palette{};  // blue, green, red
};

std::unexpected<Error> refuse(const std::string& what) {
  return fail(ErrorKind::invalid_input, "the BMP image " + what);
}

std::uint32_t little_endian(std::span<const std::byte> bytes, std::size_t at, int count) noexcept {
  std::uint32_t value = 0;
  for (int i = count - 1; i >= 0; --i) {
    value = value << 8U | std::to_integer<std::uint32_t>(bytes[at + static_cast<std::size_t>(i)]);
  }
  return value;
}

// Compression 0, or 3 (bit fields) with the masks that plain 32-bit pixels have.
bool plain_pixels(std::span<const std::byte> bytes, std::uint32_t compression, int bits) {
  constexpr std::size_t masks_at = kFileHeaderBytes + 40;
  if (compression == 0) return true;
  return compression == 3 && bits == 32 && bytes.size() >= masks_at + 12 &&
         little_endian(bytes, masks_at, 4) == 0xFF0000U &&
         little_endian(bytes, masks_at + 4, 4) == 0xFF00U &&
         little_endian(bytes, masks_at + 8, 4) == 0xFFU;
}

Result<void> read_palette(std::span<const std::byte> bytes, std::size_t at, std::size_t colors,
                          std::size_t entry_bytes, Bmp& bmp) {
  if (colors == 0) colors = 1UL << static_cast<unsigned>(bmp.bits);
  if (colors > 1UL << static_cast<unsigned>(bmp.bits)) {
    return refuse("is damaged in its header: " + std::to_string(colors) + " colours in " +
                  std::to_string(bmp.bits) + " bits");
  }
  if (at + colors * entry_bytes > bytes.size()) return refuse("is truncated in its palette");
  bmp.gray = true;
  for (std::size_t i = 0; i < colors; ++i) {
    for (std::size_t c = 0; c < 3; ++c) {
      bmp.palette[i][c] = std::to_integer<std::uint8_t>(bytes[at + i * entry_bytes + c]);
    }
    const auto& entry = bmp.palette[i];
    bmp.gray = bmp.gray && entry[0] == entry[1] && entry[1] == entry[2];
  }
  return {};
}

// Reads width, height and bits; returns the compression.
std::uint32_t read_info(std::span<const std::byte> bytes, std::size_t header_bytes, Bmp& bmp,
                        std::int64_t& width, std::int64_t& height) {
  if (header_bytes == 12) {  // BITMAPCOREHEADER
    width = little_endian(bytes, 18, 2);
    height = little_endian(bytes, 20, 2);
    bmp.bits = static_cast<int>(little_endian(bytes, 24, 2));
    return 0;
  }
  width = static_cast<std::int32_t>(little_endian(bytes, 18, 4));
  height = static_cast<std::int32_t>(little_endian(bytes, 22, 4));
  bmp.bits = static_cast<int>(little_endian(bytes, 28, 2));
  return little_endian(bytes, 30, 4);
}

Result<Bmp> read_header(std::span<const std::byte> bytes, const ImageLimits& limits) {
  if (bytes.size() < kFileHeaderBytes + 4) return refuse("is truncated in its header");
  const std::size_t header_bytes = little_endian(bytes, kFileHeaderBytes, 4);
  if (header_bytes != 12 && (header_bytes < 40 || header_bytes > 1024)) {
    return refuse("is damaged in its header: a header of " + std::to_string(header_bytes) +
                  " bytes");
  }
  if (bytes.size() < kFileHeaderBytes + header_bytes) return refuse("is truncated in its header");
  Bmp bmp;
  std::int64_t width = 0;
  std::int64_t height = 0;
  const std::uint32_t compression = read_info(bytes, header_bytes, bmp, width, height);
  bmp.top_down = height < 0;
  height = std::abs(height);
  if (auto checked = check_size(width, height, limits); !checked) {
    return std::unexpected(checked.error());
  }
  bmp.width = static_cast<int>(width);
  bmp.height = static_cast<int>(height);
  constexpr std::array depths{1, 4, 8, 24, 32};
  if (std::ranges::find(depths, bmp.bits) == depths.end() ||
      !plain_pixels(bytes, compression, bmp.bits)) {
    return refuse("has " + std::to_string(bmp.bits) + " bits a pixel with compression " +
                  std::to_string(compression) +
                  "; expected 1, 4, 8, 24 or 32 bits without compression: save it so, or as PNG");
  }
  if (bmp.bits <= 8) {
    const bool core = header_bytes == 12;
    const auto read = read_palette(bytes, kFileHeaderBytes + header_bytes,
                                   core ? 0 : little_endian(bytes, 46, 4), core ? 3 : 4, bmp);
    if (!read) return std::unexpected(read.error());
  }
  bmp.pixels_at = little_endian(bytes, 10, 4);
  bmp.row_bytes =
      (static_cast<std::size_t>(width) * static_cast<std::size_t>(bmp.bits) + 31U) / 32U * 4U;
  if (bmp.pixels_at < kFileHeaderBytes + header_bytes) {
    return refuse("is damaged in its header: the pixels begin at byte " +
                  std::to_string(bmp.pixels_at));
  }
  return bmp;
}

void expand(const Bmp& bmp, const std::uint8_t* raw, std::uint8_t* bgr) {
  if (bmp.bits >= 24) {
    const int step = bmp.bits / 8;
    for (int x = 0; x < bmp.width; ++x) {
      for (int c = 0; c < 3; ++c) bgr[3 * x + c] = raw[x * step + c];
    }
    return;
  }
  const auto bits = static_cast<unsigned>(bmp.bits);
  for (int x = 0; x < bmp.width; ++x) {
    const unsigned at = static_cast<unsigned>(x) * bits;
    const unsigned index =
        (static_cast<unsigned>(raw[at / 8U]) >> (8U - bits - at % 8U)) & ((1U << bits) - 1U);
    std::ranges::copy(bmp.palette[index], bgr + std::ptrdiff_t{3} * x);
  }
}

// An 8-bit gray image, the usual output of an inspection camera: one look-up a pixel.
void expand_gray(const Bmp& bmp, const std::uint8_t* raw, std::uint8_t* gray) {
  for (int x = 0; x < bmp.width; ++x) gray[x] = bmp.palette[raw[x]][0];
}

}  // namespace

Result<ImageInfo> probe_bmp(std::span<const std::byte> bytes, const ImageLimits& limits) {
  const auto bmp = read_header(bytes, limits);
  if (!bmp) return std::unexpected(bmp.error());
  return ImageInfo{ImageFormat::bmp, bmp->width, bmp->height, bmp->gray ? 1 : 3};
}

Result<void> decode_bmp(std::span<const std::byte> bytes, const ImageInfo& info, const Rows& rows) {
  const auto bmp = read_header(bytes, ImageLimits{info.width, info.height});
  if (!bmp) return std::unexpected(bmp.error());
  const std::size_t end = bmp->pixels_at + bmp->row_bytes * static_cast<std::size_t>(bmp->height);
  if (bytes.size() < end) {
    return refuse("is truncated: " + std::to_string(bytes.size()) + " bytes of " +
                  std::to_string(end));
  }
  const auto* pixels = reinterpret_cast<const std::uint8_t*>(bytes.data()) + bmp->pixels_at;
  const bool direct = bmp->gray && bmp->bits == 8 && rows.format == PixelFormat::gray8;
  std::vector<std::uint8_t> line(direct ? 0 : static_cast<std::size_t>(bmp->width) * 3);
  for (int y = 0; y < bmp->height; ++y) {
    const int stored = bmp->top_down ? y : bmp->height - 1 - y;
    const std::uint8_t* raw = pixels + bmp->row_bytes * static_cast<std::size_t>(stored);
    if (direct) {
      expand_gray(*bmp, raw, rows.row(y));
      continue;
    }
    expand(*bmp, raw, line.data());
    convert_row(line.data(), PixelFormat::bgr8, rows.row(y), rows.format, bmp->width);
  }
  return {};
}

}  // namespace takt::codec
