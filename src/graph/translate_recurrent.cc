// SPDX-License-Identifier: Apache-2.0
// RNN, GRU and LSTM, written out step by step: the products of all inputs are one, those of the states one a step.
#include "graph/composition.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

namespace takt::graph {

using takt::to_string;  // of shapes

namespace {

// Each step becomes nodes of its own, and lowering takes time with their square.
constexpr std::int64_t kStepsMax = 256;

struct Sizes {
  std::int64_t steps = 0, batch = 0, inputs = 0, hidden = 0, gates = 0;
  std::int64_t directions = 0;
  bool batch_first = false;  // layout 1
};

Result<void> check_shape(const NodeReader& node, std::size_t index, const Shape& expected) {
  if (!node.has_input(index) || node.shape(index) == expected) return {};
  return NodeReader::refuse(fmt::format("its input {} is {}; expected {}", index,
                                        to_string(node.type(index)), to_string(expected)));
}

// What a layer is, beside its weights.
struct Kind {
  std::int64_t gates;
  std::vector<std::string> activations;  // the usual ones
  std::size_t inputs_max;
  bool has_cell;
};

// What would change the arithmetic.
Result<void> check_attributes(const NodeReader& node, const Kind& kind) {
  const std::vector<std::string> activations = node.texts("activations");
  for (std::size_t i = 0; i < activations.size(); ++i) {
    if (activations[i] == kind.activations[i % kind.activations.size()]) continue;
    return NodeReader::refuse(fmt::format("the activation '{}'; expected {}; {}", activations[i],
                                          fmt::join(kind.activations, ", "), kOpenvinoAdvice));
  }
  if (!node.has("clip") && node.integer("input_forget", 0) == 0) return {};
  return NodeReader::refuse(fmt::format("attribute 'clip' or 'input_forget'; {}", kOpenvinoAdvice));
}

// sequence_lens, which may only say that every sequence is whole.
Result<void> check_lengths(const NodeReader& node, std::int64_t steps) {
  constexpr std::size_t lengths_input = 4;
  if (!node.has_input(lengths_input)) return {};
  const Result<std::vector<std::int64_t>> lengths = node.integers_of(lengths_input);
  if (!lengths) return std::unexpected(lengths.error());
  const auto is_whole = [steps](std::int64_t length) { return length == steps; };
  if (std::ranges::all_of(*lengths, is_whole)) return {};
  return NodeReader::refuse(
      fmt::format("sequences of other lengths than {}; {}", steps, kOpenvinoAdvice));
}

Result<std::int64_t> directions_of(const NodeReader& node) {
  const std::string direction = node.text("direction", "forward");
  if (direction == "forward" || direction == "reverse") return 1;
  if (direction == "bidirectional") return 2;
  return NodeReader::refuse(fmt::format(
      "attribute 'direction' is '{}'; expected forward, reverse or bidirectional", direction));
}

// Of X [steps,batch,inputs], W [directions,gates * hidden,inputs] and R [directions,gates * hidden,hidden].
Result<Sizes> sizes_of(const NodeReader& node, const Kind& kind) {
  if (auto checked = check_attributes(node, kind); !checked)
    return std::unexpected(checked.error());
  const Result<std::int64_t> directions = directions_of(node);
  if (!directions) return std::unexpected(directions.error());
  if (node.rank(0) != 3 || node.rank(2) != 3) {
    return NodeReader::refuse(fmt::format("X {} and R {}; expected three dimensions each",
                                          to_string(node.type(0)), to_string(node.type(2))));
  }
  const Shape& x = node.shape(0);
  const bool batch_first = node.integer("layout", 0) != 0;
  const Sizes sizes{x[batch_first ? 1 : 0],
                    x[batch_first ? 0 : 1],
                    x[2],
                    node.shape(2)[2],
                    kind.gates,
                    *directions,
                    batch_first};
  if (sizes.steps < 1 || sizes.steps > kStepsMax) {
    return NodeReader::refuse(fmt::format("{} steps; 1 to {} are supported; {}", sizes.steps,
                                          kStepsMax, kOpenvinoAdvice));
  }
  const std::int64_t rows = kind.gates * sizes.hidden;
  const Shape state = batch_first ? Shape{sizes.batch, *directions, sizes.hidden}
                                  : Shape{*directions, sizes.batch, sizes.hidden};
  const std::vector<std::pair<std::size_t, Shape>> expected{{1, {*directions, rows, sizes.inputs}},
                                                            {2, {*directions, rows, sizes.hidden}},
                                                            {3, {*directions, 2 * rows}},
                                                            {5, state},
                                                            {6, state},
                                                            {7, {*directions, 3 * sizes.hidden}}};
  for (const auto& [index, shape] : expected) {
    if (auto checked = check_shape(node, index, shape); !checked)
      return std::unexpected(checked.error());
  }
  if (auto checked = check_lengths(node, sizes.steps); !checked)
    return std::unexpected(checked.error());
  return sizes;
}

struct State {
  ValueId hidden;
  std::optional<ValueId> cell;  // of LSTM
};

// One direction of a layer.
class Direction {
 public:
  Direction(const NodeReader& node, Composition& made, const Sizes& sizes, std::int64_t index)
      : node_(node), made_(made), sizes_(sizes), index_(index) {
    const std::int64_t rows = sizes.gates * sizes.hidden;
    const ValueId x = made.transpose(
        node.input(0), sizes.batch_first ? std::vector{1, 0, 2} : std::vector{0, 1, 2});
    projected_ = made.add(
        MatMul{false, true},
        {made.reshape(x, {sizes.steps * sizes.batch, sizes.inputs}), own(1, {rows, sizes.inputs})});
    weights_ = own(2, {rows, sizes.hidden});
    if (!node.has_input(3)) return;
    const ValueId biases = own(3, {2 * rows});
    projected_ = made.binary(BinaryKind::add, projected_, made.slice(biases, 0, 0, rows));
    biases_ = made.slice(biases, 0, rows, rows);
  }

