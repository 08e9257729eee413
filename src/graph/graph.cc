// SPDX-License-Identifier: Apache-2.0
#include "graph/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace takt::graph {
namespace {

// Of what changes no number a result of any size is kept in place of its input.
bool only_moves(const Operator& op) {
  return std::holds_alternative<Reshape>(op) || std::holds_alternative<Transpose>(op) ||
         std::holds_alternative<Slice>(op);
}

bool grows(std::size_t result_bytes, std::span<const Constant* const> inputs) {
  std::size_t input_bytes = 0;
  for (const Constant* input : inputs) input_bytes += input->bytes.size();
  return result_bytes > input_bytes;
}

// A weight in 8 bits stays one, for the backend to compute with.
bool is_quantisation(const Operator& op) {
  return std::holds_alternative<Quantize>(op) || std::holds_alternative<Dequantize>(op);
}

Result<std::size_t> total_bytes(std::span<const TensorType> types) {
  std::size_t total = 0;
  for (const TensorType& type : types) {
    const Result<std::size_t> bytes = byte_size(type.type, type.shape);
    if (!bytes) return bytes;
    total += *bytes;
  }
  return total;
}

}  // namespace

std::string to_string(const TensorType& type) {
  return std::string(takt::to_string(type.type)) + takt::to_string(type.shape);
}

ValueId GraphBuilder::add_input(std::string name, TensorType type) {
  inputs_.push_back(add_value(std::move(name), std::move(type), nullptr));
  return inputs_.back();
}

ValueId GraphBuilder::add_constant(Constant constant, std::string name) {
  return add_constant(std::make_shared<const Constant>(std::move(constant)), std::move(name));
}

ValueId GraphBuilder::add_constant(ConstantPtr constant, std::string name) {
  TensorType type = constant->type;
  return add_value(std::move(name), std::move(type), std::move(constant));
}

ValueId GraphBuilder::add_value(std::string name, TensorType type, ConstantPtr constant,
                                const Node* producer) {
  values_.push_back({{std::move(name), std::move(type), std::move(constant)}, producer});
  return ValueId{static_cast<std::uint32_t>(values_.size() - 1)};
}

bool GraphBuilder::takes_rows_as_they_are(const Operator& op,
                                          std::span<const ValueId> inputs) const {
  const Gather* const gather = std::get_if<Gather>(&op);
  const bool columns = gather != nullptr && gather->axis > 0 && !rows_vary(inputs[1]);
  return columns || std::holds_alternative<Unary>(op) || std::holds_alternative<Cast>(op);
}

Result<std::vector<ValueId>> GraphBuilder::add_all(Operator op, std::vector<ValueId> inputs) {
  std::vector<TensorType> input_types;
  std::vector<const Constant*> constants;
  for (const ValueId input : inputs) {
    input_types.push_back(type(input));
    if (constant(input) != nullptr) constants.push_back(constant(input));
  }
  const bool varies = std::ranges::any_of(inputs, [this](ValueId id) { return rows_vary(id); });
  if (varies && !takes_rows_as_they_are(op, inputs))
    return fail(ErrorKind::invalid_input, kRowsVary);
  Result<std::vector<TensorType>> types = infer_types(op, input_types);
  if (!types) return std::unexpected(std::move(types).error());
  const Result<std::size_t> bytes = total_bytes(*types);
  if (!bytes) return std::unexpected(bytes.error());
  const bool all_known = constants.size() == inputs.size() && !is_quantisation(op);
  const double steps = work(op, input_types, *types);
  const bool small = *bytes <= kFoldedBytesMax && steps <= kFoldedWorkMax;
  const bool affordable =
      folded_bytes_ + *bytes <= kFoldedBytesTotalMax && folded_work_ + steps <= kFoldedWorkTotalMax;
  if (all_known && affordable && (small || (only_moves(op) && !grows(*bytes, constants)))) {
    folded_bytes_ += *bytes;
    folded_work_ += steps;
    return fold(op, constants);
  }
  Node& node = nodes_.emplace_back(Node{node_name_, std::move(op), std::move(inputs), {}});
  for (TensorType& type : *types) {
    node.outputs.push_back(add_value({}, std::move(type), nullptr, &node));
    values_.back().rows_vary = varies || std::holds_alternative<NonMaxSuppression>(node.op);
  }
  return node.outputs;
}

Result<std::vector<ValueId>> GraphBuilder::fold(const Operator& op,
                                                std::span<const Constant* const> inputs) {
  Result<std::vector<Constant>> results = evaluate(op, inputs);
  if (!results) return std::unexpected(std::move(results).error());
  std::vector<ValueId> outputs;
  for (Constant& result : *results) outputs.push_back(add_constant(std::move(result)));
  return outputs;
}

Result<ValueId> GraphBuilder::add(Operator op, std::vector<ValueId> inputs) {
  Result<std::vector<ValueId>> outputs = add_all(std::move(op), std::move(inputs));
  if (!outputs) return std::unexpected(std::move(outputs).error());
  return outputs->front();
}

Graph GraphBuilder::finish(std::vector<ValueId> outputs) && {
  std::vector<bool> needed(values_.size());
  const auto need = [&needed](const std::vector<ValueId>& ids) {
    for (const ValueId id : ids) needed[id.value] = true;
  };
  const auto is_needed = [&needed](const Node& node) {
    return std::ranges::any_of(node.outputs, [&](ValueId id) { return needed[id.value]; });
  };
  need(outputs);
  need(inputs_);
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) {
    if (!is_needed(*node)) continue;
    need(node->outputs);
    need(node->inputs);
  }
  Graph graph;
  std::vector<ValueId> places(values_.size());
  for (std::size_t i = 0; i < values_.size(); ++i) {
    places[i] = ValueId{static_cast<std::uint32_t>(graph.values.size())};
    if (needed[i]) graph.values.push_back(std::move(values_[i].value));
  }
  const auto moved = [&places](std::vector<ValueId> ids) {
    for (ValueId& id : ids) id = places[id.value];
    return ids;
  };
  for (Node& node : nodes_) {
    if (!is_needed(node)) continue;
    graph.nodes.push_back({std::move(node.name), std::move(node.op), moved(std::move(node.inputs)),
                           moved(std::move(node.outputs))});
  }
  graph.inputs = moved(std::move(inputs_));
  graph.outputs = moved(std::move(outputs));
  return graph;
}

}  // namespace takt::graph
