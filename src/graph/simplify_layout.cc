// SPDX-License-Identifier: Apache-2.0
// What only changes shapes, and arithmetic that changes nothing.
#include "graph/constants.h"
#include "graph/simplify_rules.h"

#include <algorithm>
#include <array>
#include <utility>

namespace takt::graph {
namespace {

using Ids = std::span<const ValueId>;

Rewritten add(Rewriter& rewriter, Operator op, std::vector<ValueId> inputs) {
  Result<ValueId> added = rewriter.builder().add(std::move(op), std::move(inputs));
  if (!added) return std::unexpected(std::move(added).error());
  return *added;
}

Rewritten join_reshapes(Rewriter& rewriter, const Operator& op, Ids inputs) {
  const auto* const reshape = std::get_if<Reshape>(&op);
  if (reshape == nullptr) return {};
  ValueId from = inputs[0];
  if (rewriter.producer<Reshape>(from) != nullptr) from = rewriter.inputs(from).front();
  if (rewriter.shape(from) == reshape->shape) return from;
  if (from == inputs[0]) return {};
  return add(rewriter, *reshape, {from});
}

Rewritten join_transposes(Rewriter& rewriter, const Operator& op, Ids inputs) {
  const auto* const transpose = std::get_if<Transpose>(&op);
  if (transpose == nullptr) return {};
  ValueId from = inputs[0];
  std::vector<int> permutation = transpose->permutation;
  if (const auto* const first = rewriter.producer<Transpose>(from)) {
    for (int& dim : permutation) dim = first->permutation[static_cast<std::size_t>(dim)];
    from = rewriter.inputs(from).front();
  }
  if (std::ranges::is_sorted(permutation)) return from;
  if (from == inputs[0]) return {};
  return add(rewriter, Transpose{std::move(permutation)}, {from});
}

// Neighbouring rows that constants choose are a slice.
Rewritten slice_of_constant_rows(Rewriter& rewriter, const Operator& op, Ids inputs) {
  const auto* const gather = std::get_if<Gather>(&op);
  if (gather == nullptr) return {};
  const Constant* const indices = rewriter.builder().constant(inputs[1]);
  if (indices == nullptr || indices->bytes.empty()) return {};
  const Shape shape = rewriter.shape(inputs[0]);
  const auto axis = static_cast<std::size_t>(gather->axis);
  std::vector<std::int64_t> rows = integers_in(*indices);
  for (std::int64_t& row : rows) {
    if (row < 0) row += shape[axis];
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] != rows[0] + static_cast<std::int64_t>(i)) return {};
  }
  if (rows.front() < 0 || rows.back() >= shape[axis]) return {};
  Slice slice{std::vector<std::int64_t>(shape.size(), 0),
              std::vector<std::int64_t>(shape.size(), 1), shape};
  slice.starts[axis] = rows.front();
  slice.sizes[axis] = static_cast<std::int64_t>(rows.size());
  const Rewritten part = add(rewriter, std::move(slice), {inputs[0]});
  if (!part) return part;
  // The indices' own dimensions stand in the axis's place.
  Shape result(shape.begin(), shape.begin() + gather->axis);
  result.insert(result.end(), indices->type.shape.begin(), indices->type.shape.end());
  result.insert(result.end(), shape.begin() + gather->axis + 1, shape.end());
  if (result == rewriter.shape(**part)) return part;
  return add(rewriter, Reshape{std::move(result)}, {**part});
}

// Of what gives back its input as it is.
Rewritten drop_what_changes_nothing(Rewriter& rewriter, const Operator& op, Ids inputs) {
  const Shape& shape = rewriter.shape(inputs[0]);
  const auto is_one = [&shape](int axis) { return shape[static_cast<std::size_t>(axis)] == 1; };
  const auto is_whole = [&shape](const Slice& slice) {
    return slice.sizes == shape && std::ranges::all_of(slice.steps, [](auto s) { return s == 1; });
  };
  bool same = false;
  if (const auto* const cast = std::get_if<Cast>(&op)) {
    same = cast->to == rewriter.type(inputs[0]).type;
  } else if (const auto* const expand = std::get_if<Expand>(&op)) {
    same = expand->shape == shape;
  } else if (const auto* const slice = std::get_if<Slice>(&op)) {
    same = is_whole(*slice);
  } else if (std::holds_alternative<Concat>(op)) {
    same = inputs.size() == 1;
  } else if (const auto* const pad = std::get_if<Pad>(&op)) {
    const auto is_zero = [](std::int64_t count) { return count == 0; };
    same = std::ranges::all_of(pad->begins, is_zero) && std::ranges::all_of(pad->ends, is_zero);
  } else if (const auto* const reduce = std::get_if<Reduce>(&op)) {
    const bool keeps = reduce->kind == ReduceKind::sum || reduce->kind == ReduceKind::mean ||
                       reduce->kind == ReduceKind::max || reduce->kind == ReduceKind::min ||
                       reduce->kind == ReduceKind::prod;
    same = keeps && std::ranges::all_of(reduce->axes, is_one);
  }
  return same ? std::optional(inputs[0]) : std::nullopt;
}

