// SPDX-License-Identifier: Apache-2.0
#include "graph/elements.h"
#include "graph/evaluate_kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <variant>

namespace takt::graph {
namespace {

// A damaged file must not make a kernel read beyond the end.
Result<void> check_elements(const Constant& constant) {
  const Result<std::size_t> expected = byte_size(constant.type.type, constant.type.shape);
  if (!expected) return std::unexpected(expected.error());
  if (constant.bytes.size() == *expected) return {};
  return fail(ErrorKind::invalid_input,
              fmt::format("{} bytes of elements, but {} has {}", constant.bytes.size(),
                          to_string(constant.type), *expected));
}

Result<std::vector<TensorType>> check_inputs(Inputs inputs) {
  std::vector<TensorType> types;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (Result<void> checked = check_elements(*inputs[i]); !checked) {
      return std::unexpected(std::move(checked).error().within(fmt::format("input {}", i)));
    }
    types.push_back(inputs[i]->type);
  }
  return types;
}

// Without ownership: the caller's.
ConstantPtr borrowed(const Constant& constant) {
  return {std::shared_ptr<void>(), &constant};
}

Result<std::vector<ConstantPtr>> known_values(const Graph& graph,
                                              std::span<const Constant> inputs) {
  std::vector<ConstantPtr> values;
  values.reserve(graph.values.size());
  for (const Value& value : graph.values) values.push_back(value.constant);
  if (inputs.size() != graph.inputs.size()) {
    return fail(ErrorKind::invalid_input,
                fmt::format("{} inputs; expected {}", inputs.size(), graph.inputs.size()));
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Value& value = graph.value(graph.inputs[i]);
    if (inputs[i].type != value.type) {
      return fail(ErrorKind::invalid_input,
                  fmt::format("input '{}' is {}; expected {}", value.name,
                              to_string(inputs[i].type), to_string(value.type)));
    }
    values.at(graph.inputs[i].value) = borrowed(inputs[i]);
  }
  return values;
}

Result<void> evaluate_node(const Node& node, std::vector<ConstantPtr>& values) {
  std::vector<const Constant*> inputs;
  for (const ValueId id : node.inputs) inputs.push_back(values.at(id.value).get());
  Constants outputs = evaluate(node.op, inputs);
  if (!outputs) return std::unexpected(std::move(outputs).error().within(node.name));
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    values.at(node.outputs[i].value) = std::make_shared<const Constant>(std::move(outputs->at(i)));
  }
  return {};
}

}  // namespace

Constants evaluate(const Operator& op, Inputs inputs) {
  const Result<std::vector<TensorType>> types = check_inputs(inputs);
  if (!types) return std::unexpected(types.error());
  const Result<std::vector<TensorType>> outputs = infer_types(op, *types);
  if (!outputs) return std::unexpected(outputs.error());
  // Kernels walk dimensions, of which one without elements may have large ones beside it.
  const auto is_empty = [](const TensorType& type) {
    return std::ranges::find(type.shape, 0) != type.shape.end();
  };
  if (std::ranges::all_of(*outputs, is_empty)) {
    std::vector<Constant> empty;
    for (const TensorType& type : *outputs) empty.push_back({type, {}});
    return empty;
  }
  return std::visit([&](const auto& kind) { return compute(kind, inputs, *outputs); }, op);
}

Constants evaluate(const Graph& graph, std::span<const Constant> inputs) {
  Result<std::vector<ConstantPtr>> values = known_values(graph, inputs);
  if (!values) return std::unexpected(std::move(values).error());
  for (const Node& node : graph.nodes) {
    if (Result<void> done = evaluate_node(node, *values); !done) {
      return std::unexpected(std::move(done).error());
    }
  }
  std::vector<Constant> outputs;
  for (const ValueId id : graph.outputs) outputs.push_back(*values->at(id.value));
  return outputs;
}

}  // namespace takt::graph
