// SPDX-License-Identifier: Apache-2.0
// A model input that is fed with images: its geometry, and how a stack of images becomes the u8
// bytes of one row.
// Thread-safe: pure functions; a Resampler belongs to one thread.
// Owns: nothing.
#pragma once

#include "core/inference.h"
#include "core/preprocess.h"
#include "core/result.h"
#include "image/resample.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace takt {

struct ImageInput {
  ImagePreprocess preprocess;
  // The staged row. Gray images lie plane after plane, colour images interleaved, because that is
  // how they arrive: an image of the model's size is copied row by row, or not at all. Whatever
  // layout the model has is made from it on the device.
  InputGeometry staged;
  int image_count = 1;        // images of a stack
  std::size_t row_bytes = 0;  // of one staged row
};

// `spec` is without the batch dimension: [C, H, W], or [H, W, C] when channels_last; a leading 1 is
// allowed (a model exported with a fixed batch). Errors: invalid_input, which names the input and
// what doesn't fit (rank, a size that isn't fixed, channels, mean, stddev).
[[nodiscard]] Result<ImageInput> resolve_image_input(const ImagePreprocess& preprocess,
                                                     const TensorSpec& spec);

// Everything that staging could refuse. Errors: invalid_input.
[[nodiscard]] Result<void> check_stack(const ImageStack& stack, const ImageInput& input);

// The stack's own pixels when they already are the staged row (one piece of memory, the model's
// size and colour, the whole image); nullptr otherwise.
[[nodiscard]] const std::uint8_t* staged_in_place(const ImageStack& stack,
                                                  const ImageInput& input) noexcept;

// Writes the staged row. `row` has row_bytes.
[[nodiscard]] Result<void> stage_stack(const ImageStack& stack, const ImageInput& input,
                                       Resampler& resampler, std::span<std::uint8_t> row);

}  // namespace takt
