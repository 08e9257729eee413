// SPDX-License-Identifier: Apache-2.0
// From steps to the descriptions of pointwise.h (Unary, Binary, Cast, Select), rows.h (Reduce, ArgReduce,
// Softmax, LayerNorm, Softmax with the weighted mean of its result) and windows.h (Pool).
#include "backend/cuda/kernels/index_space.h"
#include "backend/cuda/kernels/pointwise.h"
#include "backend/cuda/kernels/rows.h"
#include "backend/cuda/kernels/step_code.h"
#include "backend/cuda/kernels/step_views.h"
#include "backend/cuda/kernels/windows.h"
#include "graph/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace takt::cuda {
namespace {

// Values of a chain by their types: those of inputs are stored ones, those of operators the graph's.
Result<void> append_steps(const Step& step, std::vector<DataType>& values, Pointwise& pointwise) {
  for (const StepOp& op : step.ops) {
    Result<PointwiseStep> taken = pointwise_step(op);
    if (!taken) return std::unexpected(std::move(taken).error());
    std::vector<graph::TensorType> types;
    for (const int argument : op.arguments) {
      if (argument < 0 || std::cmp_greater_equal(argument, values.size())) {
        return refuse(fmt::format("{} takes value {} of {}", graph::describe(op.op), argument,
                                  values.size()));
      }
      const DataType type = values[static_cast<std::size_t>(argument)];
      types.push_back({is_floating(type) ? DataType::fp32 : type, pointwise.space});
    }
    if (auto result = graph::infer_types(op.op, types); !result) {
      return std::unexpected(std::move(result).error().within(graph::describe(op.op)));
    }
    values.push_back(taken->type);
    pointwise.steps.push_back(*std::move(taken));
  }
  return {};
}

// Where a stored type is of another kind than the value it is converted as Cast does.
int converted(int value, DataType to, std::vector<DataType>& values, Pointwise& pointwise) {
  const DataType from = values[static_cast<std::size_t>(value)];
  if (from == to || (is_floating(from) && is_floating(to))) return value;
  pointwise.steps.push_back({graph::Cast{to}, {value}, to});
  values.push_back(to);
  return static_cast<int>(values.size()) - 1;
}

struct Split {
  std::vector<std::size_t> outer;
  std::vector<std::size_t> inner;
};

Split split_at(const Shape& shape, const std::vector<int>& axes) {
  Split split;
  for (std::size_t dim = 0; dim < shape.size(); ++dim) {
    const bool inner = std::ranges::find(axes, static_cast<int>(dim)) != axes.end();
    (inner ? split.inner : split.outer).push_back(dim);
  }
  return split;
}

RowSpace row_space(const Shape& shape, const Split& split) {
  RowSpace space;
  for (const std::size_t dim : split.outer) space.outer.push_back(shape[dim]);
  for (const std::size_t dim : split.inner) space.inner.push_back(shape[dim]);
  return space;
}

Access element_access(const View& view, const Split& split) {
  Access access{view.type, {}, alignment_bytes(view)};
  for (const std::size_t dim : split.outer) access.strides.push_back(view.strides[dim]);
  for (const std::size_t dim : split.inner) access.strides.push_back(view.strides[dim]);
  return access;
}

Access result_access(const View& view, const Split& split) {
  Access access = element_access(view, split);
  std::fill(access.strides.begin() + static_cast<std::ptrdiff_t>(split.outer.size()),
            access.strides.end(), 0);
  return access;
}

KernelSource rows_kernel(const graph::Reduce& op, const SingleOperator& step,
                         const std::string& name) {
  const View& x = *step.inputs[0];
  const Split split = split_at(x.shape, op.axes);
  return reduce_kernel({row_space(x.shape, split), op.kind, element_access(x, split),
                        result_access(*step.output, split)},
                       name);
}

KernelSource rows_kernel(const graph::ArgReduce& op, const SingleOperator& step,
                         const std::string& name) {
  const View& x = *step.inputs[0];
  const Split split = split_at(x.shape, {op.axis});
  return arg_reduce_kernel({row_space(x.shape, split), op.maximum, op.last_of_equals,
                            element_access(x, split), result_access(*step.output, split)},
                           name);
}

KernelSource rows_kernel(const graph::Softmax& op, const SingleOperator& step,
                         const std::string& name) {
  const View& x = *step.inputs[0];
  const Split split = split_at(x.shape, {op.axis});
  return softmax_kernel({row_space(x.shape, split), op.log, element_access(x, split),
                         element_access(*step.output, split)},
                        name);
}

KernelSource rows_kernel(const graph::LayerNorm& op, const SingleOperator& step,
                         const std::string& name) {
  const View& x = *step.inputs[0];
  std::vector<int> axes(x.shape.size() - static_cast<std::size_t>(op.axis));
  std::iota(axes.begin(), axes.end(), op.axis);
  const Split split = split_at(x.shape, axes);
  const auto factor = [&](std::size_t input) {
    const View& view = *step.inputs[input];
    return Access{view.type, broadcast_strides(view, x.shape), alignment_bytes(view)};
  };
  std::optional<Access> bias;
  if (step.inputs.size() > 2) bias = factor(2);
  return normalize_kernel({row_space(x.shape, split), op.epsilon, element_access(x, split),
                           factor(1), std::move(bias), element_access(*step.output, split)},
                          name);
}

// Softmax over the channels and the weighted mean of its result, as StepKind::single says.
Result<StepCode> softmax_mean_code(const Step& step, const std::string& name) {
  if (auto checked = check_views(step); !checked) return std::unexpected(checked.error());
  const auto* const softmax = std::get_if<graph::Softmax>(&step.ops[0].op);
  const auto* const conv = std::get_if<graph::Conv>(&step.ops[1].op);
  const bool fits = softmax != nullptr && conv != nullptr && step.inputs.size() == 2 &&
                    step.outputs.size() == 1 && step.outputs[0].value == 3 &&
                    step.ops[0].arguments == std::vector{0} &&
                    step.ops[1].arguments == std::vector{2, 1};
  if (!fits || softmax->log || softmax->axis != 1 || conv->groups != 1) {
    return refuse("two operators that aren't Softmax over channels and the Conv of its result");
  }
  const View& x = step.inputs[0];
  const View& weights = step.inputs[1];
  const View& y = step.outputs[0].view;
  if (auto checked = check_shapes(*softmax, {&x}, x); !checked) {
    return std::unexpected(checked.error());
  }
  if (auto checked = check_shapes(*conv, {&x, &weights}, y); !checked) {
    return std::unexpected(checked.error());
  }
  const auto all_are = [](const std::vector<std::int64_t>& values, std::int64_t expected) {
    return std::ranges::all_of(values, [=](std::int64_t value) { return value == expected; });
  };
  const graph::Window& window = conv->window;
  Shape expected = x.shape;
  expected[1] = 1;
  if (!all_are(window.kernel, 1) || !all_are(window.strides, 1) || !all_are(window.pads_begin, 0) ||
      y.shape != expected) {
    return refuse(fmt::format("a mean of {} that is {}; expected a kernel of 1 and {}",
                              takt::to_string(x.shape), takt::to_string(y.shape),
                              takt::to_string(expected)));
  }
  if (is_empty(y)) return StepCode{};
  if (is_empty(x)) return refuse("Softmax of no elements: " + takt::to_string(x.shape));
  const Split split = split_at(x.shape, {1});
  Access along{weights.type, std::vector<std::int64_t>(x.shape.size(), 0),
               alignment_bytes(weights)};
  along.strides.back() = weights.strides[1];
  KernelSource source = softmax_mean_kernel({row_space(x.shape, split), element_access(x, split),
                                             std::move(along), result_access(y, split)},
                                            name);
  return StepCode{
      {{std::move(source),
        {{OperandKind::input, 0, 0}, {OperandKind::input, 1, 0}, {OperandKind::output, 0, 0}}}},
      0};
}

}  // namespace

