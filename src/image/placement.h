// SPDX-License-Identifier: Apache-2.0
// Where an image lands in a model's input: the geometry of Fit, for backends and post-processors.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/image.h"
#include "core/preprocess.h"

namespace takt {

// x_model = x_source * scale_x + offset_x, pixel edges as in core/image.h (pixel i covers [i,
// i+1)). Sampling is bilinear with half-pixel centres (x_source = (i + 0.5 - offset_x) / scale_x -
// 0.5), coordinates clamped to the image, without antialiasing, rounded to 8 bits. Letterbox: one
// scale, the scaled size rounded to whole pixels, padding before the content = floor of half of
// what is left.
struct Placement {
  float scale_x = 1;
  float scale_y = 1;
  float offset_x = 0;
  float offset_y = 0;
  int image_width = 0;
  int image_height = 0;
  // The model's pixels that show the region; all others are padding.
  int content_x = 0;
  int content_y = 0;
  int content_width = 0;
  int content_height = 0;
  int model_width = 0;
  int model_height = 0;
};

// The placement of `region` (width 0: the whole image) of an image in a model input of model_width
// x model_height. Expects positive sizes and a finite region.
[[nodiscard]] Placement place(const Region& region, int image_width, int image_height,
                              int model_width, int model_height, Fit fit) noexcept;

// A box of the model's input back in pixels of the source image, clamped to the image.
[[nodiscard]] Box to_source(const Box& model_box, const Placement& placement) noexcept;

}  // namespace takt
