// SPDX-License-Identifier: Apache-2.0
#include "image/placement.h"

#include <algorithm>
#include <cmath>

namespace takt {
namespace {

// Pixels that `length` covers after scaling: at least one, so that a sliver still reaches the
// model.
int scaled_pixels(float length, float scale, int room) noexcept {
  const double pixels = std::round(static_cast<double>(length) * static_cast<double>(scale));
  return static_cast<int>(std::clamp(pixels, 1.0, static_cast<double>(room)));
}

float back(float model, float offset, float scale, int limit) noexcept {
  return std::clamp((model - offset) / scale, 0.0F, static_cast<float>(limit));
}

}  // namespace

Placement place(const Region& region, int image_width, int image_height, int model_width,
                int model_height, Fit fit) noexcept {
  const bool whole = region.width <= 0 || region.height <= 0;
  const Region seen =
      whole ? Region{0, 0, static_cast<float>(image_width), static_cast<float>(image_height)}
            : region;
  Placement placement;
  placement.image_width = image_width;
  placement.image_height = image_height;
  placement.scale_x = static_cast<float>(model_width) / seen.width;
  placement.scale_y = static_cast<float>(model_height) / seen.height;
  placement.model_width = model_width;
  placement.model_height = model_height;
  placement.content_width = model_width;
  placement.content_height = model_height;
  if (fit == Fit::letterbox) {
    const float scale = std::min(placement.scale_x, placement.scale_y);
    placement.scale_x = scale;
    placement.scale_y = scale;
    placement.content_width = scaled_pixels(seen.width, scale, model_width);
    placement.content_height = scaled_pixels(seen.height, scale, model_height);
    placement.content_x = (model_width - placement.content_width) / 2;
    placement.content_y = (model_height - placement.content_height) / 2;
  }
  placement.offset_x = static_cast<float>(placement.content_x) - seen.x * placement.scale_x;
  placement.offset_y = static_cast<float>(placement.content_y) - seen.y * placement.scale_y;
  return placement;
}

Box to_source(const Box& model_box, const Placement& placement) noexcept {
  return {back(model_box.x1, placement.offset_x, placement.scale_x, placement.image_width),
          back(model_box.y1, placement.offset_y, placement.scale_y, placement.image_height),
          back(model_box.x2, placement.offset_x, placement.scale_x, placement.image_width),
          back(model_box.y2, placement.offset_y, placement.scale_y, placement.image_height)};
}

}  // namespace takt
