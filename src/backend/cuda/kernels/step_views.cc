// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/step_views.h"

#include "graph/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <utility>

namespace takt::cuda {
namespace {

constexpr std::int64_t kElementsEnd = std::int64_t{1} << 31;
constexpr double kReachEnd = 1e15;  // elements; far below where 64 bits end

Result<void> check_view(const View& view) {
  const bool complete =
      view.strides.size() == view.shape.size() && view.type != DataType::bytes &&
      std::ranges::all_of(view.shape, [](std::int64_t size) { return size >= 0; }) &&
      std::ranges::all_of(view.strides, [](std::int64_t stride) { return stride >= 0; });
  if (!complete) {
    return refuse(
        fmt::format("a {} tensor of {} with {} strides; expected numbers, and a stride of at least "
                    "0 for each dimension",
                    takt::to_string(view.type), takt::to_string(view.shape), view.strides.size()));
  }
  if (is_empty(view)) return {};
  double elements = 1;
  double reach = 0;
  for (std::size_t i = 0; i < view.shape.size(); ++i) {
    elements *= static_cast<double>(view.shape[i]);
    reach += static_cast<double>(view.shape[i] - 1) * static_cast<double>(view.strides[i]);
  }
  if (elements < static_cast<double>(kElementsEnd) && reach < kReachEnd) return {};
  return refuse(
      fmt::format("{} has more than the 2^31 elements that a kernel counts; make the batch or the "
                  "input smaller",
                  takt::to_string(view.shape)));
}

// FP16 may be stored for FP32; shapes don't depend on it.
graph::TensorType checked_type(const View& view) {
  return {is_floating(view.type) ? DataType::fp32 : view.type, view.shape};
}

}  // namespace

std::unexpected<Error> refuse(std::string message) {
  return fail(ErrorKind::invalid_input, std::move(message));
}

Access access_of(const View& view) {
  return {view.type, view.strides, alignment_bytes(view)};
}

std::vector<std::int64_t> broadcast_strides(const View& view, const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size(), 0);
  const std::size_t rank = std::min(view.shape.size(), shape.size());
  for (std::size_t back = 1; back <= rank; ++back) {
    if (view.shape[view.shape.size() - back] == 1) continue;
    strides[shape.size() - back] = view.strides[view.shape.size() - back];
  }
  return strides;
}

bool is_empty(const View& view) {
  return std::ranges::find(view.shape, 0) != view.shape.end();
}

Result<void> check_views(const Step& step) {
  if (step.outputs.empty()) return refuse("a step without an output computes nothing");
  for (const View& view : step.inputs) {
    if (auto checked = check_view(view); !checked) return checked;
  }
  for (const StepOutput& output : step.outputs) {
    if (auto checked = check_view(output.view); !checked) return checked;
  }
  return {};
}

Result<void> check_shapes(const graph::Operator& op, const std::vector<const View*>& inputs,
                          const View& output) {
  std::vector<graph::TensorType> types;
  for (const View* input : inputs) types.push_back(checked_type(*input));
  const auto results = graph::infer_types(op, types);
  if (!results) return std::unexpected(results.error().within(graph::describe(op)));
  const graph::TensorType& result = results->front();
  if (result.shape != output.shape) {
    return refuse(fmt::format("{} gives {}, which doesn't fit an output of {}", graph::describe(op),
                              takt::to_string(result.shape), takt::to_string(output.shape)));
  }
  if (result.type == checked_type(output).type) return {};
  return refuse(fmt::format("{} gives {}, which can't be stored as {}", graph::describe(op),
                            takt::to_string(result.type), takt::to_string(output.type)));
}

Result<void> check_reach(const graph::Window& window, const Shape& sizes) {
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::int64_t end =
        sizes[i] + window.pads_begin[i] + window.pads_end[i] + window.strides[i];
    const double extent =
        static_cast<double>(window.kernel[i]) * static_cast<double>(window.dilations[i]);
    if (static_cast<double>(end) + extent < static_cast<double>(kElementsEnd)) continue;
    return refuse(
        fmt::format("a window whose coordinates go beyond 2^31 on {}", takt::to_string(sizes)));
  }
  return {};
}

Result<SingleOperator> single_operator(const Step& step) {
  if (auto checked = check_views(step); !checked) return std::unexpected(checked.error());
  if (step.ops.size() != 1 || step.outputs.size() != 1 ||
      std::cmp_not_equal(step.outputs[0].value, step.inputs.size())) {
    return refuse(fmt::format("{} operators with {} outputs; expected one that gives one",
                              step.ops.size(), step.outputs.size()));
  }
  SingleOperator single{&step.ops[0].op, {}, &step.outputs[0].view, {}};
  for (const int argument : step.ops[0].arguments) {
    if (argument < 0 || std::cmp_greater_equal(argument, step.inputs.size())) {
      return refuse(fmt::format("{} takes input {} of {}", graph::describe(*single.op), argument,
                                step.inputs.size()));
    }
    single.inputs.push_back(&step.inputs[static_cast<std::size_t>(argument)]);
    single.operands.push_back({OperandKind::input, argument, 0});
  }
  single.operands.push_back({OperandKind::output, 0, 0});
  if (auto checked = check_shapes(*single.op, single.inputs, *single.output); !checked) {
    return std::unexpected(checked.error());
  }
  return single;
}

Result<PointwiseStep> pointwise_step(const StepOp& op) {
  if (op.results.size() != 1) {
    return refuse(fmt::format("{} with {} results", graph::describe(op.op), op.results.size()));
  }
  const auto take = [&op](const auto& one) -> Result<PointwiseStep> {
    using Op = std::decay_t<decltype(one)>;
    if constexpr (std::is_same_v<Op, graph::Unary> || std::is_same_v<Op, graph::Binary> ||
                  std::is_same_v<Op, graph::Cast> || std::is_same_v<Op, graph::Select>) {
      return PointwiseStep{one, op.arguments, op.results[0].type};
    } else {
      return refuse(
          fmt::format("{} among element-wise operators; takt has no kernel that computes it there",
                      graph::describe(op.op)));
    }
  };
  return std::visit(take, op.op);
}

}  // namespace takt::cuda