Result<StepCode> pointwise_code(const Step& step, const std::string& name) {
  if (auto checked = check_views(step); !checked) return std::unexpected(checked.error());
  Pointwise pointwise{step.outputs[0].view.shape, {}, {}, {}};
  std::vector<DataType> values;
  KernelCall call;
  const auto has_shape = [&](const View& view) { return view.shape == pointwise.space; };
  const auto output_has_shape = [&](const StepOutput& output) { return has_shape(output.view); };
  if (!std::ranges::all_of(step.inputs, has_shape) ||
      !std::ranges::all_of(step.outputs, output_has_shape)) {
    return refuse(fmt::format("element-wise operators on tensors of other shapes than {}",
                              takt::to_string(pointwise.space)));
  }
  for (const View& input : step.inputs) {
    call.operands.push_back({OperandKind::input, static_cast<int>(values.size()), 0});
    values.push_back(input.type);
    pointwise.inputs.push_back(access_of(input));
  }
  if (auto added = append_steps(step, values, pointwise); !added) {
    return std::unexpected(std::move(added).error());
  }
  const std::size_t computed = values.size();
  for (const StepOutput& output : step.outputs) {
    if (output.value < 0 || std::cmp_greater_equal(output.value, computed)) {
      return refuse(fmt::format("an output of value {} of {}", output.value, computed));
    }
    const int value = converted(output.value, output.view.type, values, pointwise);
    call.operands.push_back({OperandKind::output, static_cast<int>(pointwise.outputs.size()), 0});
    pointwise.outputs.push_back({value, access_of(output.view)});
  }
  if (is_empty(step.outputs[0].view)) return StepCode{};
  call.source = pointwise_kernel(pointwise, name);
  return StepCode{{std::move(call)}, 0};
}

