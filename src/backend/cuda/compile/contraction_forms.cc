// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/contraction_forms.h"

#include "backend/cuda/compile/views.h"
#include "graph/graph.h"
#include "graph/operators.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>
#include <variant>

namespace takt::cuda {
namespace {

using graph::Conv;
using graph::ConvTranspose;

std::string window_text(const graph::Window& window) {
  return fmt::format("k{} s{} d{} p{} {}", window.kernel, window.strides, window.dilations,
                     window.pads_begin, window.pads_end);
}

std::string op_text(const graph::Operator& op) {
  std::string text = graph::describe(op);
  if (const auto* const conv = std::get_if<Conv>(&op)) {
    text += fmt::format(" {} g{}", window_text(conv->window), conv->groups);
  } else if (const auto* const transposed = std::get_if<ConvTranspose>(&op)) {
    text += fmt::format(" {} g{} o{}", window_text(transposed->window), transposed->groups,
                        transposed->output_padding);
  } else if (const auto* const unary = std::get_if<graph::Unary>(&op)) {
    text += fmt::format(" {:a} {:a}", unary->alpha, unary->beta);
  }
  return text;
}

std::string view_text(const View& view) {
  return fmt::format("{}{} {} @{}", takt::to_string(view.type), view.shape, view.strides,
                     alignment_bytes(view));
}

bool has_bias(const Step& step) {
  return step.ops.front().arguments.size() > 2;
}

// Adds an operator to an element-wise step that begins with what the product wrote; `moved` says which of its
// values each value of the whole step is.
void append(Step& rest, std::vector<int>& moved, const StepOp& op) {
  StepOp copy{op.op, {}, op.results};
  for (const int argument : op.arguments) {
    copy.arguments.push_back(moved[static_cast<std::size_t>(argument)]);
  }
  moved.push_back(static_cast<int>(rest.inputs.size() + rest.ops.size()));
  rest.ops.push_back(std::move(copy));
}

}  // namespace

std::vector<Step> steps_of(const Step& contraction, ContractionForm form) {
  if (form == ContractionForm::whole) return {contraction};
  const bool takes_bias = form == ContractionForm::separate_bias;
  if (takes_bias ? !has_bias(contraction) : contraction.ops.size() == 1) return {};

  const View& result = contraction.outputs.front().view;
  const std::size_t kept = has_bias(contraction) && !takes_bias ? 3 : 2;
  Step product{contraction.name, StepKind::contraction, {}, {contraction.ops.front()}, {}};
  product.inputs.assign(contraction.inputs.begin(),
                        contraction.inputs.begin() + static_cast<std::ptrdiff_t>(kept));
  product.ops.front().arguments.resize(kept);
  product.outputs.push_back({static_cast<int>(kept), result});

  Step rest{contraction.name, StepKind::pointwise, {result}, {}, {}};
  // Of the whole step's values: its inputs, then what its ops compute.
  std::vector<int> moved(contraction.inputs.size(), 0);
  for (std::size_t i = kept; i < contraction.inputs.size(); ++i) {
    moved[i] = static_cast<int>(rest.inputs.size());
    View view = contraction.inputs[i];
    if (i == 2 && takes_bias) {  // [M], of dimension 1
      Shape spread(result.shape.size(), 1);
      spread[1] = view.shape.front();
      view = broadcast(*reshaped(view, spread), result.shape);
    }
    rest.inputs.push_back(std::move(view));
  }
  int last = 0;
  if (takes_bias) {
    rest.ops.push_back(
        {graph::Binary{graph::BinaryKind::add}, {0, moved[2]}, contraction.ops.front().results});
    last = static_cast<int>(rest.inputs.size());
  }
  moved.push_back(last);
  for (std::size_t i = 1; i < contraction.ops.size(); ++i) {
    append(rest, moved, contraction.ops[i]);
  }
  rest.outputs.push_back({moved.back(), result});
  return {std::move(product), std::move(rest)};
}

std::string problem_text(const Step& contraction) {
  std::string text;
  for (const View& view : contraction.inputs) text += view_text(view) + "\n";
  for (const StepOutput& output : contraction.outputs) text += view_text(output.view) + "\n";
  for (const StepOp& op : contraction.ops) {
    text += fmt::format("{} {}\n", op_text(op.op), op.arguments);
  }
  return text;
}

double floating_point_operations(const Step& step) {
  double sum = 0;
  std::vector<graph::TensorType> types;
  for (const View& view : step.inputs) types.push_back({view.type, view.shape});
  for (const StepOp& op : step.ops) {
    std::vector<graph::TensorType> arguments;
    for (const int argument : op.arguments) {
      arguments.push_back(types[static_cast<std::size_t>(argument)]);
    }
    sum += 2 * graph::work(op.op, arguments, op.results);
    types.insert(types.end(), op.results.begin(), op.results.end());
  }
  return sum;
}

double bytes_moved(const Step& step) {
  double sum = 0;
  const auto add = [&](const View& view) {
    double elements = 1;
    for (std::size_t i = 0; i < view.shape.size(); ++i) {
      if (view.strides[i] != 0) elements *= static_cast<double>(view.shape[i]);
    }
    sum += elements * static_cast<double>(element_bytes(view.type));
  };
  for (const View& view : step.inputs) add(view);
  for (const StepOutput& output : step.outputs) add(output.view);
  return sum;
}

}  // namespace takt::cuda
