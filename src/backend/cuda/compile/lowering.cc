// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/lowering.h"

#include "backend/cuda/compile/arena_plan.h"
#include "backend/cuda/compile/attention.h"
#include "backend/cuda/compile/fusion.h"
#include "backend/cuda/compile/lowering_state.h"
#include "backend/cuda/compile/pixel_blocks.h"
#include "backend/cuda/compile/views.h"
#include "graph/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <variant>

namespace takt::cuda {
namespace {

using graph::Graph;
using graph::Node;
using graph::ValueId;

// Emits the steps of one graph, group after group.
class Lowering {
 public:
  Lowering(const Graph& graph, const LoweringOptions& options)
      : graph_(graph),
        groups_(fuse(graph, product_type(options.precision), options.capability)),
        steps_kept_(options.steps_kept),
        state_(graph, groups_, options) {}

  Result<Program> run() {
    for (const Group& group : groups_) {
      const Node& node = graph_.nodes[group.nodes.back()];
      if (Result<void> emitted = emit(group, node); !emitted) {
        return std::unexpected(std::move(emitted).error().within(node.name));
      }
    }
    for (std::size_t i = 0; i < graph_.outputs.size(); ++i) finish_output(i);
    Program program = std::move(state_).program();
    program.steps = std::move(steps_);
    plan_buffers(program, steps_kept_);
    return program;
  }

 private:
  Result<void> emit(const Group& group, const Node& node) {
    if (std::holds_alternative<graph::Quantize>(node.op) ||
        std::holds_alternative<graph::Dequantize>(node.op)) {
      return fail(ErrorKind::invalid_input,
                  "the cuda backend doesn't run quantised models yet; run the model before "
                  "quantisation, or on the openvino backend (backends: [cuda, openvino])");
    }
    if (group.kind == StepKind::pointwise) return emit_pointwise(group, node);
    if (group.kind == StepKind::contraction) return emit_contraction(group, node);
    if (group.kind == StepKind::attention) return emit_attention(group, node);
    if (group.nodes.size() > 1) return emit_softmax_mean(group);
    if (std::holds_alternative<graph::Concat>(node.op)) return emit_concat(node);
    if (emit_view(node)) return {};
    return emit_single(node);
  }

  // Reshape, Transpose, Slice and Expand without a step.
  bool emit_view(const Node& node) {
    const ValueId input = node.inputs.front();
    const ValueId output = node.outputs.front();
    std::optional<View> view;
    if (const auto* const reshape = std::get_if<graph::Reshape>(&node.op)) {
      view = reshaped(state_.read(input), reshape->shape);
      if (!view) view = reshaped(copied(input, node.name), reshape->shape);
    } else if (const auto* const transpose = std::get_if<graph::Transpose>(&node.op)) {
      view = transposed(state_.read(input), transpose->permutation);
    } else if (const auto* const slice = std::get_if<graph::Slice>(&node.op)) {
      view = sliced(state_.read(input), *slice);
    } else if (const auto* const expand = std::get_if<graph::Expand>(&node.op)) {
      view = broadcast(state_.read(input), expand->shape);
    }
    if (view) state_.settle(output, *view);
    return view.has_value();
  }

  // The value row by row.
  View copied(ValueId id, const std::string& name) {
    const View from = state_.read(id);
    View to = state_.allocate(from.type, from.shape, row_order(from.shape.size()));
    add_copy(name, from, to);
    return to;
  }

  void add_copy(const std::string& name, const View& from, const View& to) {
    add_step({name, StepKind::pointwise, {from}, {}, {{0, to}}});
  }

  void add_step(Step step) {
    const bool empty = std::ranges::all_of(step.outputs, [](const StepOutput& output) {
      return std::ranges::find(output.view.shape, 0) != output.view.shape.end();
    });
    if (!empty) steps_.push_back(std::move(step));
  }

  Result<void> emit_concat(const Node& node) {
    const ValueId output = node.outputs.front();
    for (const ConcatOperand& operand : state_.concat_operands(output)) {
      if (operand.in_place) continue;
      const View from = state_.read(operand.value);
      add_copy(node.name, from, operand.part);
    }
    state_.settle(output, state_.destination(output));
    return {};
  }