  // Gates `first` to `first` + `count` of [batch,gates * hidden].
  ValueId gates(ValueId x, std::int64_t first, std::int64_t count = 1) {
    return made_.slice(x, 1, first * sizes_.hidden, count * sizes_.hidden);
  }
  // What the input of `step` gives to all gates.
  ValueId input(std::int64_t step) {
    return made_.slice(projected_, 0, step * sizes_.batch, sizes_.batch);
  }
  // What a state gives to gates `first` to `first` + `count`.
  ValueId recurrent(ValueId state, std::int64_t first, std::int64_t count) {
    const auto [found, is_new] = groups_.try_emplace(first);
    Group& group = found->second;
    if (is_new) {
      const std::int64_t start = first * sizes_.hidden;
      const std::int64_t size = count * sizes_.hidden;
      group.weights = made_.slice(weights_, 0, start, size);
      if (biases_) group.biases = made_.slice(*biases_, 0, start, size);
    }
    const ValueId y = made_.add(MatMul{false, true}, {state, group.weights});
    return group.biases ? made_.binary(BinaryKind::add, y, *group.biases) : y;
  }
  // This direction's part of an input that has one for each; initial states may stand behind the batch.
  ValueId own(std::size_t input, Shape shape, std::size_t axis = 0) {
    return made_.reshape(made_.slice(node_.input(input), axis, index_, 1), std::move(shape));
  }
  // The state before the first step: input `index`, or zeros.
  ValueId initial(std::size_t index) {
    const Shape shape{sizes_.batch, sizes_.hidden};
    if (node_.has_input(index)) return own(index, shape, sizes_.batch_first ? 1 : 0);
    return made_.constant(node_.type(0).type, shape, std::vector{0.0});
  }
  Composition& made() noexcept { return made_; }
  [[nodiscard]] const Sizes& sizes() const noexcept { return sizes_; }

 private:
  struct Group {
    ValueId weights{};
    std::optional<ValueId> biases;
  };

