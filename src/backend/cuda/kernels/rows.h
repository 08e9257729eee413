// SPDX-License-Identifier: Apache-2.0
// Kernels that look at many elements for each result: sums, softmax, normalisation.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "backend/cuda/kernels/kernel_source.h"
#include "core/tensor.h"
#include "graph/operators.h"

#include <optional>
#include <string>

namespace takt::cuda {

// An index space whose rows are independent: `outer` counts the rows, `inner` the elements of one. Accesses
// have strides for the outer dimensions and then for the inner ones. At least one row of at least one
// element, fewer than 2^31 in all. FP16, BF16 and FP32 are summed in FP32, integers in 64 bits.
struct RowSpace {
  Shape outer;
  Shape inner;
};

// One result a row; the output's inner strides are 0.
struct ReduceRows {
  RowSpace space;
  graph::ReduceKind kind{};
  Access input;
  Access output;
};
[[nodiscard]] KernelSource reduce_kernel(const ReduceRows& reduce, const std::string& step);

// The index of the largest or smallest element along the inner dimension, of which there is one, as INT64.
struct ArgReduceRows {
  RowSpace space;
  bool maximum = true;
  bool last_of_equals = false;
  Access input;
  Access output;
};
[[nodiscard]] KernelSource arg_reduce_kernel(const ArgReduceRows& reduce, const std::string& step);

// exp(x - max) / sum of it, or its logarithm.
struct SoftmaxRows {
  RowSpace space;
  bool log = false;
  Access input;
  Access output;
};
[[nodiscard]] KernelSource softmax_kernel(const SoftmaxRows& softmax, const std::string& step);

// sum(exp(x - max) * weight) / sum(exp(x - max)): the mean of the weights, one result a row. Arguments: x,
// the weights, y; the output's inner strides are 0.
struct SoftmaxMeanRows {
  RowSpace space;
  Access input;
  Access weights;
  Access output;
};
[[nodiscard]] KernelSource softmax_mean_kernel(const SoftmaxMeanRows& mean,
                                               const std::string& step);

// (x - mean) / sqrt(variance + epsilon) * scale + bias; mean and variance are the row's. Arguments: x,
// scale, bias where there is one, y.
struct NormalizeRows {
  RowSpace space;
  double epsilon = 1e-5;
  Access input;
  Access scale;
  std::optional<Access> bias;
  Access output;
};
[[nodiscard]] KernelSource normalize_kernel(const NormalizeRows& normalize,
                                            const std::string& step);

}  // namespace takt::cuda
