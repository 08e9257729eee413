// SPDX-License-Identifier: Apache-2.0
// Steps that only move elements: Transpose, Reshape, Expand, Slice, Concat, Pad, Gather, GatherElements and
// GatherNd. An index outside of its dimension reads the element at the nearer end, for a kernel can't
// refuse it.
#include "backend/cuda/kernels/index_space.h"
#include "backend/cuda/kernels/movement_kernel.h"
#include "backend/cuda/kernels/movement_step.h"
#include "backend/cuda/kernels/pointwise_expressions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace takt::cuda {
namespace {

using graph::PadMode;
using Strides = std::vector<std::int64_t>;
using Arguments = std::span<const StepTensor>;

// A movement and, behind the tensor that it reads, the others.
struct Move {
  Movement movement;
  StepTensor from;
  std::vector<StepTensor> others;
};
using Moves = Result<std::vector<Move>>;

std::string at_text(const std::string& offset) {
  return fmt::format("  const auto at = {};\n", offset);
}

// The target's place i0, i1, ... comes from begin + i0 * strides[0] + ...; strides may be negative.
Move strided_move(Target target, const StepTensor& from, std::int64_t begin, Strides strides) {
  IndexSpace space{target.shape, {std::move(strides), target.strides}};
  space = compacted(std::move(space));
  target.shape = space.shape;
  target.strides = space.strides[1];
  Movement movement;
  movement.from = from.view->type;
  movement.source = at_text(offset_text(begin, terms_of(space.shape, space.strides[0])));
  const int inner = innermost(target);
  if (inner >= 0 && space.strides[0][static_cast<std::size_t>(inner)] == 1) {
    Neighbours neighbours{space.strides[0], alignment_bytes(*from.view)};
    neighbours.steps[static_cast<std::size_t>(inner)] = 0;
    neighbours.steps.push_back(begin);
    movement.neighbours = std::move(neighbours);
  }
  movement.target = std::move(target);
  return {std::move(movement), from, {}};
}

std::vector<Move> only(Move move) {
  std::vector<Move> moves;
  moves.push_back(std::move(move));
  return moves;
}

Moves moves_of(const graph::Transpose& op, Arguments arguments, const Target& target) {
  const View& view = *arguments[0].view;
  Strides strides;
  for (const int axis : op.permutation) {
    strides.push_back(view.strides[static_cast<std::size_t>(axis)]);
  }
  return only(strided_move(target, arguments[0], 0, std::move(strides)));
}

Moves moves_of(const graph::Expand&, Arguments arguments, const Target& target) {
  const View& view = *arguments[0].view;
  Strides strides(target.shape.size(), 0);
  const std::size_t added = target.shape.size() - view.shape.size();
  for (std::size_t dim = 0; dim < view.shape.size(); ++dim) {
    if (view.shape[dim] != 1) strides[added + dim] = view.strides[dim];
  }
  return only(strided_move(target, arguments[0], 0, std::move(strides)));
}

Moves moves_of(const graph::Slice& op, Arguments arguments, const Target& target) {
  Strides strides = arguments[0].view->strides;
  std::int64_t begin = 0;
  for (std::size_t dim = 0; dim < strides.size(); ++dim) {
    begin += op.starts[dim] * strides[dim];
    strides[dim] *= op.steps[dim];
  }
  return only(strided_move(target, arguments[0], begin, std::move(strides)));
}

// Each input into its slice of the target.
Moves moves_of(const graph::Concat& op, Arguments arguments, const Target& target) {
  const auto axis = static_cast<std::size_t>(op.axis);
  std::vector<Move> moves;
  Target slice = target;
  for (const StepTensor& argument : arguments) {
    slice.shape = argument.view->shape;
    if (product(slice.shape) == 0) continue;
    moves.push_back(strided_move(slice, argument, 0, argument.view->strides));
    slice.begin += slice.shape[axis] * target.strides[axis];
  }
  return moves;
}

bool is_dense(const Shape& shape, const Strides& strides) {
  const Strides dense = dense_strides(shape);
  for (std::size_t dim = 0; dim < shape.size(); ++dim) {
    if (shape[dim] != 1 && strides[dim] != dense[dim]) return false;
  }
  return true;
}

// The element's number, row by row, gives its place in the source.
Move renumbered_move(const Target& target, const StepTensor& from) {
  const View& view = *from.view;
  Movement movement;
  movement.target = target;
  movement.from = view.type;
  const Strides dense = dense_strides(target.shape);
  movement.source =
      fmt::format("    const unsigned row = {};\n", offset_text(0, terms_of(target.shape, dense)));
  std::vector<IndexTerm> terms;
  std::string rest = "row";
  for (std::size_t dim = view.shape.size(); dim-- > 0;) {
    terms.push_back(
        {fmt::format("({} % {}u)", rest, view.shape[dim]), view.shape[dim], view.strides[dim]});
    if (view.shape[dim] != 1) rest = fmt::format("({} / {}u)", rest, view.shape[dim]);
  }
  movement.source += at_text(offset_text(0, terms));
  return {std::move(movement), from, {}};
}

Moves moves_of(const graph::Reshape&, Arguments arguments, const Target& target) {
  const View& view = *arguments[0].view;
  if (view.shape == target.shape) {
    return only(strided_move(target, arguments[0], 0, view.strides));
  }
  if (is_dense(view.shape, view.strides)) {
    return only(strided_move(target, arguments[0], 0, dense_strides(target.shape)));
  }
  return only(renumbered_move(target, arguments[0]));
}

// The place in the source that `j`, counted from its first element, stands for.
std::string padded_index(const std::string& j, std::int64_t size, PadMode mode) {
  switch (mode) {
    case PadMode::edge:
      return fmt::format("min(max({}, 0), {})", j, size - 1);
    case PadMode::wrap:
      return fmt::format("takt::floor_mod({}, {})", j, size);
    case PadMode::reflect:  // infer_types allows no padding that needs to turn twice
      return fmt::format("({0} < 0 ? -{0} : {0} < {1} ? {0} : {2} - ({0} - {2}))", j, size,
                         size - 1);
    case PadMode::constant:
      break;
  }
  return j;
}

Moves moves_of(const graph::Pad& op, Arguments arguments, const Target& target) {
  const View& view = *arguments[0].view;
  Movement movement;
  movement.target = target;
  movement.from = view.type;
  movement.fill = constant_element(target.type, op.value);
  std::vector<IndexTerm> terms = terms_of(view.shape, view.strides);
  const auto is_padded = [&op](std::size_t dim) { return op.begins[dim] + op.ends[dim] > 0; };
  for (std::size_t dim = 0; dim < view.shape.size(); ++dim) {
    if (!is_padded(dim)) continue;
    const std::int64_t size = view.shape[dim];
    movement.source += fmt::format("    const int j{0} = i{0} - {1};\n", dim, op.begins[dim]);
    const std::string j = fmt::format("j{}", dim);
    terms[dim].index = padded_index(j, size, op.mode);
    if (op.mode != PadMode::constant) continue;
    // Negative ones are beyond the end as unsigned numbers.
    movement.inside += fmt::format("{}static_cast<unsigned>({}) < {}u",
                                   movement.inside.empty() ? "" : " && ", j, size);
  }
  movement.source += at_text(offset_text(0, terms));
  const int inner = innermost(target);
  const auto along = static_cast<std::size_t>(std::max(inner, 0));
  if (inner >= 0 && !is_padded(along) && view.strides[along] == 1) {
    // Padding counts in whole strides, so that the strides are all that offsets are made of.
    Neighbours neighbours{{}, alignment_bytes(view)};
    for (std::size_t dim = 0; dim < view.shape.size(); ++dim) {
      if (dim != along && view.shape[dim] != 1) neighbours.steps.push_back(view.strides[dim]);
    }
    movement.neighbours = std::move(neighbours);
  }
  return only({std::move(movement), arguments[0], {}});
}

// Declares `name` as the index read at `offset`: from the end where it is negative, and at the nearer end where
// it is outside.
std::string read_index(const std::string& name, const std::string& offset, std::int64_t size) {
  return fmt::format(
      "    long long {0} = indices[{1}];\n    {0} = {0} < 0 ? {0} + {2}ll : {0};\n"
      "    {0} = {0} < 0 ? 0 : {0} < {2}ll ? {0} : {3}ll;\n",
      name, offset, size, size - 1);
}

Result<Move> gathering(Arguments arguments, const Target& target) {
  const View& data = *arguments[0].view;
  if (product(data.shape) == 0) {
    return fail(ErrorKind::invalid_input,
                fmt::format("{} {} has no element that an index could name",
                            takt::to_string(data.type), takt::to_string(data.shape)));
  }
  Movement movement;
  movement.target = target;
  movement.from = data.type;
  movement.parameters.push_back(
      fmt::format("const {}* indices", stored_type(arguments[1].view->type)));
  return Move{std::move(movement), arguments[0], {arguments[1]}};
}

// `terms` are the data's dimensions, of which those with the index i<number> are the target's.
void finish_gathering(Move& move, std::vector<IndexTerm> terms) {
  Movement& movement = move.movement;
  movement.source += at_text(offset_text(0, terms));
  const std::string inner = fmt::format("i{}", innermost(movement.target));
  Neighbours neighbours{{}, alignment_bytes(*move.from.view)};
  bool along = false;
  for (const IndexTerm& term : terms) {
    if (term.index == inner && term.stride == 1) {
      along = true;
    } else if (term.size != 1) {
      neighbours.steps.push_back(term.stride);
    }
  }
  if (along) movement.neighbours = std::move(neighbours);
}

Moves moves_of(const graph::Gather& op, Arguments arguments, const Target& target) {
  Result<Move> move = gathering(arguments, target);
  if (!move) return std::unexpected(std::move(move).error());
  const View& data = *arguments[0].view;
  const View& indices = *arguments[1].view;
  const auto axis = static_cast<std::size_t>(op.axis);
  std::vector<IndexTerm> places = terms_of(indices.shape, indices.strides);
  for (std::size_t dim = 0; dim < places.size(); ++dim) {
    places[dim].index = fmt::format("i{}", axis + dim);
  }
  move->movement.source = read_index("index", offset_text(0, places), data.shape[axis]);
  std::vector<IndexTerm> terms = terms_of(data.shape, data.strides);
  terms[axis].index = "index";
  for (std::size_t dim = axis + 1; dim < terms.size(); ++dim) {
    terms[dim].index = fmt::format("i{}", dim + places.size() - 1);
  }
  finish_gathering(*move, std::move(terms));
  return only(*std::move(move));
}

Moves moves_of(const graph::GatherElements& op, Arguments arguments, const Target& target) {
  Result<Move> move = gathering(arguments, target);
  if (!move) return std::unexpected(std::move(move).error());
  const View& data = *arguments[0].view;
  const View& indices = *arguments[1].view;
  const auto axis = static_cast<std::size_t>(op.axis);
  move->movement.source = read_index(
      "index", offset_text(0, terms_of(indices.shape, indices.strides)), data.shape[axis]);
  std::vector<IndexTerm> terms = terms_of(data.shape, data.strides);
  terms[axis].index = "index";
  move->movement.source += at_text(offset_text(0, terms));
  return only(*std::move(move));
}

Moves moves_of(const graph::GatherNd& op, Arguments arguments, const Target& target) {
  Result<Move> move = gathering(arguments, target);
  if (!move) return std::unexpected(std::move(move).error());
  const View& data = *arguments[0].view;
  const View& indices = *arguments[1].view;
  const auto batch = static_cast<std::size_t>(op.batch_dims);
  const std::size_t rows = indices.shape.size() - 1;  // dimensions of the target that name a row
  const auto depth = static_cast<std::size_t>(indices.shape.back());
  std::vector<IndexTerm> terms = terms_of(data.shape, data.strides);
  std::vector<IndexTerm> places = terms_of(indices.shape, indices.strides);
  places.pop_back();
  for (std::size_t i = 0; i < depth; ++i) {
    const std::size_t dim = batch + i;
    terms[dim].index = fmt::format("index{}", i);
    const std::int64_t begin = static_cast<std::int64_t>(i) * indices.strides.back();
    move->movement.source +=
        read_index(terms[dim].index, offset_text(begin, places), data.shape[dim]);
  }
  for (std::size_t dim = batch + depth; dim < terms.size(); ++dim) {
    terms[dim].index = fmt::format("i{}", rows + dim - batch - depth);
  }
  finish_gathering(*move, std::move(terms));
  return only(*std::move(move));
}

Moves all_moves(const graph::Operator& op, Arguments arguments, const Target& target) {
  return std::visit(
      [&](const auto& kind) -> Moves {
        if constexpr (requires { moves_of(kind, arguments, target); }) {
          return moves_of(kind, arguments, target);
        } else {
          return fail(ErrorKind::invalid_input,
                      fmt::format("{} moves no elements", graph::describe(op)));
        }
      },
      op);
}

}  // namespace

Result<StepCode> movement_code(const Step& step, const std::string& name) {
  const Result<CheckedStep> checked = checked_step(step);
  if (!checked) return std::unexpected(checked.error());
  StepCode code;
  for (const StepResult& output : checked->outputs) {
    if (product(output.tensor.view->shape) == 0) continue;
    const Moves moves = all_moves(*checked->op, checked->arguments, target_of(*output.tensor.view));
    if (!moves) return std::unexpected(moves.error());
    for (const Move& move : *moves) {
      std::vector<Operand> operands{move.from.operand};
      for (const StepTensor& other : move.others) operands.push_back(other.operand);
      operands.push_back(output.tensor.operand);
      const std::string kernel =
          code.calls.empty() ? name : fmt::format("{}_{}", name, code.calls.size());
      code.calls.push_back({movement_kernel(move.movement, kernel), std::move(operands)});
    }
  }
  return code;
}

}  // namespace takt::cuda