  // The operators of a group on the step's inputs, which are added as they are met.
  Result<void> emit_pointwise(const Group& group, const Node& node) {
    const ValueId output = node.outputs.front();
    const Shape& space = graph_.value(output).type.shape;
    Step step{node.name, StepKind::pointwise, {}, {}, {}};
    std::vector<std::pair<ValueId, int>> inputs;
    std::vector<ValueId> computed;  // by the ops
    const auto is_computed = [&](ValueId id) {
      return std::ranges::any_of(
          group.nodes, [&](std::size_t n) { return graph_.nodes[n].outputs.front() == id; });
    };
    for (const std::size_t n : group.nodes) {
      for (const ValueId id : graph_.nodes[n].inputs) {
        const bool known =
            std::ranges::any_of(inputs, [&](const auto& p) { return p.first == id; });
        if (known || is_computed(id)) continue;
        inputs.emplace_back(id, static_cast<int>(inputs.size()));
        step.inputs.push_back(broadcast(state_.read(id), space));
      }
    }
    std::vector<std::pair<ValueId, int>> values = inputs;
    for (const std::size_t n : group.nodes) {
      const Node& member = graph_.nodes[n];
      StepOp op{member.op, {}, {graph_.value(member.outputs.front()).type}};
      for (const ValueId id : member.inputs) {
        op.arguments.push_back(
            std::ranges::find(values, id, &std::pair<ValueId, int>::first)->second);
      }
      values.emplace_back(member.outputs.front(), static_cast<int>(values.size()));
      step.ops.push_back(std::move(op));
    }
    step.outputs.push_back({values.back().second, state_.destination(output)});
    state_.settle(output, step.outputs.back().view);
    add_step(std::move(step));
    return {};
  }

  Result<void> emit_single(const Node& node) {
    const bool product = std::holds_alternative<graph::Conv>(node.op) ||
                         std::holds_alternative<graph::ConvTranspose>(node.op) ||
                         std::holds_alternative<graph::MatMul>(node.op);
    if (reads_nothing(node)) return emit_result(node);
    if (product) return emit_contraction({StepKind::single, {}}, node);
    Step step{node.name, StepKind::single, {}, {}, {}};
    StepOp op{node.op, {}, {}};
    for (const ValueId id : node.inputs) {
      op.arguments.push_back(static_cast<int>(step.inputs.size()));
      step.inputs.push_back(state_.read(id));
    }
    for (const ValueId id : node.outputs) {
      op.results.push_back(graph_.value(id).type);
      const int value = static_cast<int>(step.inputs.size() + step.outputs.size());
      step.outputs.push_back({value, state_.destination(id)});
      state_.settle(id, step.outputs.back().view);
    }
    step.ops.push_back(std::move(op));
    add_step(std::move(step));
    return {};
  }

  // Of what a node needs nothing has an element, but what it computes does: the sum of no numbers is 0.
  [[nodiscard]] bool reads_nothing(const Node& node) const {
    const auto is_empty = [&](ValueId id) {
      const Shape& shape = graph_.value(id).type.shape;
      return std::ranges::find(shape, 0) != shape.end();
    };
    return std::ranges::all_of(node.inputs, is_empty) &&
           !std::ranges::any_of(node.outputs, is_empty);
  }

  // The result is known now.
  Result<void> emit_result(const Node& node) {
    std::vector<graph::Constant> inputs;
    inputs.reserve(node.inputs.size());
    for (const ValueId id : node.inputs) inputs.push_back({graph_.value(id).type, {}});
    std::vector<const graph::Constant*> arguments;
    arguments.reserve(inputs.size());
    for (const graph::Constant& input : inputs) arguments.push_back(&input);
    Result<std::vector<graph::Constant>> results = graph::evaluate(node.op, arguments);
    if (!results) return std::unexpected(std::move(results).error());
    for (std::size_t i = 0; i < results->size(); ++i) {
      const ValueId id = node.outputs[i];
      const View from =
          state_.add_constant(std::make_shared<const graph::Constant>(std::move((*results)[i])));
      const View to = state_.destination(id);
      add_copy(node.name, from, to);
      state_.settle(id, to);
    }
    return {};
  }

