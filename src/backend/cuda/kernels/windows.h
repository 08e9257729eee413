// SPDX-License-Identifier: Apache-2.0
// Kernels that look at a window of an image for each result.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "backend/cuda/kernels/kernel_source.h"
#include "core/tensor.h"
#include "graph/operators.h"

#include <string>

namespace takt::cuda {

// Accesses have a stride for each of [N,C,spatial...]. FP16 and BF16 are summed in FP32. Neighbouring threads
// compute results that lie side by side in the output.
struct PoolWindows {
  graph::Pool op;
  Shape input_shape;  // [N,C,spatial...]; at least one element and fewer than 2^31, as the output
  Access input;
  Access output;
};
[[nodiscard]] KernelSource pool_kernel(const PoolWindows& pool, const std::string& step);

}  // namespace takt::cuda
