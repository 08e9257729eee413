// SPDX-License-Identifier: Apache-2.0
// Writes the region of an image that a model looks at into the model's 8-bit input, on the CPU.
// Resampler: one thread at a time; the rest are pure functions.
// Owns: Resampler owns its row buffers, which grow to the largest image seen and stay.
#pragma once

#include "core/image.h"
#include "core/result.h"
#include "image/placement.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace takt {

// Where one image goes inside a model's input of one sample: channel c of pixel (x, y) lies at
// pixels[y * row_stride + x * pixel_stride + c * channel_stride].
struct PixelTarget {
  std::uint8_t* pixels = nullptr;
  int width = 0;
  int height = 0;
  PixelFormat color = PixelFormat::gray8;
  std::ptrdiff_t row_stride = 0;
  std::ptrdiff_t pixel_stride = 1;
  std::ptrdiff_t channel_stride = 0;
};

// A model's 8-bit input of one sample, shape [channels, height, width], or [height, width,
// channels] when channels_last.
struct InputGeometry {
  int width = 0;
  int height = 0;
  int channels = 0;
  bool channels_last = false;
};

// The part of a model's input that takes an image of `color`, beginning at channel `channel_first`.
// Errors: invalid_input when the channels don't fit or `bytes` isn't exactly the input's size.
[[nodiscard]] Result<PixelTarget> input_target(std::span<std::uint8_t> bytes,
                                               const InputGeometry& geometry, int channel_first,
                                               PixelFormat color);

class Resampler {
 public:
  // Fills `target` as placement.h says: converts the colour (rounded to 8 bits), samples, rounds
  // half up, and writes pad_value outside the content. Copies rows when nothing is scaled.
  // Errors: invalid_input when the source has no pixels, isn't of the placement's image size, the
  // region isn't finite, or the content doesn't lie in the target.
  [[nodiscard]] Result<void> run(const ImageView& source, const Placement& placement,
                                 std::uint8_t pad_value, const PixelTarget& target);

 private:
  // Two neighbours of a sample and the weight of the second.
  struct Tap {
    int first = 0;
    int second = 0;
    float weight = 0;
  };
  static void make_taps(std::vector<Tap>& taps, int content_first, int count, float scale,
                        float offset, int limit);
  void sample(const ImageView& source, const Placement& placement, const PixelTarget& target);
  void sample_row(const ImageView& source, int y, PixelFormat color, std::span<float> sampled);

  std::vector<Tap> columns_;
  std::vector<Tap> rows_;
  std::vector<std::uint8_t> converted_;  // one source row in the target's colour
  std::vector<float> upper_;  // two source rows, sampled horizontally, channel by channel
  std::vector<float> lower_;
  std::vector<std::uint8_t> line_;  // one channel of a finished row, for interleaved targets
};

}  // namespace takt