  Result<void> emit_softmax_mean(const Group& group) {
    const Node& softmax = graph_.nodes[group.nodes.front()];
    const Node& mean = graph_.nodes[group.nodes.back()];
    const ValueId output = mean.outputs.front();
    Step step{mean.name, StepKind::single, {}, {}, {}};
    step.inputs = {state_.read(softmax.inputs.front()), state_.read(mean.inputs[1])};
    step.ops.push_back({softmax.op, {0}, {graph_.value(softmax.outputs.front()).type}});
    step.ops.push_back({mean.op, {2, 1}, {graph_.value(output).type}});
    step.outputs.push_back({3, state_.destination(output)});
    state_.settle(output, step.outputs.back().view);
    add_step(std::move(step));
    return {};
  }

  // A group of kind single is a product of few numbers, computed in the graph's types.
  Result<void> emit_contraction(const Group& group, const Node& last) {
    const bool tuned = group.kind == StepKind::contraction;
    const Node& first = tuned ? graph_.nodes[group.nodes.front()] : last;
    const ValueId output = last.outputs.front();
    Contraction contraction{
        .step = {last.name, StepKind::contraction, {}, {}, {}}, .result = {}, .channels = 0};
    if (std::holds_alternative<graph::MatMul>(first.op)) {
      set_product(contraction, first, output, tuned);
    } else {
      set_convolution(contraction, group, first, output, tuned);
    }
    if (tuned) add_epilogue(contraction, group);
    Step& step = contraction.step;
    const int value = static_cast<int>(step.inputs.size() + step.ops.size()) - 1;
    step.outputs.push_back({value, contraction.result});
    matrix_form(step);
    add_step(std::move(step));
    return {};
  }

  struct Contraction {
    Step step;
    View result;                // where the step writes
    std::int64_t channels = 0;  // of a convolution's result with those that fill it up
  };

  // Views have the product's leading dimensions, and no operand is transposed.
  void set_product(Contraction& contraction, const Node& node, ValueId output, bool tuned) {
    const auto& product = std::get<graph::MatMul>(node.op);
    const Shape& shape = graph_.value(output).type.shape;
    const auto operand = [&](ValueId id, bool transpose, std::size_t kept) {
      View view = tuned ? product_operand(id) : state_.read(id);
      if (transpose) {
        std::swap(view.shape[view.shape.size() - 1], view.shape[view.shape.size() - 2]);
        std::swap(view.strides[view.shape.size() - 1], view.strides[view.shape.size() - 2]);
      }
      Shape full(shape.begin(), shape.end() - 2);
      full.insert(full.end(), view.shape.end() - static_cast<std::ptrdiff_t>(kept),
                  view.shape.end());
      return broadcast(view, full);
    };
    contraction.step.inputs = {operand(node.inputs[0], product.transpose_a, 2),
                               operand(node.inputs[1], product.transpose_b, 2)};
    contraction.result = state_.destination(output);
    contraction.step.ops.push_back(
        {graph::MatMul{}, {0, 1}, {graph_.value(node.outputs.front()).type}});
    state_.settle(output, contraction.result);
  }

  // Everything in the leading dimensions of the scores, which cut those of the graph.
  Result<void> emit_attention(const Group& group, const Node& last) {
    const std::optional<Attention> attention = attention_of(graph_, group.nodes);
    if (!attention) return fail(ErrorKind::internal, "a group that isn't attention");
    const ValueId output = last.outputs.front();
    const View result = state_.destination(output);
    state_.settle(output, result);
    Step step{last.name, StepKind::attention, {}, {}, {}};
    step.inputs = {attention_matrix(attention->query, attention->product, attention->scores),
                   attention_matrix(attention->key, attention->product, attention->scores),
                   attention_matrix(attention->value, attention->weights, attention->scores)};
    if (attention->factor) step.inputs.push_back(attention_term(*attention->factor, *attention));
    for (const AttentionTerm& bias : attention->biases) {
      step.inputs.push_back(attention_term(bias, *attention));
    }
    add_attention_ops(step, *attention);
    const View rows = attention->result_transposed ? last_two_swapped(result) : result;
    step.outputs.push_back({static_cast<int>(step.inputs.size() + step.ops.size()) - 1,
                            with_leading_of(attention->scores, rows)});
    step.ops.back().results.front().shape = step.outputs.back().view.shape;
    add_step(std::move(step));
    return {};
  }