// The number that an operator may have on its right side, and on its left where the sides are alike,
// without changing the other.
struct Neutral {
  BinaryKind kind;
  double number;
  bool commutes;
};
constexpr std::array kNeutral{Neutral{BinaryKind::add, 0, true}, Neutral{BinaryKind::sub, 0, false},
                              Neutral{BinaryKind::mul, 1, true}, Neutral{BinaryKind::div, 1, false},
                              Neutral{BinaryKind::pow, 1, false}};

Rewritten drop_neutral_numbers(Rewriter& rewriter, const Operator& op, Ids inputs) {
  const auto* const binary = std::get_if<Binary>(&op);
  if (binary == nullptr) return {};
  const auto* const neutral = std::ranges::find(kNeutral, binary->kind, &Neutral::kind);
  if (neutral == kNeutral.end()) return {};
  const auto drops = [&](ValueId number, ValueId other) {
    const Constant* const constant = rewriter.builder().constant(number);
    const std::optional<double> found =
        constant == nullptr ? std::nullopt : rewriter.number(number);
    if (!found || *found != neutral->number) return false;
    return constant->type.shape.size() <= rewriter.shape(other).size() &&
           constant->bytes.size() == element_bytes(constant->type.type);
  };
  if (drops(inputs[1], inputs[0])) return inputs[0];
  if (neutral->commutes && drops(inputs[0], inputs[1])) return inputs[1];
  return {};
}

// x^2 and x^0.5, which exporters write with a general power.
Rewritten spell_powers(Rewriter& rewriter, const Operator& op, Ids inputs) {
  const auto* const binary = std::get_if<Binary>(&op);
  if (binary == nullptr || binary->kind != BinaryKind::pow) return {};
  const std::optional<double> exponent = rewriter.number(inputs[1]);
  const Shape& shape = rewriter.shape(inputs[1]);
  const bool scalar = std::ranges::all_of(shape, [](std::int64_t size) { return size == 1; });
  if (!exponent || !scalar || shape.size() > rewriter.shape(inputs[0]).size()) return {};
  if (*exponent == 2) return add(rewriter, Binary{BinaryKind::mul}, {inputs[0], inputs[0]});
  const bool floating = is_floating(rewriter.type(inputs[0]).type);
  if (*exponent == 0.5 && floating) return add(rewriter, Unary{UnaryKind::sqrt}, {inputs[0]});
  return {};
}

// An element-wise operator broadcasts by itself.
Rewritten skip_expansions(Rewriter& rewriter, const Operator& op, Ids inputs) {
  if (!std::holds_alternative<Binary>(op) && !std::holds_alternative<Select>(op)) return {};
  std::vector<ValueId> narrow(inputs.begin(), inputs.end());
  for (ValueId& id : narrow) {
    if (rewriter.producer<Expand>(id) != nullptr) id = rewriter.inputs(id).front();
  }
  if (std::ranges::equal(narrow, inputs)) return {};
  std::vector<TensorType> types;
  std::vector<TensorType> before;
  for (const ValueId id : narrow) types.push_back(rewriter.type(id));
  for (const ValueId id : inputs) before.push_back(rewriter.type(id));
  if (infer_types(op, types).value_or(std::vector<TensorType>{}) !=
      infer_types(op, before).value()) {
    return {};
  }
  return add(rewriter, op, std::move(narrow));
}

constexpr std::array<Rule, 7> kRules{
    &join_reshapes,        &join_transposes, &slice_of_constant_rows, &drop_what_changes_nothing,
    &drop_neutral_numbers, &spell_powers,    &skip_expansions};

}  // namespace

std::span<const Rule> layout_rules() {
  return kRules;
}

}  // namespace takt::graph
