// SPDX-License-Identifier: Apache-2.0
// Conv, ConvTranspose and MatMul.
#include "backend/cuda/kernels/contraction.h"

#include "backend/cuda/kernels/index_space.h"
#include "backend/cuda/kernels/step_code.h"
#include "backend/cuda/kernels/step_views.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <utility>

namespace takt::cuda {
namespace {

constexpr std::size_t kSpatial = 2;             // the first spatial dimension
constexpr std::int64_t kDepthwiseTapsMax = 16;  // of a row of the kernel; they stay in registers

using Strides = std::vector<std::int64_t>;

Strides from(const Strides& strides, std::size_t first) {
  return {strides.begin() + static_cast<std::ptrdiff_t>(first), strides.end()};
}

ContractionTensor tensor_of(const View& view) {
  return {view.type, alignment_bytes(view), {}, {}, {}, 0, 0};
}

// How the output and what has its shape are reached.
using Reached = ContractionTensor (*)(const View& view, const Contraction& contraction);

// An image of [N,columns of each group,spatial...].
ContractionTensor image_tensor(const View& view, const Contraction& contraction) {
  ContractionTensor tensor = tensor_of(view);
  tensor.batch = {contraction.columns * view.strides[1]};
  tensor.rows = from(view.strides, kSpatial);
  tensor.rows.insert(tensor.rows.begin(), view.strides[0]);
  tensor.column = view.strides[1];
  return tensor;
}

// [batch...,rows,columns]
ContractionTensor matrix_tensor(const View& view, const Contraction& contraction) {
  ContractionTensor tensor = tensor_of(view);
  const Strides& strides = view.strides;
  tensor.batch = {strides.begin(),
                  strides.begin() + static_cast<std::ptrdiff_t>(contraction.batch.size())};
  tensor.rows = {strides.end()[-2]};
  tensor.column = strides.back();
  return tensor;
}

bool is_depthwise(const graph::Conv& op, const Contraction& contraction) {
  return op.groups > 1 && contraction.columns == 1 && contraction.channels == 1 &&
         op.window.kernel.size() <= 2 && op.window.kernel.back() <= kDepthwiseTapsMax;
}

// A 1x1 kernel without padding only picks rows.
bool only_picks_rows(const graph::Window& window) {
  const auto all_are = [](const std::vector<std::int64_t>& values, std::int64_t expected) {
    return std::ranges::all_of(values,
                               [expected](std::int64_t value) { return value == expected; });
  };
  return all_are(window.kernel, 1) && all_are(window.pads_begin, 0) && all_are(window.pads_end, 0);
}

void remove_window(Contraction& contraction) {
  for (std::size_t i = 0; i < contraction.window->kernel.size(); ++i) {
    contraction.input.rows[i + 1] *= contraction.window->strides[i];
  }
  contraction.window.reset();
  contraction.weights.taps.clear();
  contraction.input_sizes.clear();
}

// Each channel is a column of its own instead of a group.
void make_depthwise(Contraction& contraction, std::int64_t groups, const View& x, const View& w) {
  contraction.depthwise = true;
  contraction.batch = {1};
  contraction.columns = groups;
  contraction.input.batch = contraction.weights.batch = {0};
  contraction.input.channel = contraction.weights.channel = 0;
  contraction.input.column = x.strides[1];
  contraction.weights.column = w.strides[0];
}

void describe_convolution(const graph::Window& window, std::int64_t groups, bool transposed,
                          const Step& step, Contraction& contraction) {
  const View& x = step.inputs[0];
  const View& w = step.inputs[1];
  const View& y = step.outputs[0].view;
  contraction.batch = {groups};
  contraction.rows = from(y.shape, kSpatial);
  contraction.rows.insert(contraction.rows.begin(), y.shape[0]);
  contraction.columns = y.shape[1] / groups;
  contraction.channels = x.shape[1] / groups;
  contraction.window = window;
  contraction.transposed = transposed;
  contraction.input_sizes = from(x.shape, kSpatial);
  contraction.input = image_tensor(x, contraction);
  contraction.input.batch = {contraction.channels * x.strides[1]};
  contraction.input.column = 0;
  contraction.input.channel = x.strides[1];
  contraction.weights = tensor_of(w);
  const std::int64_t outer = transposed ? contraction.channels : contraction.columns;
  contraction.weights.batch = {outer * w.strides[0]};
  contraction.weights.taps = from(w.strides, kSpatial);
  contraction.weights.column = w.strides[transposed ? 1 : 0];
  contraction.weights.channel = w.strides[transposed ? 0 : 1];
  contraction.weights.rows.assign(contraction.rows.size(), 0);
}

void describe_product(const graph::MatMul& op, const Step& step, Contraction& contraction) {
  const View& a = step.inputs[0];
  const View& b = step.inputs[1];
  const Shape& y = step.outputs[0].view.shape;
  contraction.batch = {y.begin(), y.end() - 2};
  contraction.rows = {y.end()[-2]};
  contraction.columns = y.back();
  contraction.channels = op.transpose_a ? a.shape.end()[-2] : a.shape.back();
  const auto batch_strides = [&](View view) {
    view.shape.resize(view.shape.size() - 2);
    view.strides.resize(view.strides.size() - 2);
    return broadcast_strides(view, contraction.batch);
  };
  contraction.input = tensor_of(a);
  contraction.input.batch = batch_strides(a);
  contraction.input.rows = {a.strides.end()[op.transpose_a ? -1 : -2]};
  contraction.input.channel = a.strides.end()[op.transpose_a ? -2 : -1];
  contraction.weights = tensor_of(b);
  contraction.weights.batch = batch_strides(b);
  contraction.weights.rows = {0};
  contraction.weights.channel = b.strides.end()[op.transpose_b ? -1 : -2];
  contraction.weights.column = b.strides.end()[op.transpose_b ? -2 : -1];
}

template <typename F>
void for_each_tensor(Contraction& contraction, F f) {
  f(contraction.weights);
  f(contraction.input);
  for (ContractionExtra& extra : contraction.extras) f(extra.tensor);
  f(contraction.output);
}

void compact(Contraction& contraction, Shape Contraction::* shape,
             Strides ContractionTensor::* of) {
  IndexSpace space{contraction.*shape, {}};
  for_each_tensor(contraction,
                  [&](ContractionTensor& tensor) { space.strides.push_back(tensor.*of); });
  space = compacted(std::move(space));
  contraction.*shape = space.shape;
  std::size_t next = 0;
  for_each_tensor(contraction,
                  [&](ContractionTensor& tensor) { tensor.*of = space.strides[next++]; });
  // A step that is never taken must not forbid wide accesses.
  if (space.shape == Shape{1}) {
    for_each_tensor(contraction, [&](ContractionTensor& tensor) { tensor.*of = {0}; });
  }
}

// Batches that share their weights are rows. Fewer dimensions are fewer divisions.
void simplify(Contraction& contraction) {
  const Strides& batch = contraction.weights.batch;
  bool shared = !contraction.window;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    shared = shared && (batch[i] == 0 || contraction.batch[i] == 1);
  }
  if (shared) {
    const auto prepend = [](auto& to, auto& what) {
      to.insert(to.begin(), what.begin(), what.end());
      what.clear();
    };
    prepend(contraction.rows, contraction.batch);
    for_each_tensor(contraction,
                    [&](ContractionTensor& tensor) { prepend(tensor.rows, tensor.batch); });
    contraction.weights.rows.assign(contraction.rows.size(), 0);
  }
  compact(contraction, &Contraction::batch, &ContractionTensor::batch);
  if (!contraction.window) compact(contraction, &Contraction::rows, &ContractionTensor::rows);
}

DataType sum_type(const Step& step, const StepOp& op) {
  const DataType type = op.results[0].type;
  if (!is_floating(type)) return type;
  const auto is_double = [](const View& view) { return view.type == DataType::fp64; };
  const bool any = type == DataType::fp64 || std::ranges::any_of(step.inputs, is_double) ||
                   is_double(step.outputs[0].view);
  return any ? DataType::fp64 : DataType::fp32;
}

bool fits(DataType stored, DataType computed) {
  return stored == computed || (is_floating(stored) && is_floating(computed));
}

// The operators behind the sum, and the inputs that they take.
Result<void> append_steps(const Step& step, Reached reached, Contraction& contraction) {
  const View& output = step.outputs[0].view;
  const auto inputs = static_cast<int>(step.inputs.size());
  for (std::size_t i = 1; i < step.ops.size(); ++i) {
    Result<PointwiseStep> taken = pointwise_step(step.ops[i]);
    if (!taken) return std::unexpected(std::move(taken).error());
    std::vector<graph::TensorType> types;
    for (const int argument : taken->arguments) {
      if (argument < 0 || argument >= inputs + static_cast<int>(i)) {
        return refuse(fmt::format("{} takes value {} of {}", graph::describe(step.ops[i].op),
                                  argument, inputs + static_cast<int>(i)));
      }
      types.push_back({contraction.sum, output.shape});
      if (argument >= inputs) continue;
      const View& view = step.inputs[static_cast<std::size_t>(argument)];
      if (view.shape != output.shape || !fits(view.type, contraction.sum)) {
        return refuse(fmt::format("{} of {} beside {}", graph::describe(step.ops[i].op),
                                  to_string(view), to_string(output)));
      }
      const auto known = [&](const ContractionExtra& extra) { return extra.input == argument; };
      if (std::ranges::any_of(contraction.extras, known)) continue;
      contraction.extras.push_back({argument, reached(view, contraction)});
    }
    const auto result = graph::infer_types(step.ops[i].op, types);
    if (!result) return std::unexpected(result.error().within(graph::describe(step.ops[i].op)));
    if (result->front().type != contraction.sum) {
      return refuse(fmt::format("{} behind a sum of products, which changes its type",
                                graph::describe(step.ops[i].op)));
    }
    taken->type = contraction.sum;
    contraction.steps.push_back(*std::move(taken));
  }
  return {};
}

// [columns of all groups]
void append_bias(int input, const View& view, Contraction& contraction) {
  ContractionTensor bias = tensor_of(view);
  bias.batch = {contraction.columns * view.strides[0]};
  bias.rows.assign(contraction.rows.size(), 0);
  bias.column = view.strides[0];
  contraction.extras.push_back({input, std::move(bias)});
  contraction.bias = input;
}

Result<void> check_contraction(const Step& step) {
  if (auto checked = check_views(step); !checked) return checked;
  const std::size_t values = step.inputs.size() + step.ops.size();
  if (step.ops.empty() || step.outputs.size() != 1 ||
      std::cmp_not_equal(step.outputs[0].value + 1, values)) {
    return refuse("a sum of products needs an operator, and as its output what the last one gives");
  }
  const StepOp& first = step.ops[0];
  std::vector<const View*> inputs;
  for (std::size_t i = 0; i < first.arguments.size() && i < step.inputs.size(); ++i) {
    inputs.push_back(&step.inputs[i]);
    if (std::cmp_not_equal(first.arguments[i], i)) inputs.clear();
  }
  if (inputs.size() != first.arguments.size() || first.results.size() != 1 ||
      !fits(step.outputs[0].view.type, first.results[0].type)) {
    return refuse(fmt::format("{} must take the step's first inputs, and the output have its type",
                              graph::describe(first.op)));
  }
  return check_shapes(first.op, inputs, step.outputs[0].view);
}

Result<void> describe_factors(const Step& step, Contraction& contraction) {
  const graph::Operator& op = step.ops[0].op;
  if (const auto* product = std::get_if<graph::MatMul>(&op)) {
    describe_product(*product, step, contraction);
    return {};
  }
  const auto* const conv = std::get_if<graph::Conv>(&op);
  const auto* const transpose = std::get_if<graph::ConvTranspose>(&op);
  if (conv == nullptr && transpose == nullptr) {
    return refuse(fmt::format("{} is no sum of products", graph::describe(op)));
  }
  const graph::Window& window = conv != nullptr ? conv->window : transpose->window;
  const Shape& reached = (conv != nullptr ? step.inputs[0] : step.outputs[0].view).shape;
  if (auto checked = check_reach(window, from(reached, kSpatial)); !checked) return checked;
  const std::int64_t groups = conv != nullptr ? conv->groups : transpose->groups;
  describe_convolution(window, groups, conv == nullptr, step, contraction);
  if (conv != nullptr && is_depthwise(*conv, contraction)) {
    make_depthwise(contraction, groups, step.inputs[0], step.inputs[1]);
  } else if (conv != nullptr && only_picks_rows(window)) {
    remove_window(contraction);
  }
  return {};
}

// The kernel gets the step's inputs and its output.
StepCode call_of(const Contraction& contraction, KernelSource source) {
  KernelCall call{std::move(source), {}};
  for (int i = 0; i < contraction.inputs; ++i) call.operands.push_back({OperandKind::input, i, 0});
  call.operands.push_back({OperandKind::output, 0, 0});
  return StepCode{{std::move(call)}, 0};
}

}  // namespace