  static View last_two_swapped(View view) {
    std::swap(view.shape.end()[-1], view.shape.end()[-2]);
    std::swap(view.strides.end()[-1], view.strides.end()[-2]);
    return view;
  }

  // Cutting dimensions is always a matter of strides.
  static View with_leading_of(const Shape& scores, const View& matrices) {
    Shape shape(scores.begin(), scores.end() - 2);
    shape.insert(shape.end(), matrices.shape.end() - 2, matrices.shape.end());
    return reshaped(matrices, shape).value();
  }

  // `product` has the leading dimensions that the graph multiplies in.
  View attention_matrix(const AttentionMatrix& matrix, const Shape& product, const Shape& scores) {
    View view = product_operand(matrix.value);
    if (matrix.transposed) view = last_two_swapped(std::move(view));
    Shape full(product.begin(), product.end() - 2);
    full.insert(full.end(), view.shape.end() - 2, view.shape.end());
    return with_leading_of(scores, broadcast(view, full));
  }

  View attention_term(const AttentionTerm& term, const Attention& attention) {
    return with_leading_of(attention.scores, broadcast(state_.read(term.value), term.scores));
  }

  void add_attention_ops(Step& step, const Attention& attention) const {
    const DataType type =
        graph_.value(graph_.nodes[attention.nodes.front()].outputs.front()).type.type;
    const auto inputs = static_cast<int>(step.inputs.size());
    const auto add = [&](graph::Operator op, std::vector<int> arguments) {
      step.ops.push_back({std::move(op), std::move(arguments), {{type, attention.scores}}});
    };
    const auto before = [&] { return inputs + static_cast<int>(step.ops.size()) - 1; };
    add(graph::MatMul{}, {0, 1});
    int next = 3;
    if (attention.factor) {
      const auto kind = attention.divides ? graph::BinaryKind::div : graph::BinaryKind::mul;
      add(graph::Binary{kind}, {before(), next++});
    }
    for (std::size_t i = 0; i < attention.biases.size(); ++i) {
      add(graph::Binary{graph::BinaryKind::add}, {before(), next++});
    }
    add(graph::Softmax{static_cast<int>(attention.scores.size()) - 1, false}, {before()});
    add(graph::MatMul{}, {before(), 2});
  }

  View product_operand(ValueId id) {
    if (graph_.value(id).constant != nullptr) {
      const Shape& shape = graph_.value(id).type.shape;
      return state_.constant(id, state_.product_type(), shape, row_order(shape.size()));
    }
    View view = state_.read(id);
    const std::size_t rank = view.shape.size();
    const bool has_unit = view.strides[rank - 1] == 1 || view.strides[rank - 2] == 1 ||
                          view.shape[rank - 1] == 1 || view.shape[rank - 2] == 1;
    if (view.type == state_.product_type() && has_unit) return view;
    return state_.converted(id, row_order(rank), [&](const View& from, const View& to) {
      add_copy(state_.name_of(id), from, to);
    });
  }

  // A product whose second operand is the same for all leading dimensions is one of two matrices.
  static void matrix_form(Step& step) {
    if (!std::holds_alternative<graph::MatMul>(step.ops.front().op)) return;
    View& result = step.outputs.front().view;
    const std::size_t rank = result.shape.size();
    if (rank <= 2) return;
    const View& b = step.inputs[1];
    for (std::size_t i = 0; i + 2 < rank; ++i) {
      if (b.strides[i] != 0 && b.shape[i] != 1) return;
    }
    std::int64_t rows = 1;
    for (std::size_t i = 0; i + 1 < rank; ++i) rows *= result.shape[i];
    const auto flat = [&](const View& view) { return reshaped(view, {rows, view.shape.back()}); };
    std::vector<View> inputs = step.inputs;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      std::optional<View> view;
      if (i == 1) {
        view = b;
        view->shape = {b.shape[rank - 2], b.shape[rank - 1]};
        view->strides = {b.strides[rank - 2], b.strides[rank - 1]};
      } else {
        view = flat(inputs[i]);
      }
      if (!view) return;
      inputs[i] = *std::move(view);
    }
    const std::optional<View> out = flat(result);
    if (!out) return;
    step.inputs = std::move(inputs);
    result = *out;
    for (StepOp& op : step.ops) op.results.front().shape = out->shape;
  }

