// SPDX-License-Identifier: Apache-2.0
#include "graph/import_nodes.h"

#include "graph/constants.h"
#include "graph/import.h"
#include "graph/infer_types.h"
#include "graph/node_reader.h"
#include "repository/onnx_external.h"
#include "repository/read_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace takt::graph {
namespace {

namespace fs = std::filesystem;
using repository::printable;

bool is_default(std::string_view domain) {
  return domain.empty() || domain == "ai.onnx";
}

using Table = std::unordered_map<std::string_view, Translate>;

Table make_table() {
  Table table;
  for (const auto family :
       {elementwise_translations(), layout_translations(), convolution_translations(),
        algebra_translations(), other_translations()}) {
    for (const Translation& one : family) table.emplace(one.op, one.translate);
  }
  return table;
}

const Table& translations() {
  static const Table table = make_table();
  return table;
}

std::string describe(const onnx::NodeProto& node, int opset) {
  const std::string& name =
      node.name().empty() && node.output_size() > 0 ? node.output(0) : node.name();
  return fmt::format("node '{}' ({}, opset {})", printable(name), printable(node.op_type()), opset);
}

using Names = std::unordered_set<std::string_view>;

void add_needed(const onnx::NodeProto& node, int depth, Names& needed);

// A branch sees the names around it: whatever it may ask for is needed.
void add_needed(const onnx::GraphProto& branch, int depth, Names& needed) {
  // Deeper ones are refused before anything in them is looked up.
  if (depth > NodeImporter::kNestingMax) return;
  for (const onnx::ValueInfoProto& output : branch.output()) needed.insert(output.name());
  for (const onnx::NodeProto& node : branch.node()) add_needed(node, depth, needed);
}

void add_needed(const onnx::NodeProto& node, int depth, Names& needed) {
  needed.insert(node.input().begin(), node.input().end());
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (attribute.has_g()) add_needed(attribute.g(), depth + 1, needed);
    for (const onnx::GraphProto& branch : attribute.graphs()) add_needed(branch, depth + 1, needed);
  }
}

// How many of a node's outputs, up to the last one that is needed.
std::size_t used_outputs(const onnx::NodeProto& node, const Names& needed) {
  int used = node.output_size();
  while (used > 0 && (node.output(used - 1).empty() || !needed.contains(node.output(used - 1)))) {
    --used;
  }
  return static_cast<std::size_t>(used);
}

// The names that `needed` depends on in turn, found from the last node on.
void close_over(const google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes, int depth,
                Names& needed) {
  for (int i = nodes.size() - 1; i >= 0; --i) {
    if (used_outputs(nodes[i], needed) > 0) add_needed(nodes[i], depth, needed);
  }
}

bool refers(const onnx::NodeProto& node) {
  return std::ranges::any_of(node.attribute(), [](const onnx::AttributeProto& attribute) {
    return !attribute.ref_attr_name().empty();
  });
}

// The attributes of a function's body that are its call's, filled in.
onnx::NodeProto with_attributes(const onnx::NodeProto& node, const Scope& scope) {
  onnx::NodeProto filled = node;
  filled.clear_attribute();
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (attribute.ref_attr_name().empty()) {
      *filled.add_attribute() = attribute;
      continue;
    }
    const auto given = scope.attributes.find(attribute.ref_attr_name());
    if (given == scope.attributes.end()) continue;
    onnx::AttributeProto& own = *filled.add_attribute();
    own = *given->second;
    own.set_name(attribute.name());
  }
  return filled;
}

}  // namespace

Result<int> default_opset(
    const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports) {
  std::int64_t opset = 0;
  for (const onnx::OperatorSetIdProto& import : imports) {
    if (is_default(import.domain())) opset = std::max<std::int64_t>(opset, import.version());
  }
  if (opset == 0)
    return refuse("it names no opset of ONNX's own operators; export the model again");
  if (opset >= kOpsetMin && opset <= kOpsetMax) return static_cast<int>(opset);
  return refuse(
      fmt::format("opset {}; the cuda backend knows {} to {}: export the model with one of them, "
                  "convert it with "
                  "onnx.version_converter, or {}",
                  opset, kOpsetMin, kOpsetMax, kOpenvinoAdvice));
}

