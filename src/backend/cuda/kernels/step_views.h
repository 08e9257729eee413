// SPDX-License-Identifier: Apache-2.0
// What is checked and taken from a step before a kernel is written for it: bad steps end here.
// Thread-safe: pure functions. Owns: plain values. Private to the cuda backend.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/kernels/kernel_source.h"
#include "backend/cuda/kernels/pointwise.h"
#include "backend/cuda/kernels/step_code.h"
#include "core/result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace takt::cuda {

[[nodiscard]] std::unexpected<Error> refuse(std::string message);

[[nodiscard]] Access access_of(const View& view);

// Of each dimension of `shape`, to whose last dimensions the view's shape broadcasts: 0 where it does.
[[nodiscard]] std::vector<std::int64_t> broadcast_strides(const View& view, const Shape& shape);

// That kernels can count what the views reach: a stride for each dimension, none negative, fewer than 2^31
// elements, no strings; and that there is an output.
[[nodiscard]] Result<void> check_views(const Step& step);

[[nodiscard]] bool is_empty(const View& view);

// That `op` takes inputs of these shapes and makes `output`'s; of types it looks only at what is floating.
[[nodiscard]] Result<void> check_shapes(const graph::Operator& op,
                                        const std::vector<const View*>& inputs, const View& output);

// That coordinates of a window on dimensions of these sizes stay below 2^31, padding counted.
[[nodiscard]] Result<void> check_reach(const graph::Window& window, const Shape& sizes);

// A step of one operator with one output, checked by all of the above.
struct SingleOperator {
  const graph::Operator* op = nullptr;
  std::vector<const View*> inputs;  // the operator's, in its order
  const View* output = nullptr;
  std::vector<Operand> operands;  // the inputs, then the output
};
[[nodiscard]] Result<SingleOperator> single_operator(const Step& step);

// An element-wise operator; `type` is its result's. Errors: invalid_input (it is none).
[[nodiscard]] Result<PointwiseStep> pointwise_step(const StepOp& op);

}  // namespace takt::cuda
