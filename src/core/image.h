// SPDX-License-Identifier: Apache-2.0
// 8-bit images as views, and the region of an image that a model looks at.
// Thread-safe: plain values; the pixels follow the rules of their owner.
// Owns: nothing but Image, which owns its pixels.
#pragma once

#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace takt {

enum class PixelFormat : std::uint8_t { gray8, rgb8, bgr8 };  // interleaved, 8 bits a channel

[[nodiscard]] constexpr int channel_count(PixelFormat format) noexcept {
  return format == PixelFormat::gray8 ? 1 : 3;
}
[[nodiscard]] std::string_view to_string(PixelFormat format) noexcept;
[[nodiscard]] Result<PixelFormat> parse_pixel_format(std::string_view name);

// Row y starts at pixels + y * stride_bytes; rows are width * channel_count(format) bytes.
struct ImageView {
  const std::uint8_t* pixels = nullptr;
  int width = 0;
  int height = 0;
  int stride_bytes = 0;
  PixelFormat format = PixelFormat::gray8;

  [[nodiscard]] const std::uint8_t* row(int y) const noexcept {
    return pixels + static_cast<std::ptrdiff_t>(y) * stride_bytes;
  }
  [[nodiscard]] bool dense() const noexcept {
    return stride_bytes == width * channel_count(format);
  }
  [[nodiscard]] std::size_t byte_size() const noexcept {
    return static_cast<std::size_t>(stride_bytes) * static_cast<std::size_t>(height);
  }
};

// A dense image that owns its pixels. For tests, tools and cold paths; the hot path uses views into
// slots.
struct Image {
  int width = 0;
  int height = 0;
  PixelFormat format = PixelFormat::gray8;
  std::vector<std::uint8_t> pixels;

  Image() = default;
  Image(int width_px, int height_px, PixelFormat pixel_format, std::uint8_t fill = 0);
  [[nodiscard]] ImageView view() const noexcept;
  [[nodiscard]] std::uint8_t* row(int y) noexcept;
};

// A rectangle in pixel coordinates (pixel i covers [i, i+1)); may reach outside the image.
struct Region {
  float x = 0;
  float y = 0;
  float width = 0;
  float height = 0;
  friend bool operator==(const Region&, const Region&) = default;
};

// Corner form, as detections use it: [x1, x2) x [y1, y2) in pixels of the source image.
struct Box {
  float x1 = 0;
  float y1 = 0;
  float x2 = 0;
  float y2 = 0;
  friend bool operator==(const Box&, const Box&) = default;

  [[nodiscard]] float width() const noexcept { return x2 - x1; }
  [[nodiscard]] float height() const noexcept { return y2 - y1; }
  [[nodiscard]] float area() const noexcept {
    return width() > 0 && height() > 0 ? width() * height() : 0;
  }
};

// Intersection over union, 0 when both are empty.
[[nodiscard]] float iou(const Box& a, const Box& b) noexcept;

}  // namespace takt
