// SPDX-License-Identifier: Apache-2.0
// A contraction in the words of cuDNN's graph API: a product of two images or of two batches of matrices, and
// what is computed from it element by element, a bias and a hard swish too.
// Thread-safe: pure functions and plain values.
// Owns: plain values.
#pragma once

#include "backend/cuda/compile/program.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace takt::cuda {

struct CudnnTensor {
  DataType type = DataType::fp32;  // FP16, BF16 or FP32
  // Images [N,C,H,W] or [N,C,D,H,W], matrices [batch,rows,columns]; where the size is 1, the stride is one that
  // a tensor of this layout would have.
  std::vector<std::int64_t> sizes, strides;  // in elements
  std::size_t alignment = 1;                 // in bytes
};

// Of tensors 0 and 1.
enum class CudnnProduct : std::uint8_t { convolution, transposed_convolution, matmul };

enum class CudnnPointwiseKind : std::uint8_t {
  add,
  mul,
  relu,  // x < low ? low + slope * (x - low) : min(x, high)
  sigmoid,
  tanh,
  swish,  // x * sigmoid(alpha * x)
  gelu,
  gelu_tanh,
  elu,  // x < 0 ? alpha * (exp(x) - 1) : x
  softplus,
  identity,
};

enum class CudnnSource : std::uint8_t {
  input,   // CudnnProblem::inputs
  scalar,  // CudnnProblem::scalars
  result,  // 0: of the product; i: of pointwise[i - 1]
};
struct CudnnArgument {
  CudnnSource source{};
  int index = 0;
};

struct CudnnPointwise {
  CudnnPointwiseKind kind{};
  std::vector<CudnnArgument> arguments;  // two of add and mul, one of the others
  float low = 0;
  float high = std::numeric_limits<float>::infinity();
  float slope = 0;
  float alpha = 1;
};

struct CudnnProblem {
  std::vector<CudnnTensor> inputs;  // as Step::inputs
  std::vector<float> scalars;
  CudnnProduct product{};
  graph::Window window;  // of convolutions, as many dimensions as the tensors' images
  std::vector<CudnnPointwise> pointwise;
  CudnnTensor output;  // of the last result; all results have its sizes
};

// Errors: invalid_input: cuDNN has no words for it, or it is no contraction as program.h says; the message is
// the reason, without the step's name.
[[nodiscard]] Result<CudnnProblem> cudnn_problem(const Step& step);

// The same with an identity as the last op, where nothing but a bias follows the product; else none. What ends
// in an activation is also looked for among the engines that are compiled for it. None for a convolution with a gap
// between its results either: cuDNN 9.19 leaves the identity out and writes as if there were no gap.
[[nodiscard]] std::optional<CudnnProblem> with_identity(const CudnnProblem& problem);

}  // namespace takt::cuda
