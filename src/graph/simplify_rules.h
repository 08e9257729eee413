// SPDX-License-Identifier: Apache-2.0
// The rules of simplify: each looks at an operator that is about to be added to the new graph, and may add
// others in its place. Thread-safe: one thread's. Owns: nothing. Private to this layer.
#pragma once

#include "graph/graph.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace takt::graph {

class Rewriter {
 public:
  explicit Rewriter(GraphBuilder& builder) : builder_(builder) {}

  [[nodiscard]] GraphBuilder& builder() const noexcept { return builder_; }
  [[nodiscard]] const TensorType& type(ValueId id) const { return builder_.type(id); }
  [[nodiscard]] const Shape& shape(ValueId id) const { return builder_.shape(id); }

  // The operator of type Op that computes `id`, or null.
  template <typename Op>
  [[nodiscard]] const Op* producer(ValueId id) const {
    const Node* const node = builder_.producer(id);
    return node == nullptr ? nullptr : std::get_if<Op>(&node->op);
  }
  // The inputs of what computes `id`.
  [[nodiscard]] const std::vector<ValueId>& inputs(ValueId id) const {
    return builder_.producer(id)->inputs;
  }
  // The input of the unary operator of this kind that computes `id`.
  [[nodiscard]] std::optional<ValueId> unary_input(ValueId id, UnaryKind kind) const;

  // The number that a constant of one element, or of equal ones, holds.
  [[nodiscard]] std::optional<double> number(ValueId id) const;
  [[nodiscard]] bool is_number(ValueId id, double expected) const { return number(id) == expected; }

  // Counts how many nodes and outputs need a value, so that a rule knows whether what computes it goes.
  void note_uses(ValueId id, int uses);
  [[nodiscard]] bool used_once(ValueId id) const;

 private:
  GraphBuilder& builder_;
  std::vector<int> uses_;
};

// What stands for the output of `op`, nothing where the rule doesn't apply.
using Rewritten = Result<std::optional<ValueId>>;
using Rule = Rewritten (*)(Rewriter& rewriter, const Operator& op, std::span<const ValueId> inputs);

[[nodiscard]] std::span<const Rule> layout_rules();  // simplify_layout.cc
[[nodiscard]] std::span<const Rule>
folding_rules();  // simplify_folding.cc: into Conv and LayerNorm
[[nodiscard]] std::span<const Rule> activation_rules();  // simplify_activations.cc

}  // namespace takt::graph
