// SPDX-License-Identifier: Apache-2.0
// How images become the input of a model: declared here, done by the backend on its device.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include "core/image.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace takt {

// How an image of any size meets the model's input of width x height.
enum class Fit : std::uint8_t {
  stretch,    // width and height are scaled independently
  letterbox,  // scaled by one factor, centred, the rest filled with pad_value
};

struct ImagePreprocess {
  PixelFormat color = PixelFormat::gray8;  // what the model expects of each image; others are
                                           // converted (BT.601 to gray)
  Fit fit = Fit::letterbox;
  std::uint8_t pad_value = 114;
  float scale = 1.0F / 255.0F;  // value = (u8 * scale - mean[c]) / stddev[c]
  std::vector<float>
      mean;  // empty: 0 for every channel; otherwise one a channel of the model's input
  std::vector<float> stddev;   // empty: 1
  bool channels_last = false;  // the model's input is NHWC
};

// One input of the model, in the model's order. Without `image` the input is fed with finished
// tensors.
struct InputPlan {
  std::string name;
  std::optional<ImagePreprocess> image;
};

}  // namespace takt