Result<Contraction> contraction_of(const Step& step) {
  if (auto checked = check_contraction(step); !checked) return std::unexpected(checked.error());
  Contraction contraction;
  contraction.inputs = static_cast<int>(step.inputs.size());
  contraction.sum = sum_type(step, step.ops[0]);
  if (auto described = describe_factors(step, contraction); !described) {
    return std::unexpected(std::move(described).error());
  }
  const bool is_product = std::holds_alternative<graph::MatMul>(step.ops[0].op);
  const Reached reached = is_product ? matrix_tensor : image_tensor;
  contraction.output = reached(step.outputs[0].view, contraction);
  if (step.ops[0].arguments.size() > 2) append_bias(2, step.inputs[2], contraction);
  if (auto appended = append_steps(step, reached, contraction); !appended) {
    return std::unexpected(std::move(appended).error());
  }
  if (!contraction.depthwise) simplify(contraction);
  return contraction;
}

Result<StepCode> contraction_code(const Step& step, const std::string& name) {
  const Result<Contraction> contraction = contraction_of(step);
  if (!contraction) return std::unexpected(contraction.error());
  if (is_empty(step.outputs[0].view)) return StepCode{};
  return call_of(*contraction, contraction->depthwise       ? depthwise_kernel(*contraction, name)
                               : has_few_rows(*contraction) ? few_rows_kernel(*contraction, name)
                                                            : tiled_kernel(*contraction, name));
}

std::vector<ProductTiling> product_tilings(const Step& step, const ProductDevice& device,
                                           int most) {
  if (step.kind != StepKind::contraction) return {};
  const Result<Contraction> contraction = contraction_of(step);
  if (!contraction || is_empty(step.outputs[0].view)) return {};
  return product_tilings(*contraction, device, most);
}

Result<StepCode> product_code(const Step& step, const ProductTiling& tiling,
                              ComputeCapability capability, const std::string& name) {
  const Result<Contraction> contraction = contraction_of(step);
  if (!contraction) return std::unexpected(contraction.error());
  if (!has_tiling(*contraction, tiling, capability)) {
    return refuse("no kernel for tensor cores computes it in tiles of " + to_string(tiling));
  }
  return call_of(*contraction, tensor_core_kernel(*contraction, tiling, name));
}

}  // namespace takt::cuda
