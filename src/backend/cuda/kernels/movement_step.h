// SPDX-License-Identifier: Apache-2.0
// A step of one operator, checked: what its kernels may rely on.
// Thread-safe: pure functions.
// Owns: nothing; the views are the step's.
// Private to the cuda backend.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/kernels/step_code.h"
#include "core/result.h"

#include <cstddef>
#include <vector>

namespace takt::cuda {

// A tensor of the step and the pointer by which kernels get it: to the view's first element.
struct StepTensor {
  const View* view = nullptr;
  Operand operand;
};

struct StepResult {
  StepTensor tensor;
  std::size_t result = 0;  // which of the operator's
};

struct CheckedStep {
  const graph::Operator* op = nullptr;
  std::vector<StepTensor> arguments;
  std::vector<StepResult> outputs;
};

// Shapes are those that the operator gives and have fewer than 2^31 elements, views have a stride for each
// dimension, and types are the graph's but for floating point, which may be stored as any other floating
// point. Errors: invalid_input.
[[nodiscard]] Result<CheckedStep> checked_step(const Step& step);

[[nodiscard]] Operand scratch_at(std::size_t offset);

}  // namespace takt::cuda
