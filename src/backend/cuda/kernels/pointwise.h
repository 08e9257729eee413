// SPDX-License-Identifier: Apache-2.0
// Element-wise operators in one kernel: its description, and the source that computes it.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "backend/cuda/kernels/kernel_source.h"
#include "core/tensor.h"
#include "graph/operators.h"

#include <string>
#include <variant>
#include <vector>

namespace takt::cuda {

// An operator on values: the inputs are values 0, 1, ..., the steps' results come behind them.
struct PointwiseStep {
  std::variant<graph::Unary, graph::Binary, graph::Cast, graph::Select> op;
  std::vector<int> arguments;
  DataType type = DataType::fp32;  // of the result, as infer_types says
};

struct PointwiseOutput {
  int value = 0;
  Access access;
};

struct Pointwise {
  Shape space;  // at least one element, fewer than 2^31
  std::vector<Access> inputs;
  std::vector<PointwiseStep> steps;
  std::vector<PointwiseOutput> outputs;
};

// What is floating point is computed in FP32 from the loads to the stores (FP64 in FP64), so that a chain
// rounds once. Outputs may lie where inputs do if their accesses are the same.
[[nodiscard]] KernelSource pointwise_kernel(const Pointwise& pointwise, const std::string& step);

// Elements that one thread computes, by accesses of up to 16 bytes. For tests and tables.
[[nodiscard]] int vector_width(const Pointwise& pointwise);

}  // namespace takt::cuda
