// SPDX-License-Identifier: Apache-2.0
// The three image readers behind decode.h; for src/image only.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "image/decode.h"

#include <cstddef>
#include <span>
#include <string>

namespace takt::codec {

// Where the pixels go; decode.cc has checked that every row fits.
struct Rows {
  std::uint8_t* pixels = nullptr;
  std::size_t stride_bytes = 0;
  PixelFormat format = PixelFormat::gray8;

  [[nodiscard]] std::uint8_t* row(int y) const noexcept {
    return pixels + static_cast<std::size_t>(y) * stride_bytes;
  }
};

// Errors: invalid_input when the size is zero, exceeds a limit, or the room doesn't hold it.
[[nodiscard]] Result<void> check_size(std::int64_t width, std::int64_t height,
                                      const ImageLimits& limits);
[[nodiscard]] Result<Rows> rows_of(const ImageInfo& info, PixelFormat wanted,
                                   std::span<std::uint8_t> target, std::size_t stride_bytes);

[[nodiscard]] Result<ImageInfo> probe_png(std::span<const std::byte> bytes,
                                          const ImageLimits& limits);
[[nodiscard]] Result<void> decode_png(std::span<const std::byte> bytes, const ImageInfo& info,
                                      const Rows& rows);

[[nodiscard]] Result<ImageInfo> probe_jpeg(std::span<const std::byte> bytes,
                                           const ImageLimits& limits);
[[nodiscard]] Result<void> decode_jpeg(std::span<const std::byte> bytes, const ImageInfo& info,
                                       const Rows& rows);

[[nodiscard]] Result<ImageInfo> probe_bmp(std::span<const std::byte> bytes,
                                          const ImageLimits& limits);
[[nodiscard]] Result<void> decode_bmp(std::span<const std::byte> bytes, const ImageInfo& info,
                                      const Rows& rows);

}  // namespace takt::codec
