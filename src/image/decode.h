// SPDX-License-Identifier: Apache-2.0
// Reads PNG, JPEG and BMP from bytes straight into the caller's pixels.
// Thread-safe: pure functions.
// Owns: nothing; decoding allocates a few rows (an interlaced PNG or a progressive JPEG: the image).
#pragma once

#include "core/image.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace takt {

enum class ImageFormat : std::uint8_t { png, jpeg, bmp };

[[nodiscard]] std::string_view to_string(ImageFormat format) noexcept;

struct ImageInfo {
  ImageFormat format = ImageFormat::png;
  int width = 0;
  int height = 0;
  int channels = 1;  // 1 gray, 3 colour; an alpha channel isn't counted
};

// What an image may cost, checked from its header before anything is allocated.
struct ImageLimits {
  int width_max = 16384;
  int height_max = 16384;
  std::int64_t pixels_max = 64LL * 1024 * 1024;
  std::size_t file_bytes_max = 64UL * 1024 * 1024;
};

// What the header says. Errors: invalid_input when the bytes are empty, no PNG, JPEG or BMP, end in
// the header, hold an image without pixels, or exceed a limit. Messages don't name the file.
[[nodiscard]] Result<ImageInfo> probe(std::span<const std::byte> bytes,
                                      const ImageLimits& limits = {});

// Decodes into `target`, rows of `stride_bytes`, in the format wanted; converts colour by BT.601.
// 16-bit samples keep their high byte; alpha, gamma, colour profiles and EXIF orientation are
// ignored. Errors: invalid_input as probe, when `target` is too small, and for damaged or truncated
// pixels (also when only the end marker is missing); out_of_memory. After an error the target's
// pixels are undefined.
[[nodiscard]] Result<void> decode(std::span<const std::byte> bytes, PixelFormat wanted,
                                  std::span<std::uint8_t> target, std::size_t stride_bytes,
                                  const ImageLimits& limits = {});

}  // namespace takt