Result<StepCode> rows_code(const Step& step, const std::string& name) {
  if (step.ops.size() == 2) return softmax_mean_code(step, name);
  const Result<SingleOperator> single = single_operator(step);
  if (!single) return std::unexpected(single.error());
  if (is_empty(*single->output)) return StepCode{};
  if (is_empty(*single->inputs[0])) {
    return refuse(fmt::format("{} of no elements: {}", graph::describe(*single->op),
                              takt::to_string(single->inputs[0]->shape)));
  }
  const auto write = [&](const auto& op) -> Result<StepCode> {
    using Op = std::decay_t<decltype(op)>;
    if constexpr (std::is_same_v<Op, graph::Reduce> || std::is_same_v<Op, graph::ArgReduce> ||
                  std::is_same_v<Op, graph::Softmax> || std::is_same_v<Op, graph::LayerNorm>) {
      return StepCode{{{rows_kernel(op, *single, name), single->operands}}, 0};
    } else {
      return refuse(fmt::format("{} doesn't look at rows", graph::describe(*single->op)));
    }
  };
  return std::visit(write, *single->op);
}

Result<StepCode> windows_code(const Step& step, const std::string& name) {
  const Result<SingleOperator> single = single_operator(step);
  if (!single) return std::unexpected(single.error());
  const auto* const pool = std::get_if<graph::Pool>(single->op);
  if (pool == nullptr) {
    return refuse(fmt::format("{} is no pool", graph::describe(*single->op)));
  }
  if (is_empty(*single->output)) return StepCode{};
  const View& x = *single->inputs[0];
  if (is_empty(x)) return refuse("a pool of no elements: " + takt::to_string(x.shape));
  if (auto checked = check_reach(pool->window, {x.shape.begin() + 2, x.shape.end()}); !checked) {
    return std::unexpected(checked.error());
  }
  KernelSource source =
      pool_kernel({*pool, x.shape, access_of(x), access_of(*single->output)}, name);
  return StepCode{{{std::move(source), single->operands}}, 0};
}

}  // namespace takt::cuda