  void set_convolution(Contraction& contraction, const Group& group, const Node& node,
                       ValueId output, bool tuned) {
    const auto* const conv = std::get_if<graph::Conv>(&node.op);
    const std::int64_t groups =
        conv != nullptr ? conv->groups : std::get<graph::ConvTranspose>(node.op).groups;
    const Shape& input = graph_.value(node.inputs[0]).type.shape;
    const Shape& result = graph_.value(output).type.shape;
    const bool has_constant_weights = graph_.value(node.inputs[1]).constant != nullptr;
    // The channels that an earlier convolution has filled up hold any finite numbers: weights of 0 drop them,
    // and only constant weights are sure to be 0 there.
    const bool fill = tuned && groups == 1 && has_constant_weights;
    const std::int64_t channels_in = fill ? state_.filled_channels(input[1]) : input[1];
    const bool may_fill_result =
        fill && !has_sum(group) && !state_.is_placed(output) &&
        (node.inputs.size() < 3 || graph_.value(node.inputs[2]).constant != nullptr);
    contraction.channels = may_fill_result ? state_.filled_channels(result[1]) : result[1];

    Step& step = contraction.step;
    graph::TensorType type = graph_.value(node.outputs.front()).type;
    type.shape[1] = contraction.channels;
    StepOp op{node.op, {0, 1}, {std::move(type)}};
    std::optional<BlockedConvolution> blocked;
    if (fill && conv != nullptr) {
      blocked = on_blocks(*conv, *graph_.value(node.inputs[1]).constant, input, result);
    }
    // What the device makes of images is filled up already.
    const bool may_block = blocked && (state_.is_blocked(node.inputs[0]) ||
                                       (!state_.is_filled(node.inputs[0], channels_in) &&
                                        pixels_of(state_.read(node.inputs[0]))));
    if (may_block) {
      op.op = blocked->conv;
      Shape weights = blocked->weights->type.shape;
      weights[0] = contraction.channels;
      step.inputs = {blocks_operand(node.inputs[0]),
                     state_.constant(blocked->weights, state_.product_type(), weights,
                                     channels_last(weights.size()))};
    } else {
      const std::size_t out_axis = conv != nullptr ? 0 : 1;
      Shape weights = graph_.value(node.inputs[1]).type.shape;
      weights[1 - out_axis] = fill ? channels_in : weights[1 - out_axis];
      if (may_fill_result) weights[out_axis] = contraction.channels;
      step.inputs = {
          tuned ? image_operand(node.inputs[0], channels_in) : state_.read(node.inputs[0]),
          tuned ? weights_operand(node.inputs[1], weights) : state_.read(node.inputs[1])};
    }
    if (node.inputs.size() > 2) {
      op.arguments.push_back(2);
      step.inputs.push_back(tuned ? bias_operand(node.inputs[2], contraction.channels)
                                  : state_.read(node.inputs[2]));
    }
    step.ops.push_back(std::move(op));
    contraction.result = state_.destination(output, contraction.channels);
    state_.settle(output, part(contraction.result, 1, 0, result[1]));
    if (may_fill_result && contraction.result.type == state_.product_type()) {
      state_.settle_filled(output, contraction.result);
    }
  }

  [[nodiscard]] bool has_sum(const Group& group) const {
    return std::ranges::any_of(group.nodes, [&](std::size_t n) {
      return std::holds_alternative<graph::Binary>(graph_.nodes[n].op);
    });
  }

  // Channels last, in the type of products, filled up to so many channels.
  View image_operand(ValueId id, std::int64_t channels) {
    View view = state_.read(id);
    const bool suits =
        view.type == state_.product_type() && (view.strides[1] == 1 || view.shape[1] == 1);
    if (channels == view.shape[1]) {
      if (suits) return view;
      return state_.converted(
          id, channels_last(view.shape.size()),
          [&](const View& from, const View& to) { add_copy(state_.name_of(id), from, to); });
    }
    return state_.filled(id, channels,
                         [&](const View& from, const View& to) { add_filling(id, from, to); });
  }

  // A copy into a tensor of more channels, which get 0.
  void add_filling(ValueId id, const View& from, const View& to) {
    graph::Pad pad{std::vector<std::int64_t>(from.shape.size(), 0),
                   std::vector<std::int64_t>(from.shape.size(), 0), graph::PadMode::constant, 0};
    pad.ends[1] = to.shape[1] - from.shape[1];
    add_step({state_.name_of(id),
              StepKind::single,
              {from},
              {{pad, {0}, {{graph_.value(id).type.type, to.shape}}}},
              {{1, to}}});
  }

