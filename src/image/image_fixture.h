// SPDX-License-Identifier: Apache-2.0
// Image files made in the tests: every PNG kind, JPEG and BMP, written by libraries or by hand.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "core/image.h"

#include <spng.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace takt::fixtures {

using Bytes = std::vector<std::byte>;

inline Image noise(int width, int height, PixelFormat format, unsigned seed) {
  Image image(width, height, format);
  std::minstd_rand random(seed);
  std::generate(image.pixels.begin(), image.pixels.end(),
                [&] { return static_cast<std::uint8_t>(random() >> 8U); });
  return image;
}

// A binarised board: tracks and pads.
inline Image board(int width, int height) {
  Image image(width, height, PixelFormat::gray8);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const bool copper =
          y % 32 < 8 || x % 64 < 10 || (x % 53) * (x % 53) + (y % 47) * (y % 47) < 200;
      image.row(y)[x] = copper ? 255 : 0;
    }
  }
  return image;
}

// A smooth picture, which JPEG keeps nearly unchanged.
inline Image gradient(int width, int height, PixelFormat format) {
  Image image(width, height, format);
  const int channels = channel_count(format);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width * channels; ++x) {
      image.row(y)[x] = static_cast<std::uint8_t>(60 + x / channels + y + 20 * (x % channels));
    }
  }
  return image;
}

struct PngKind {
  std::uint8_t color_type = SPNG_COLOR_TYPE_GRAYSCALE;
  std::uint8_t bit_depth = 8;
  std::uint8_t interlace = SPNG_INTERLACE_NONE;
};

inline std::size_t raw_row_bytes(const PngKind& kind, int width) {
  const int samples = kind.color_type == SPNG_COLOR_TYPE_TRUECOLOR         ? 3
                      : kind.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA ? 2
                      : kind.color_type == SPNG_COLOR_TYPE_TRUECOLOR_ALPHA ? 4
                                                                           : 1;
  return static_cast<std::size_t>((width * samples * kind.bit_depth + 7) / 8);
}

// Writes raw samples (big-endian, packed) as they are. Throws std::runtime_error.
inline Bytes png(const PngKind& kind, int width, int height, std::span<const std::uint8_t> raw,
                 const spng_plte* palette = nullptr) {
  spng_ctx* context = spng_ctx_new(SPNG_CTX_ENCODER);
  spng_ihdr header{};
  header.width = static_cast<std::uint32_t>(width);
  header.height = static_cast<std::uint32_t>(height);
  header.bit_depth = kind.bit_depth;
  header.color_type = kind.color_type;
  header.interlace_method = kind.interlace;
  spng_set_option(context, SPNG_ENCODE_TO_BUFFER, 1);
  spng_set_ihdr(context, &header);
  spng_plte copy{};
  if (palette != nullptr) {
    copy = *palette;
    spng_set_plte(context, &copy);
  }
  int code = spng_encode_image(context, raw.data(), raw.size(), SPNG_FMT_RAW, SPNG_ENCODE_FINALIZE);
  std::size_t size = 0;
  void* buffer = code == SPNG_OK ? spng_get_png_buffer(context, &size, &code) : nullptr;
  Bytes bytes;
  if (buffer != nullptr) {
    bytes.resize(size);
    std::memcpy(bytes.data(), buffer, size);
    std::free(buffer);
  }
  spng_ctx_free(context);
  if (bytes.empty()) throw std::runtime_error(std::string("fixture: ") + spng_strerror(code));
  return bytes;
}

inline Bytes jpeg(const Image& image, int subsampling = TJSAMP_444, int flags = 0) {
  tjhandle handle = tjInitCompress();
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  const int format = image.format == PixelFormat::gray8  ? TJPF_GRAY
                     : image.format == PixelFormat::rgb8 ? TJPF_RGB
                                                         : TJPF_BGR;
  const int code = tjCompress2(handle, image.pixels.data(), image.width, 0, image.height, format,
                               &buffer, &size, subsampling, 95, flags);
  Bytes bytes;
  if (code == 0) {
    bytes.resize(size);
    std::memcpy(bytes.data(), buffer, size);
  }
  tjFree(buffer);
  tjDestroy(handle);
  if (code != 0) throw std::runtime_error("fixture: JPEG");
  return bytes;
}

inline void put(Bytes& bytes, std::uint32_t value, int count) {
  for (int i = 0; i < count; ++i) {
    bytes.push_back(static_cast<std::byte>(value >> (8U * static_cast<unsigned>(i))));
  }
}

struct BmpKind {
  int bits = 24;
  bool top_down = false;
  std::uint32_t compression = 0;
  std::uint32_t header_bytes = 40;
};

// `rows` top to bottom, unpadded; the palette as blue, green, red, 0.
inline Bytes bmp(const BmpKind& kind, int width, int height, std::span<const std::uint8_t> rows,
                 std::span<const std::uint32_t> palette = {}) {
  const auto row_bytes = static_cast<std::size_t>((width * kind.bits + 7) / 8);
  const bool core = kind.header_bytes == 12;
  const std::size_t masks = kind.compression == 3 && kind.header_bytes == 40 ? 12 : 0;
  const std::size_t pixels_at = 14 + kind.header_bytes + masks + palette.size() * (core ? 3 : 4);
  Bytes bytes;
  put(bytes, 'B' | 'M' << 8, 2);
  put(bytes, 0, 4);
  put(bytes, 0, 4);
  put(bytes, static_cast<std::uint32_t>(pixels_at), 4);
  put(bytes, kind.header_bytes, 4);
  put(bytes, static_cast<std::uint32_t>(width), core ? 2 : 4);
  put(bytes, static_cast<std::uint32_t>(kind.top_down ? -height : height), core ? 2 : 4);
  put(bytes, 1, 2);
  put(bytes, static_cast<std::uint32_t>(kind.bits), 2);
  if (!core) {
    put(bytes, kind.compression, 4);
    for (int i = 0; i < 3; ++i) put(bytes, 0, 4);
    put(bytes, static_cast<std::uint32_t>(palette.size()), 4);
    put(bytes, 0, 4);
    for (const std::uint32_t mask : {0xFF0000U, 0xFF00U, 0xFFU}) {
      if (kind.compression == 3) put(bytes, mask, 4);
    }
    while (bytes.size() < 14 + kind.header_bytes) bytes.push_back(std::byte{0});
  }
  for (const std::uint32_t color : palette) put(bytes, color, core ? 3 : 4);
  for (int y = 0; y < height; ++y) {
    const auto row = static_cast<std::size_t>(kind.top_down ? y : height - 1 - y);
    for (std::size_t i = 0; i < (row_bytes + 3) / 4 * 4; ++i) {
      bytes.push_back(i < row_bytes ? static_cast<std::byte>(rows[row * row_bytes + i])
                                    : std::byte{0});
    }
  }
  return bytes;
}

}  // namespace takt::fixtures