Result<ValueId> NodeImporter::add_input(std::string name, TensorType type, Scope& scope) {
  const auto [entry, added] = scope.names.try_emplace(name);
  if (!added) return refuse(fmt::format("two inputs are named '{}'", printable(name)));
  const ValueId id = builder_.add_input(std::move(name), std::move(type));
  entry->second.value = id;
  named_.insert(id);
  return id;
}

Result<std::vector<ValueId>> NodeImporter::add_graph(const onnx::GraphProto& graph, Scope& scope) {
  if (scope.depth > kNestingMax) {
    return refuse(fmt::format("more than {} graphs or functions within each other", kNestingMax));
  }
  if (Result<void> added = add_weights(graph, scope); !added) {
    return std::unexpected(std::move(added).error());
  }
  Names needed;
  for (const onnx::ValueInfoProto& output : graph.output()) needed.insert(output.name());
  close_over(graph.node(), scope.depth, needed);
  if (Result<void> added = add_nodes(graph.node(), needed, scope); !added) {
    return std::unexpected(std::move(added).error());
  }
  std::vector<ValueId> outputs;
  for (const onnx::ValueInfoProto& output : graph.output()) {
    const Result<std::optional<ValueId>> value = find(output.name(), scope);
    if (!value || !*value) {
      return refuse(fmt::format("output '{}': {}", printable(output.name()),
                                value ? "it has no value" : value.error().message));
    }
    outputs.push_back(**value);
  }
  return outputs;
}

Result<void> NodeImporter::add_weights(const onnx::GraphProto& graph, Scope& scope) const {
  if (graph.sparse_initializer_size() > 0) {
    return refuse(fmt::format("the weights '{}' are sparse; export the model with dense ones",
                              printable(graph.sparse_initializer(0).values().name())));
  }
  for (const onnx::TensorProto& weights : graph.initializer()) {
    if (scope.names.try_emplace(weights.name(), Named{{}, &weights}).second) continue;
    return refuse(fmt::format("the name '{}' is given to two initialisers or inputs",
                              printable(weights.name())));
  }
  return {};
}

Result<void> NodeImporter::add_nodes(const Nodes& nodes, const Names& needed, Scope& scope) {
  Names given;
  for (const auto& [name, unused] : scope.names) given.insert(name);
  for (const onnx::NodeProto& node : nodes) {
    if (++node_count_ > kNodesMax) {
      return refuse(fmt::format("the model has more than {} nodes", kNodesMax));
    }
    for (const std::string& output : node.output()) {
      if (output.empty() || given.insert(output).second) continue;
      return refuse(fmt::format("{}: its output '{}' is the name of another value",
                                describe(node, scope.opset), printable(output)));
    }
    if (used_outputs(node, needed) == 0) continue;
    Result<void> added = refers(node) ? add_node(with_attributes(node, scope), needed, scope)
                                      : add_node(node, needed, scope);
    if (!added) {
      return refuse(fmt::format("{}: {}", describe(node, scope.opset), added.error().message));
    }
  }
  return {};
}

Result<void> NodeImporter::add_node(const onnx::NodeProto& node, const Names& needed,
                                    Scope& scope) {
  const std::size_t used = used_outputs(node, needed);
  const Result<std::vector<ValueId>> outputs = translate(node, used, scope);
  if (!outputs) return std::unexpected(outputs.error());
  if (outputs->size() < used) {
    return refuse(
        fmt::format("{} of its outputs are used, but it computes {}", used, outputs->size()));
  }
  for (std::size_t i = 0; i < used; ++i) {
    const std::string& name = node.output(static_cast<int>(i));
    if (name.empty()) continue;
    const ValueId value = (*outputs)[i];
    if (builder_.shape(value).size() > kRankMax) {
      return refuse(fmt::format("it computes {} dimensions; at most {} are supported",
                                builder_.shape(value).size(), kRankMax));
    }
    name_value(value, name);
    scope.names[name].value = value;
  }
  return {};
}

