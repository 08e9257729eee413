// SPDX-License-Identifier: Apache-2.0
// A graph into steps for the device: what runs together, where tensors lie, and in which type.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "backend/cuda/compile/precision.h"
#include "backend/cuda/compile/program.h"
#include "backend/cuda/device.h"
#include "core/result.h"
#include "graph/graph.h"

#include <cstddef>
#include <vector>

namespace takt::cuda {

struct LoweringOptions {
  Precision precision = Precision::fp32;
  // Of each input of the graph, in order: that the step before the program writes it on the device in the form
  // that suits the model (channels last, in the type of products, channels filled up with zeros), instead of the host
  // copying a dense tensor of the graph's type. Missing ones: false. Its view has the input's shape, or
  // [N,C,H/2,2,W] where blocks of pixels suit it (pixel_blocks.h).
  std::vector<bool> inputs_made_on_device;
  // For so many steps after its last use a buffer's memory isn't used again, so that steps which run beside each
  // other needn't wait for it.
  int steps_kept = 0;
  // Of the device that the program is for, or older: what it lacks isn't asked of it.
  ComputeCapability capability = kCapabilityMin;
};

// What it decides, each where it is cheap and exact enough:
// - Element-wise chains and what follows a convolution or a matrix product run in one step (fusion.h).
// - Attention of 16-bit products is one step that writes no scores (attention.h), of strided views of what made
//   queries, keys and values.
// - Images lie channels last, everything else as its producer left it. Reshape, Transpose, Slice and Expand are
//   views where strides can say them; what is concatenated is written into its place.
// - With fp16 and bf16, FP32 values are stored in 16 bits on the way to a convolution or matrix product and
//   where one writes them; what no product follows any more (decoding of boxes, softmax) stays FP32.
// - Tensor cores read 16 bytes: channels of convolutions are filled up to 8, of FP32 to 4. A first convolution of
//   stride 2 works on blocks of 2 x 2 pixels instead (pixel_blocks.h).
// - Buffers that are never needed at the same time share the arena.
// Errors: invalid_input (an operator that the device doesn't do; the message names the node and says what to
// do), internal.
[[nodiscard]] Result<Program> lower(const graph::Graph& graph, const LoweringOptions& options);

// The bytes of a constant's buffer.
[[nodiscard]] Result<std::vector<std::byte>> constant_bytes(const Buffer& buffer);

}  // namespace takt::cuda
