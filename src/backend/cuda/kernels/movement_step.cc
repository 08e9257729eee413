// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/movement_step.h"

#include "graph/graph.h"

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <span>
#include <utility>

namespace takt::cuda {
namespace {

constexpr auto kElementsMax = static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max());

Result<void> check_view(const View& view) {
  const Result<std::size_t> elements = element_count(view.shape);
  if (!elements) return std::unexpected(elements.error());
  if (view.strides.size() != view.shape.size() || view.type == DataType::bytes) {
    return fail(
        ErrorKind::invalid_input,
        fmt::format("a view of {} {} with {} strides; expected numbers and a stride for "
                    "each dimension",
                    takt::to_string(view.type), takt::to_string(view.shape), view.strides.size()));
  }
  for (const std::int64_t stride : view.strides) {
    if (stride < 0) return fail(ErrorKind::invalid_input, "a view with a negative stride");
  }
  if (*elements <= kElementsMax) return {};
  return fail(
      ErrorKind::invalid_input,
      fmt::format("{} {} has 2^31 elements or more, which takt's kernels don't count; use smaller "
                  "batches (batch_max)",
                  takt::to_string(view.type), takt::to_string(view.shape)));
}

// What the graph calls the argument's type: floating point may be stored as another.
DataType graph_type(const View& view, const StepOp& op) {
  if (!is_floating(view.type)) return view.type;
  const DataType result = op.results.empty() ? DataType::fp32 : op.results.front().type;
  return is_floating(result) ? result : DataType::fp32;
}

Result<std::vector<StepTensor>> arguments_of(const Step& step) {
  std::vector<StepTensor> arguments;
  for (const int argument : step.ops.front().arguments) {
    if (argument < 0 || std::cmp_greater_equal(argument, step.inputs.size())) {
      return fail(ErrorKind::invalid_input, fmt::format("argument {} of a step with {} inputs",
                                                        argument, step.inputs.size()));
    }
    const View& view = step.inputs[static_cast<std::size_t>(argument)];
    if (Result<void> checked = check_view(view); !checked) {
      return std::unexpected(std::move(checked).error().within("input"));
    }
    arguments.push_back({&view, {OperandKind::input, argument, 0}});
  }
  return arguments;
}

Result<StepResult> output_of(const Step& step, std::size_t i,
                             std::span<const graph::TensorType> results) {
  const auto& [value, view] = step.outputs[i];
  const auto first = static_cast<std::int64_t>(step.inputs.size());
  if (value < first || std::cmp_greater_equal(value - first, results.size())) {
    return fail(
        ErrorKind::invalid_input,
        fmt::format("output {} is value {}, which the step's operator doesn't compute", i, value));
  }
  if (Result<void> checked = check_view(view); !checked) {
    return std::unexpected(std::move(checked).error().within("output"));
  }
  for (std::size_t dim = 0; dim < view.shape.size(); ++dim) {
    if (view.strides[dim] != 0 || view.shape[dim] <= 1) continue;
    return fail(ErrorKind::invalid_input,
                fmt::format("output {} has stride 0 in dimension {}: it can't be written", i, dim));
  }
  const auto result = static_cast<std::size_t>(value - first);
  const graph::TensorType& expected = results[result];
  const bool same_kind = is_floating(view.type) && is_floating(expected.type);
  if (view.shape != expected.shape || (view.type != expected.type && !same_kind)) {
    return fail(ErrorKind::invalid_input,
                fmt::format("output {} is {} {}; expected {}", i, takt::to_string(view.type),
                            takt::to_string(view.shape), graph::to_string(expected)));
  }
  return StepResult{{&view, {OperandKind::output, static_cast<int>(i), 0}}, result};
}

}  // namespace

Result<CheckedStep> checked_step(const Step& step) {
  if (step.kind != StepKind::single || step.ops.size() != 1) {
    return fail(ErrorKind::invalid_input,
                fmt::format("a step of {} operators; expected a single one", step.ops.size()));
  }
  const StepOp& op = step.ops.front();
  CheckedStep checked{&op.op, {}, {}};
  Result<std::vector<StepTensor>> arguments = arguments_of(step);
  if (!arguments) return std::unexpected(std::move(arguments).error());
  checked.arguments = *std::move(arguments);
  std::vector<graph::TensorType> types;
  for (const StepTensor& argument : checked.arguments) {
    types.push_back({graph_type(*argument.view, op), argument.view->shape});
  }
  const auto results = graph::infer_types(op.op, types);
  if (!results) return std::unexpected(results.error());
  for (std::size_t i = 0; i < step.outputs.size(); ++i) {
    Result<StepResult> output = output_of(step, i, *results);
    if (!output) return std::unexpected(std::move(output).error());
    checked.outputs.push_back(*std::move(output));
  }
  return checked;
}

Operand scratch_at(std::size_t offset) {
  return {OperandKind::scratch, 0, offset};
}

}  // namespace takt::cuda