Result<std::vector<ValueId>> NodeImporter::translate(const onnx::NodeProto& node, std::size_t used,
                                                     Scope& scope) {
  if (const onnx::FunctionProto* function = find_function(node)) {
    return call(*function, node, scope);
  }
  if (!is_default(node.domain())) {
    return refuse(fmt::format("the cuda backend knows no operators of the domain '{}'; {}",
                              printable(node.domain()), kOpenvinoAdvice));
  }
  if (node.op_type() == "If") return add_branch(node, scope);
  const auto known = translations().find(node.op_type());
  if (known == translations().end()) {
    return refuse(fmt::format("the cuda backend has no such operator; {}", kOpenvinoAdvice));
  }
  Result<std::vector<std::optional<ValueId>>> inputs = find_inputs(node, scope);
  if (!inputs) return std::unexpected(std::move(inputs).error());
  const std::string& name = node.name().empty() ? node.output(0) : node.name();
  builder_.set_node_name(fmt::format("{} ({})", printable(name), node.op_type()));
  const NodeReader reader(node, scope.opset, builder_, std::move(*inputs), used);
  Result<std::vector<ValueId>> outputs = known->second(reader);
  if (Result<void> checked = reader.check(); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return outputs;
}

// Only one branch is ever taken; the other may hold what nobody here knows.
Result<std::vector<ValueId>> NodeImporter::add_branch(const onnx::NodeProto& node, Scope& scope) {
  Result<std::vector<std::optional<ValueId>>> inputs = find_inputs(node, scope);
  if (!inputs) return std::unexpected(std::move(inputs).error());
  const NodeReader reader(node, scope.opset, builder_, std::move(*inputs));
  const Result<std::vector<std::int64_t>> condition = reader.integers_of(0);
  if (!condition) return std::unexpected(condition.error());
  if (condition->size() != 1) {
    return refuse(fmt::format("its condition has {} elements; expected one", condition->size()));
  }
  const std::string_view taken = condition->front() != 0 ? "then_branch" : "else_branch";
  const auto branch = std::ranges::find(node.attribute(), taken, &onnx::AttributeProto::name);
  if (branch == node.attribute().end() || !branch->has_g()) {
    return refuse(fmt::format("attribute '{}' is missing", taken));
  }
  Scope inner{&scope, scope.opset, scope.depth + 1, scope.attributes, {}};
  return add_graph(branch->g(), inner);
}

const onnx::FunctionProto* NodeImporter::find_function(const onnx::NodeProto& node) const {
  for (const onnx::FunctionProto& function : model_.functions()) {
    const bool same_domain = function.domain() == node.domain() ||
                             (is_default(function.domain()) && is_default(node.domain()));
    if (same_domain && function.name() == node.op_type() &&
        function.overload() == node.overload()) {
      return &function;
    }
  }
  return nullptr;
}

// A function sees its inputs and attributes, and none of the caller's names.
Result<std::vector<ValueId>> NodeImporter::call(const onnx::FunctionProto& function,
                                                const onnx::NodeProto& node, Scope& caller) {
  const Result<int> opset = default_opset(function.opset_import());
  if (!opset) return std::unexpected(opset.error());
  Scope scope{nullptr, *opset, caller.depth + 1, {}, {}};
  if (scope.depth > kNestingMax) {
    return refuse(fmt::format("more than {} graphs or functions within each other", kNestingMax));
  }
  for (const onnx::AttributeProto& attribute : function.attribute_proto()) {
    scope.attributes[attribute.name()] = &attribute;
  }
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    scope.attributes[attribute.name()] = &attribute;
  }
  const Result<std::vector<std::optional<ValueId>>> inputs = find_inputs(node, caller);
  if (!inputs) return std::unexpected(inputs.error());
  for (int i = 0; i < function.input_size(); ++i) {
    const auto place = static_cast<std::size_t>(i);
    scope.names[function.input(i)].value = place < inputs->size() ? (*inputs)[place] : std::nullopt;
  }
  Names needed(function.output().begin(), function.output().end());
  close_over(function.node(), scope.depth, needed);
  if (Result<void> added = add_nodes(function.node(), needed, scope); !added) {
    return std::unexpected(std::move(added).error());
  }
  std::vector<ValueId> outputs;
  for (const std::string& name : function.output()) {
    const Result<std::optional<ValueId>> value = find(name, scope);
    if (!value) return std::unexpected(value.error());
    if (!*value)
      return refuse(fmt::format("the function's output '{}' has no value", printable(name)));
    outputs.push_back(**value);
  }
  return outputs;
}

