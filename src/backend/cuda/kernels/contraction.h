// SPDX-License-Identifier: Apache-2.0
// Sums of products: convolutions and matrix products in one description, and the kernels that compute it.
// Products are of numbers as they are stored, summed in FP32 (FP64 where one is stored in FP64; integers
// wrap around), and rounded once, behind the operators that follow.
// Thread-safe: pure functions. Owns: plain values. Private to the cuda backend.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/device.h"
#include "backend/cuda/kernels/kernel_source.h"
#include "backend/cuda/kernels/pointwise.h"
#include "backend/cuda/kernels/product_tiling.h"
#include "core/result.h"
#include "graph/operators.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace takt::cuda {

// How a tensor is reached, in elements. What a tensor doesn't depend on has stride 0.
struct ContractionTensor {
  DataType type = DataType::fp32;
  std::size_t alignment = 0;
  std::vector<std::int64_t> batch;
  std::vector<std::int64_t> rows;  // of the input those behind the image are of its own pixels
  std::vector<std::int64_t> taps;  // of the weights
  std::int64_t column = 0;
  std::int64_t channel = 0;
};

// Another input, which the operators behind the sum take: its value is `input` of them.
struct ContractionExtra {
  int input = 0;
  ContractionTensor tensor;
};

// output[batch,row,column] = sum over taps and channels of input[batch,row at tap,channel] *
// weights[batch,tap,channel,column], and then the steps. Rows are an image and its pixels, columns the
// channels of a group's output, batches groups; or those of matrices.
struct Contraction {
  Shape batch;
  Shape rows;
  std::int64_t columns = 1;
  std::int64_t channels = 1;
  std::optional<graph::Window>
      window;               // on the last dimensions of `rows`, which are the output's pixels
  bool transposed = false;  // the window lies in the output
  bool depthwise = false;   // each column has a channel of the input of its own
  Shape input_sizes;        // of the window's dimensions
  ContractionTensor input;
  ContractionTensor weights;
  ContractionTensor output;
  std::vector<ContractionExtra> extras;
  std::optional<int> bias;           // among the extras, by its input
  std::vector<PointwiseStep> steps;  // values: the step's inputs, the sum, then what they compute
  DataType sum = DataType::fp32;     // what is summed and computed in; of integers the graph's type
  int inputs = 2;                    // pointers that the kernel gets before the output's
};

// Errors: as step_code().
[[nodiscard]] Result<Contraction> contraction_of(const Step& step);

// Any. Blocks compute tiles of rows and columns from tiles of both factors.
[[nodiscard]] KernelSource tiled_kernel(const Contraction& contraction, const std::string& name);

// Without a window and of few rows, so that the weights are read once and fast: matrices times vectors.
[[nodiscard]] bool has_few_rows(const Contraction& contraction);
[[nodiscard]] KernelSource few_rows_kernel(const Contraction& contraction, const std::string& name);

// Of 16-bit floats, from compute capability 8.0 on; `splits` above 1 from 9.0 on. The tilings are those that may be
// fast, the most promising first.
[[nodiscard]] std::vector<ProductTiling> product_tilings(const Contraction& contraction,
                                                         const ProductDevice& device, int most);
[[nodiscard]] bool has_tiling(const Contraction& contraction, const ProductTiling& tiling,
                              ComputeCapability capability);
[[nodiscard]] KernelSource tensor_core_kernel(const Contraction& contraction,
                                              const ProductTiling& tiling, const std::string& name);

// Depthwise ones. Threads compute pixels side by side of several channels.
[[nodiscard]] KernelSource depthwise_kernel(const Contraction& contraction,
                                            const std::string& name);

}  // namespace takt::cuda