  View blocks_operand(ValueId id) {
    return state_.blocked(id, [&](const View& from, const View& to) {
      add_filling(id, *pixels_of(from), pixels_in(to));
    });
  }

  View weights_operand(ValueId id, const Shape& shape) {
    const DimensionOrder order = channels_last(shape.size());
    if (graph_.value(id).constant != nullptr) {
      return state_.constant(id, state_.product_type(), shape, order);
    }
    return image_operand(id, shape[1]);
  }

  View bias_operand(ValueId id, std::int64_t channels) {
    if (graph_.value(id).constant != nullptr) {
      return state_.constant(id, state_.product_type(), {channels}, row_order(1));
    }
    return state_.read(id);
  }

  // The sum and the activation behind a product.
  void add_epilogue(Contraction& contraction, const Group& group) {
    Step& step = contraction.step;
    ValueId value = graph_.nodes[group.nodes.front()].outputs.front();
    struct Extra {
      const Node* node;
      ValueId other;
    };
    std::vector<Extra> extras;
    for (std::size_t i = 1; i < group.nodes.size(); ++i) {
      const Node& node = graph_.nodes[group.nodes[i]];
      ValueId other = value;
      if (node.inputs.size() == 2)
        other = node.inputs[0] == value ? node.inputs[1] : node.inputs[0];
      extras.push_back({&node, other});
      value = node.outputs.front();
    }
    // Inputs first, for values are counted from them.
    for (const Extra& extra : extras) {
      if (extra.node->inputs.size() == 2) {
        step.inputs.push_back(
            broadcast(state_.epilogue_operand(extra.other), contraction.result.shape));
      }
    }
    int last = static_cast<int>(step.inputs.size());
    for (const Extra& extra : extras) {
      graph::TensorType type = graph_.value(extra.node->outputs.front()).type;
      type.shape = contraction.result.shape;
      StepOp op{extra.node->op, {last}, {std::move(type)}};
      if (extra.node->inputs.size() == 2) {
        op.arguments.push_back(static_cast<int>(step.inputs.size()) - 1);
      }
      step.ops.push_back(std::move(op));
      ++last;
    }
  }

  void finish_output(std::size_t index) {
    const ValueId id = graph_.outputs[index];
    const View& output = state_.output(index);
    const View view = state_.read(id);
    if (view.buffer != output.buffer) add_copy(state_.name_of(id), view, output);
  }

  static void plan_buffers(Program& program, int steps_kept) {
    std::vector<BufferLife> lives;
    std::vector<int> life_of(program.buffers.size(), -1);
    const auto touch = [&](const View& view, int step) {
      const auto buffer = static_cast<std::size_t>(view.buffer);
      if (program.buffers[buffer].kind != BufferKind::arena) return;
      if (life_of[buffer] < 0) {
        life_of[buffer] = static_cast<int>(lives.size());
        lives.push_back({program.buffers[buffer].bytes, step, step});
      }
      lives[static_cast<std::size_t>(life_of[buffer])].last = step;
    };
    for (std::size_t i = 0; i < program.steps.size(); ++i) {
      const int step = static_cast<int>(i);
      for (const StepOutput& output : program.steps[i].outputs) touch(output.view, step);
      for (const View& input : program.steps[i].inputs) touch(input, step);
    }
    for (BufferLife& life : lives) life.last += steps_kept;
    const ArenaPlan plan = plan_arena(lives);
    for (std::size_t i = 0; i < program.buffers.size(); ++i) {
      if (life_of[i] >= 0) {
        program.buffers[i].arena_offset = plan.offsets[static_cast<std::size_t>(life_of[i])];
      }
    }
    program.arena_bytes = plan.bytes;
  }

  const Graph& graph_;
  const std::vector<Group> groups_;
  const int steps_kept_;
  LoweringState state_;
  std::vector<Step> steps_;
};

}  // namespace

Result<Program> lower(const graph::Graph& graph, const LoweringOptions& options) {
  return Lowering(graph, options).run();
}

}  // namespace takt::cuda