Result<std::optional<ValueId>> NodeImporter::find(const std::string& name, Scope& scope) {
  for (Scope* visible = &scope; visible != nullptr; visible = visible->outer) {
    const auto entry = visible->names.find(name);
    if (entry == visible->names.end()) continue;
    Named& named = entry->second;
    if (named.weights != nullptr && !named.value) {
      const Result<ValueId> loaded = load(*named.weights);
      if (!loaded) return std::unexpected(loaded.error());
      named.value = *loaded;
    }
    return named.value;
  }
  return refuse(
      fmt::format("no input, initialiser or node before it gives the value '{}'; export the "
                  "model again",
                  printable(name)));
}

Result<std::vector<std::optional<ValueId>>> NodeImporter::find_inputs(const onnx::NodeProto& node,
                                                                      Scope& scope) {
  std::vector<std::optional<ValueId>> inputs;
  for (const std::string& name : node.input()) {
    Result<std::optional<ValueId>> value = std::optional<ValueId>();
    if (!name.empty()) value = find(name, scope);
    if (!value) return std::unexpected(std::move(value).error());
    inputs.push_back(*value);
  }
  return inputs;
}

Result<ValueId> NodeImporter::load(const onnx::TensorProto& weights) {
  const std::string who = fmt::format("the weights '{}'", printable(weights.name()));
  const Result<TensorType> type = type_of(weights);
  if (!type) return std::unexpected(type.error().within(who));
  const Result<std::size_t> size = byte_size(type->type, type->shape);
  if (!size) return std::unexpected(size.error().within(who));
  if (type->shape.size() > kRankMax || std::ranges::any_of(type->shape, [](std::int64_t dimension) {
        return dimension > kDimensionMax;
      })) {
    return refuse(fmt::format("{} are {}, which is too large", who, to_string(*type)));
  }
  const bool elsewhere = repository::is_external(weights) && folder_ != nullptr;
  if (!elsewhere) {
    Result<Constant> constant = constant_from(weights);
    if (!constant) return std::unexpected(std::move(constant).error().within(who));
    const ValueId id = builder_.add_constant(std::move(*constant), weights.name());
    named_.insert(id);
    return id;
  }
  Result<std::vector<std::byte>> bytes = repository::read_external_data(weights, *folder_, *size);
  if (!bytes) return std::unexpected(std::move(bytes).error());
  const ValueId id = builder_.add_constant({*type, std::move(*bytes)}, weights.name());
  named_.insert(id);
  return id;
}

void NodeImporter::name_value(ValueId id, const std::string& name) {
  if (named_.insert(id).second) builder_.set_name(id, name);
}

std::vector<std::string> supported_operators() {
  std::vector<std::string> names{"If"};
  for (const auto& [name, translate] : translations()) names.emplace_back(name);
  std::ranges::sort(names);
  return names;
}

}  // namespace takt::graph
