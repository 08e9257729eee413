// SPDX-License-Identifier: Apache-2.0
// Images to a model's input on the device: one kernel for a whole batch, which computes what image_input.h does
// on the CPU and normalises it, from a table that says where each image lies.
// Thread-safe: pure functions.
// Owns: plain values; a descriptor only names the pixels, which stay valid until the kernel has run.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/kernels/kernel_source.h"
#include "backend/image_input.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace takt::cuda {

// An image as the kernel reads it; preprocess.cc writes the kernel's struct from the same fields.
struct alignas(64) ImageDescriptor {
  std::uint64_t address = 0;  // of the first pixel, for the device; of any alignment
  std::int32_t stride_bytes = 0;
  std::int32_t width = 0;  // 0: no image; the input's row becomes 0
  std::int32_t height = 0;
  std::int32_t format = 0;  // PixelFormat
  // As in Placement.
  float scale_x = 0;
  float scale_y = 0;
  float offset_x = 0;
  float offset_y = 0;
  std::int32_t content_x = 0;
  std::int32_t content_y = 0;
  std::int32_t content_width = 0;
  std::int32_t content_height = 0;
};

// Describes the images of one row of the batch, which all have the placement of the first. `addresses` are
// those of their pixels for the device: of pinned memory of the host, or of copies that lie as the views say.
// `row` has room for input.image_count. Errors: invalid_input (what check_stack refuses, a region too small or
// too far away, a count that differs, an address of 0); `row` is then untouched.
[[nodiscard]] Result<void> describe(const ImageStack& stack, const ImageInput& input,
                                    std::span<const std::uint64_t> addresses,
                                    std::span<ImageDescriptor> row);

// The kernel's arguments are the table, image_count descriptors for each row of the batch, and the first element
// of `destination`. The launch is the same whatever the table says, so that it can be captured. `destination`
// has the shape of the model's input with the batch in front ([C, H, W] alone is a batch of 1; [H, W, C] where
// channels_last), any strides, and FP32, FP16, BF16 or UINT8. Where channels are innermost, what lies between
// the last channel and the next pixel is the input's padding and is written as 0. [N, C, H/2, 2, W] has lines in
// pairs whose pixels share a place: there the padding ends where the other line's channels begin.
//
// The 8-bit values are those of stage_stack() bit for bit. value * scale / stddev - mean / stddev is one
// multiply-add with factors rounded to FP32: exact rounding without mean and stddev; otherwise within 2^-24 *
// (|value * scale / stddev| + |mean / stddev| + |result|) before it is rounded to the destination's type.
//
// Bytes are read by 16 and once for each tile of pixels that needs them, into shared memory, while a tile's part
// of the image has room there: colour that is shrunk at most to a third, gray to a ninth; images of a stack
// share the room. What is shrunk more is read byte by byte through the cache. Each block reads its part of the
// table, which had better lie in the device's memory; images may lie in the host's.
//
// Errors: invalid_input (the shape, type or strides don't fit; too large to launch; a factor beyond FP32).
[[nodiscard]] Result<KernelSource> preprocess_kernel(const ImageInput& input,
                                                     const View& destination,
                                                     const std::string& name);

}  // namespace takt::cuda