  const NodeReader& node_;
  Composition& made_;
  const Sizes& sizes_;
  std::int64_t index_;
  ValueId projected_{}, weights_{};
  std::optional<ValueId> biases_;
  std::map<std::int64_t, Group> groups_;  // by the first gate; cut once, not at each step
};

// The state after a step of a layer, from what the step's input gives to the gates.
using Step = State (*)(const NodeReader& node, Direction& layer, ValueId input,
                       const State& before);

State rnn_step(const NodeReader& /*node*/, Direction& layer, ValueId input, const State& before) {
  Composition& made = layer.made();
  const ValueId sum = made.binary(BinaryKind::add, input, layer.recurrent(before.hidden, 0, 1));
  return {made.unary(UnaryKind::tanh, sum), {}};
}

// Gates: update, reset, candidate. linear_before_reset says whether the reset gate comes behind the product.
State gru_step(const NodeReader& node, Direction& layer, ValueId input, const State& before) {
  Composition& made = layer.made();
  const ValueId h = before.hidden;
  const ValueId sums =
      made.binary(BinaryKind::add, layer.gates(input, 0, 2), layer.recurrent(h, 0, 2));
  const ValueId update = made.unary(UnaryKind::sigmoid, layer.gates(sums, 0));
  const ValueId reset = made.unary(UnaryKind::sigmoid, layer.gates(sums, 1));
  const ValueId past = node.integer("linear_before_reset", 0) != 0
                           ? made.binary(BinaryKind::mul, reset, layer.recurrent(h, 2, 1))
                           : layer.recurrent(made.binary(BinaryKind::mul, reset, h), 2, 1);
  const ValueId candidate =
      made.unary(UnaryKind::tanh, made.binary(BinaryKind::add, layer.gates(input, 2), past));
  const ValueId kept =
      made.binary(BinaryKind::mul, update, made.binary(BinaryKind::sub, h, candidate));
  return {made.binary(BinaryKind::add, candidate, kept), {}};
}

// Gates: input, output, forget, cell. Peepholes, of the first three, let them see the cell.
State lstm_step(const NodeReader& node, Direction& layer, ValueId input, const State& before) {
  constexpr std::size_t peepholes = 7;
  Composition& made = layer.made();
  const std::int64_t hidden = layer.sizes().hidden;
  const ValueId sums = made.binary(BinaryKind::add, input, layer.recurrent(before.hidden, 0, 4));
  const auto gate = [&](std::int64_t index, ValueId cell) {
    ValueId sum = layer.gates(sums, index);
    if (node.has_input(peepholes)) {
      const ValueId weights =
          made.slice(layer.own(peepholes, {3 * hidden}), 0, index * hidden, hidden);
      sum = made.binary(BinaryKind::add, sum, made.binary(BinaryKind::mul, weights, cell));
    }
    return made.unary(UnaryKind::sigmoid, sum);
  };
  const ValueId fresh = made.unary(UnaryKind::tanh, layer.gates(sums, 3));
  const ValueId kept = made.binary(BinaryKind::mul, gate(2, *before.cell), *before.cell);
  const ValueId added = made.binary(BinaryKind::mul, gate(0, *before.cell), fresh);
  const ValueId cell = made.binary(BinaryKind::add, kept, added);
  return {made.binary(BinaryKind::mul, gate(1, cell), made.unary(UnaryKind::tanh, cell)), cell};
}

ValueId joined(Composition& made, int axis, std::vector<ValueId> parts) {
  return parts.size() == 1 ? parts.front() : made.add(Concat{axis}, std::move(parts));
}

// What one direction gives: hidden states [steps,1,batch,hidden] in the inputs' order, and the last state.
struct Pass {
  ValueId all;
  State last;
};

Pass run(const NodeReader& node, Direction& layer, bool backward, Step step, bool has_cell) {
  const Sizes& sizes = layer.sizes();
  State state{layer.initial(5), {}};
  if (has_cell) state.cell = layer.initial(6);
  std::vector<ValueId> states(static_cast<std::size_t>(sizes.steps), state.hidden);
  for (std::int64_t i = 0; i < sizes.steps; ++i) {
    const std::int64_t place = backward ? sizes.steps - 1 - i : i;
    state = step(node, layer, layer.input(place), state);
    states[static_cast<std::size_t>(place)] =
        layer.made().reshape(state.hidden, {1, 1, sizes.batch, sizes.hidden});
  }
  return {joined(layer.made(), 0, std::move(states)), state};
}

Values translate_recurrent(const NodeReader& node, const Kind& kind, Step step) {
  if (auto checked = node.check_inputs(3, kind.inputs_max); !checked) {
    return std::unexpected(checked.error());
  }
  const Result<Sizes> sizes = sizes_of(node, kind);
  if (!sizes) return std::unexpected(sizes.error());
  Composition made(node.builder());
  std::vector<ValueId> all, hidden, cells;
  for (std::int64_t i = 0; i < sizes->directions && !made.failed(); ++i) {
    Direction layer(node, made, *sizes, i);
    const bool backward = i == 1 || node.text("direction", "forward") == "reverse";
    const Pass pass = run(node, layer, backward, step, kind.has_cell);
    const Shape last{1, sizes->batch, sizes->hidden};
    all.push_back(pass.all);
    hidden.push_back(made.reshape(pass.last.hidden, last));
    if (kind.has_cell) cells.push_back(made.reshape(*pass.last.cell, last));
  }
  if (made.failed()) return made.finish({});
  // The batch stands first with layout 1: [batch,steps,directions,hidden], [batch,directions,hidden].
  const auto arranged = [&](ValueId x, std::vector<int> permutation) {
    return sizes->batch_first ? made.transpose(x, std::move(permutation)) : x;
  };
  std::vector<ValueId> outputs{arranged(joined(made, 1, std::move(all)), {2, 0, 1, 3}),
                               arranged(joined(made, 0, std::move(hidden)), {1, 0, 2})};
  if (kind.has_cell) outputs.push_back(arranged(joined(made, 0, std::move(cells)), {1, 0, 2}));
  return made.finish(std::move(outputs));
}

}  // namespace

Values translate_rnn(const NodeReader& node) {
  return translate_recurrent(node, {1, {"Tanh"}, 6, false}, rnn_step);
}

Values translate_gru(const NodeReader& node) {
  return translate_recurrent(node, {3, {"Sigmoid", "Tanh"}, 6, false}, gru_step);
}

Values translate_lstm(const NodeReader& node) {
  return translate_recurrent(node, {4, {"Sigmoid", "Tanh", "Tanh"}, 8, true}, lstm_step);
}

}  // namespace takt::graph
