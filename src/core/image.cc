// SPDX-License-Identifier: Apache-2.0
#include "core/image.h"

#include <algorithm>
#include <string>

namespace takt {

std::string_view to_string(PixelFormat format) noexcept {
  switch (format) {
    case PixelFormat::gray8:
      return "gray8";
    case PixelFormat::rgb8:
      return "rgb8";
    case PixelFormat::bgr8:
      return "bgr8";
  }
  return "gray8";
}

Result<PixelFormat> parse_pixel_format(std::string_view name) {
  for (const PixelFormat format : {PixelFormat::gray8, PixelFormat::rgb8, PixelFormat::bgr8}) {
    const std::string_view full = to_string(format);
    if (name == full || name == full.substr(0, full.size() - 1)) return format;
  }
  return fail(ErrorKind::invalid_input,
              "unknown pixel format '" + std::string(name) + "'; expected gray, rgb or bgr");
}

Image::Image(int width_px, int height_px, PixelFormat pixel_format, std::uint8_t fill)
    : width(width_px),
      height(height_px),
      format(pixel_format),
      pixels(static_cast<std::size_t>(width_px) * static_cast<std::size_t>(height_px) *
                 static_cast<std::size_t>(channel_count(pixel_format)),
             fill) {}

ImageView Image::view() const noexcept {
  return {pixels.data(), width, height, width * channel_count(format), format};
}

std::uint8_t* Image::row(int y) noexcept {
  return pixels.data() + static_cast<std::ptrdiff_t>(y) * width * channel_count(format);
}

float iou(const Box& a, const Box& b) noexcept {
  const float width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  const float height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  if (width <= 0 || height <= 0) return 0;
  const float intersection = width * height;
  return intersection / (a.area() + b.area() - intersection);
}

}  // namespace takt
