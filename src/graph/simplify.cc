// SPDX-License-Identifier: Apache-2.0
#include "graph/simplify.h"

#include "graph/constants.h"
#include "graph/simplify_rules.h"

#include <algorithm>
#include <utility>

namespace takt::graph {
namespace {

// How many nodes and outputs need each value.
std::vector<int> count_uses(const Graph& graph) {
  std::vector<int> uses(graph.values.size());
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.inputs) ++uses[id.value];
  }
  for (const ValueId id : graph.outputs) ++uses[id.value];
  return uses;
}

class Simplifier {
 public:
  explicit Simplifier(const Graph& from)
      : from_(from), uses_(count_uses(from)), places_(from.values.size()) {}

  Result<Graph> run() {
    for (const ValueId id : from_.inputs) {
      const Value& input = from_.value(id);
      settle(id, builder_.add_input(input.name, input.type));
    }
    for (std::uint32_t i = 0; i < from_.values.size(); ++i) add_constant(ValueId{i});
    for (const Node& node : from_.nodes) {
      if (Result<void> added = add_node(node); !added) {
        return fail(ErrorKind::internal, node.name + ": simplified: " + added.error().message);
      }
    }
    return finish();
  }

 private:
  void settle(ValueId old, ValueId now) {
    places_[old.value] = now;
    rewriter_.note_uses(now, uses_[old.value]);
  }

  void add_constant(ValueId id) {
    const Value& value = from_.value(id);
    if (value.constant != nullptr) settle(id, builder_.add_constant(value.constant, value.name));
  }

  Result<void> add_node(const Node& node) {
    builder_.set_node_name(node.name);
    std::vector<ValueId> inputs;
    for (const ValueId id : node.inputs) inputs.push_back(places_[id.value]);
    if (node.outputs.size() == 1) {
      Result<ValueId> output = rewrite(node.op, inputs, from_.value(node.outputs.front()).type);
      if (!output) return std::unexpected(std::move(output).error());
      settle(node.outputs.front(), *output);
      return {};
    }
    Result<std::vector<ValueId>> outputs = builder_.add_all(node.op, std::move(inputs));
    if (!outputs) return std::unexpected(std::move(outputs).error());
    for (std::size_t i = 0; i < outputs->size(); ++i) settle(node.outputs[i], (*outputs)[i]);
    return {};
  }

  Result<ValueId> rewrite(const Operator& op, std::span<const ValueId> inputs,
                          const TensorType& type) {
    for (const auto& rules : {layout_rules(), folding_rules(), activation_rules()}) {
      for (const Rule rule : rules) {
        const Rewritten rewritten = rule(rewriter_, op, inputs);
        // Where a rule meets types that it doesn't fit, or would lose a broadcast, the operator stays.
        if (rewritten && *rewritten && builder_.type(**rewritten) == type) return **rewritten;
      }
    }
    return builder_.add(op, {inputs.begin(), inputs.end()});
  }

  // Each output is a value of its own with its old name, and no input.
  Result<Graph> finish() {
    std::vector<ValueId> outputs;
    for (const ValueId old : from_.outputs) {
      ValueId now = places_[old.value];
      const bool taken = std::ranges::find(outputs, now) != outputs.end();
      if (taken || (builder_.producer(now) == nullptr && from_.value(old).constant == nullptr)) {
        Result<ValueId> copy = builder_.add(Reshape{builder_.shape(now)}, {now});
        if (!copy) return std::unexpected(std::move(copy).error());
        now = *copy;
      }
      builder_.set_name(now, from_.value(old).name);
      outputs.push_back(now);
    }
    return std::move(builder_).finish(std::move(outputs));
  }

  const Graph& from_;
  const std::vector<int> uses_;
  std::vector<ValueId> places_;  // of the old values in the new graph
  GraphBuilder builder_;
  Rewriter rewriter_{builder_};
};

}  // namespace

std::optional<ValueId> Rewriter::unary_input(ValueId id, UnaryKind kind) const {
  const Unary* const unary = producer<Unary>(id);
  if (unary == nullptr || unary->kind != kind) return {};
  return inputs(id).front();
}

std::optional<double> Rewriter::number(ValueId id) const {
  constexpr std::size_t kBytesMax = std::size_t{64}
                                    << 10;  // an exporter's expanded scalar has less
  const Constant* const constant = builder_.constant(id);
  if (constant == nullptr || constant->bytes.size() > kBytesMax) return {};
  const std::vector<double> numbers = numbers_in(*constant);
  if (numbers.empty()) return {};
  const bool equal = std::ranges::all_of(numbers, [&](double n) { return n == numbers.front(); });
  return equal ? std::optional(numbers.front()) : std::nullopt;
}

void Rewriter::note_uses(ValueId id, int uses) {
  if (uses_.size() <= id.value) uses_.resize(id.value + 1);
  uses_[id.value] += uses;
}

bool Rewriter::used_once(ValueId id) const {
  return id.value >= uses_.size() || uses_[id.value] <= 1;
}

Result<Graph> simplify(const Graph& graph) {
  return Simplifier(graph).run();
}

}  // namespace takt::graph
