// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/lowering_state.h"

#include "backend/cuda/compile/attention.h"
#include "backend/cuda/compile/pixel_blocks.h"
#include "graph/operators.h"

#include <algorithm>
#include <utility>
#include <variant>

namespace takt::cuda {
namespace {

using graph::Graph;
using graph::Node;
using graph::ValueId;

constexpr std::int64_t kImageChannelsMax = 4;

// Says only how elements are looked at.
bool is_view(const graph::Operator& op) {
  return std::holds_alternative<graph::Reshape>(op) ||
         std::holds_alternative<graph::Transpose>(op) || std::holds_alternative<graph::Slice>(op) ||
         std::holds_alternative<graph::Expand>(op);
}

bool is_product(StepKind kind) {
  return kind == StepKind::contraction || kind == StepKind::attention;
}

// Its result may be much larger than its inputs.
bool is_sum(graph::ReduceKind kind) {
  return kind != graph::ReduceKind::mean && kind != graph::ReduceKind::max &&
         kind != graph::ReduceKind::min;
}

// Works on images, and does it best with their channels side by side.
bool is_spatial(const graph::Operator& op) {
  return std::holds_alternative<graph::Conv>(op) ||
         std::holds_alternative<graph::ConvTranspose>(op) ||
         std::holds_alternative<graph::Pool>(op) || std::holds_alternative<graph::Resize>(op) ||
         std::holds_alternative<graph::GroupNorm>(op) ||
         std::holds_alternative<graph::LocalResponseNorm>(op);
}

}  // namespace

LoweringState::LoweringState(const Graph& graph, std::span<const Group> groups,
                             const LoweringOptions& options)
    : graph_(graph),
      groups_(groups),
      product_type_(takt::cuda::product_type(options.precision)),
      // Tensor cores read 16 bytes at a time.
      channel_multiple_(product_type_ == DataType::fp32 ? 4 : 8),
      values_(graph.values.size()),
      producers_(graph.values.size()),
      kinds_(graph.nodes.size()) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const ValueId id : graph.nodes[i].outputs) producers_[id.value] = i;
  }
  for (const Group& group : groups) {
    for (const std::size_t node : group.nodes) kinds_[node] = group.kind;
  }
  decide_types();
  decide_orders();
  add_inputs(options);
  place_outputs();
  place_concats();
}

const Node* LoweringState::producer(ValueId id) const {
  const std::optional<std::size_t> node = producers_[id.value];
  return node ? &graph_.nodes[*node] : nullptr;
}

std::int64_t LoweringState::filled_channels(std::int64_t channels) const noexcept {
  return (channels + channel_multiple_ - 1) / channel_multiple_ * channel_multiple_;
}

void LoweringState::decide_types() {
  for (std::size_t i = 0; i < values_.size(); ++i) values_[i].stored = graph_.values[i].type.type;
  if (product_type_ == DataType::fp32) return;
  std::vector<bool> feeds_product(values_.size());  // a product needs it, or what is made of it
  for (std::size_t i = graph_.nodes.size(); i-- > 0;) {
    const Node& node = graph_.nodes[i];
    const bool feeds = is_product(kinds_[i]) || std::ranges::any_of(node.outputs, [&](ValueId id) {
                         return feeds_product[id.value];
                       });
    if (!feeds) continue;
    // Numbers that become indices or conditions are none of a product's.
    for (const ValueId id : node.inputs) {
      feeds_product[id.value] = is_floating(graph_.value(id).type.type);
    }
  }
  const std::vector<bool> only_summed = values_that_are_only_summed();
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    const Node& node = graph_.nodes[i];
    const auto is_short = [&](ValueId input) {
      return producers_[input.value] && values_[input.value].stored == product_type_;
    };
    for (const ValueId id : node.outputs) {
      ValueState& value = values_[id.value];
      if (value.stored != DataType::fp32) continue;
      bool shorter = is_product(kinds_[i]) || (feeds_product[id.value] && !only_summed[id.value]);
      if (const auto* const reduce = std::get_if<graph::Reduce>(&node.op)) {
        // Sums are larger than what they are of, means are not.
        shorter = shorter && !is_sum(reduce->kind) && is_short(node.inputs.front());
      }
      if (is_view(node.op)) shorter = is_short(node.inputs.front());
      // What products wrote in 16 bits can lie in its place.
      if (std::holds_alternative<graph::Concat>(node.op)) {
        shorter = shorter || std::ranges::all_of(node.inputs, is_short);
      }
      if (shorter) value.stored = product_type_;
    }
  }
}

// Squares and the like, which may be too large for 16 bits although what is made of their sum is not.
std::vector<bool> LoweringState::values_that_are_only_summed() const {
  std::vector<bool> needed(values_.size());
  std::vector<bool> needed_otherwise(values_.size());
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    const auto* const reduce = std::get_if<graph::Reduce>(&graph_.nodes[i].op);
    const bool sums =
        reduce != nullptr && (is_sum(reduce->kind) || reduce->kind == graph::ReduceKind::mean);
    for (const ValueId id : graph_.nodes[i].inputs) {
      needed[id.value] = true;
      if (!sums) needed_otherwise[id.value] = true;
    }
  }
  std::vector<bool> only(values_.size());
  for (std::size_t i = 0; i < only.size(); ++i) only[i] = needed[i] && !needed_otherwise[i];
  return only;
}

bool LoweringState::has_convolutions() const {
  return std::ranges::any_of(graph_.nodes, [](const Node& node) {
    return std::holds_alternative<graph::Conv>(node.op) ||
           std::holds_alternative<graph::ConvTranspose>(node.op);
  });
}

void LoweringState::decide_orders() {
  const bool images = has_convolutions();
  for (std::size_t i = 0; i < values_.size(); ++i) {
    values_[i].order = row_order(graph_.values[i].type.shape.size());
  }
  for (const ValueId id : graph_.inputs) {
    const std::size_t rank = graph_.value(id).type.shape.size();
    // It lies row by row, but what is made of it shall not.
    if (images && rank > 3) values_[id.value].order = channels_last(rank);
  }
  for (const Group& group : groups_) {
    for (const std::size_t node : group.nodes) decide_order(graph_.nodes[node]);
    if (group.kind == StepKind::attention) decide_order_of_attention(group);
  }
}

// The heads of a token side by side, as the next product takes them.
void LoweringState::decide_order_of_attention(const Group& group) {
  const std::optional<Attention> attention = attention_of(graph_, group.nodes);
  const ValueId output = graph_.nodes[group.nodes.back()].outputs.front();
  DimensionOrder& order = values_[output.value].order;
  if (!attention || order.size() < 3) return;
  const auto rows = order.end() - 2;
  if (attention->result_transposed) std::swap(rows[0], rows[1]);
  if (order.size() > 3) std::swap(rows[-1], rows[0]);
}

void LoweringState::decide_order(const Node& node) {
  const auto assign = [&](const DimensionOrder& order) {
    for (const ValueId id : node.outputs) {
      if (values_[id.value].order.size() == order.size()) values_[id.value].order = order;
    }
  };
  const Shape& shape = graph_.value(node.outputs.front()).type.shape;
  if (is_spatial(node.op)) return assign(channels_last(shape.size()));
  if (std::holds_alternative<graph::MatMul>(node.op) || node.inputs.empty()) return;
  // The input that the output is most like.
  ValueId like = node.inputs.front();
  for (const ValueId id : node.inputs) {
    const bool computed = graph_.value(id).constant == nullptr;
    if (computed && graph_.value(id).type.shape == shape) {
      like = id;
      break;
    }
    if (computed && graph_.value(like).constant != nullptr) like = id;
  }
  const Shape& from = graph_.value(like).type.shape;
  const DimensionOrder& order = values_[like.value].order;
  View view{0, 0, DataType::fp32, from, ordered_strides(from, order)};
  if (const auto* const reshape = std::get_if<graph::Reshape>(&node.op)) {
    const std::optional<View> other = reshaped(view, reshape->shape);
    return assign(other ? order_of(*other) : row_order(shape.size()));
  }
  if (const auto* const transpose = std::get_if<graph::Transpose>(&node.op)) {
    return assign(order_of(transposed(view, transpose->permutation)));
  }
  assign(order);
}

View LoweringState::make_buffer(BufferKind kind, DataType type, const Shape& shape,
                                const DimensionOrder& order) {
  View view{static_cast<int>(program_.buffers.size()), 0, type, shape,
            ordered_strides(shape, order)};
  const auto elements = static_cast<std::size_t>(extent_elements(view));
  program_.buffers.push_back({kind, elements * element_bytes(type), 0, nullptr, {}});
  return view;
}

View LoweringState::allocate(DataType type, const Shape& shape, const DimensionOrder& order) {
  return make_buffer(BufferKind::arena, type, shape, order);
}

void LoweringState::add_inputs(const LoweringOptions& options) {
  for (std::size_t i = 0; i < graph_.inputs.size(); ++i) {
    const ValueId id = graph_.inputs[i];
    const graph::TensorType& type = graph_.value(id).type;
    const std::size_t rank = type.shape.size();
    const bool made = i < options.inputs_made_on_device.size() && options.inputs_made_on_device[i];
    if (!made) {
      program_.inputs.push_back(
          make_buffer(BufferKind::input, type.type, type.shape, row_order(rank)));
      values_[id.value].view = program_.inputs.back();
      continue;
    }
    // Of [N,C,H,W] the channels are brought together; those of [N,H,W,C] are.
    const bool first =
        rank == 4 && (type.shape[1] <= type.shape[3] || type.shape[3] > kImageChannelsMax);
    const bool floating = is_floating(type.type);
    if (is_for_blocks(id)) {
      const Shape blocks{type.shape[0], kBlocked, type.shape[2] / 2, type.shape[3] / 2};
      const View whole = make_buffer(BufferKind::input, product_type_, blocks, channels_last(rank));
      program_.inputs.push_back(rows_in(whole, type.shape[1]));
      converted_.insert({{id.value, {}, kBlocked}, whole});
      continue;
    }
    Shape filled = type.shape;
    if (first && floating) filled[1] = filled_channels(filled[1]);
    const View whole = make_buffer(BufferKind::input, floating ? product_type_ : type.type, filled,
                                   first ? channels_last(rank) : row_order(rank));
    View view = whole;
    view.shape = type.shape;
    program_.inputs.push_back(view);
    values_[id.value].view = view;
    if (first && floating) settle_filled(id, whole);
  }
}

// That nobody needs the value but convolutions that work on blocks of its pixels.
bool LoweringState::is_for_blocks(ValueId id) const {
  const graph::TensorType& type = graph_.value(id).type;
  if (!is_floating(type.type) || std::ranges::find(graph_.outputs, id) != graph_.outputs.end()) {
    return false;
  }
  bool needed = false;
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    const Node& node = graph_.nodes[i];
    if (std::ranges::find(node.inputs, id) == node.inputs.end()) continue;
    const auto* const conv = std::get_if<graph::Conv>(&node.op);
    const bool may = conv != nullptr && kinds_[i] == StepKind::contraction &&
                     node.inputs[0] == id && graph_.value(node.inputs[1]).constant != nullptr;
    if (!may || !on_blocks(*conv, *graph_.value(node.inputs[1]).constant, type.shape,
                           graph_.value(node.outputs.front()).type.shape)) {
      return false;
    }
    needed = true;
  }
  return needed;
}

void LoweringState::place_outputs() {
  for (const ValueId id : graph_.outputs) {
    const graph::TensorType& type = graph_.value(id).type;
    program_.outputs.push_back(
        make_buffer(BufferKind::output, type.type, type.shape, row_order(type.shape.size())));
    place(id, program_.outputs.back());
  }
}

// Those behind others first, so that a piece of a piece finds its place.
void LoweringState::place_concats() {
  for (std::size_t i = graph_.nodes.size(); i-- > 0;) {
    const Node& node = graph_.nodes[i];
    const auto* const concat = std::get_if<graph::Concat>(&node.op);
    if (concat == nullptr) continue;
    const ValueId output = node.outputs.front();
    ValueState& value = values_[output.value];
    const std::vector<ValueId> joined = joined_operands(node);
    if (!value.place) value.place = where_neighbours_lie(joined, concat->axis);
    if (!value.place) {
      value.place = allocate(value.stored, graph_.value(output).type.shape, value.order);
    }
    std::int64_t begin = 0;
    std::vector<ConcatOperand>& operands = concats_[output.value];
    for (const ValueId id : joined) {
      const std::int64_t size = graph_.value(id).type.shape[static_cast<std::size_t>(concat->axis)];
      ConcatOperand operand{id, part(*value.place, concat->axis, begin, size), false};
      // What another Concat has placed may lie right for this one too.
      operand.in_place =
          place(id, operand.part) || values_[id.value].place == std::optional(operand.part);
      begin += size;
      operands.push_back(std::move(operand));
    }
  }
}

// Values that another Concat has placed beside each other, in this order, are concatenated already: networks
// with dense connections take ever more of the same list.
std::optional<View> LoweringState::where_neighbours_lie(const std::vector<ValueId>& ids,
                                                        int axis) const {
  const auto at = static_cast<std::size_t>(axis);
  std::optional<View> whole;
  for (const ValueId id : ids) {
    const std::optional<View>& view = values_[id.value].place;
    if (!view) return {};
    if (!whole) {
      whole = view;
      continue;
    }
    View next = *whole;
    next.offset += whole->shape[at] * whole->strides[at];
    next.shape[at] = view->shape[at];
    if (*view != next) return {};
    whole->shape[at] += view->shape[at];
  }
  return whole;
}

// Neighbouring operands that together are all slices of one value count as that value, so that it can be
// written in one piece.
std::vector<ValueId> LoweringState::joined_operands(const Node& node) const {
  const auto axis = static_cast<std::size_t>(std::get<graph::Concat>(node.op).axis);
  const auto slice_of = [&](ValueId id) -> const graph::Slice* {
    const Node* const made_by = producer(id);
    return made_by == nullptr ? nullptr : std::get_if<graph::Slice>(&made_by->op);
  };
  std::vector<ValueId> joined;
  for (std::size_t i = 0; i < node.inputs.size();) {
    const ValueId id = node.inputs[i];
    std::size_t end = i;
    if (slice_of(id) != nullptr) {
      const ValueId whole = producer(id)->inputs.front();
      Shape expected = graph_.value(whole).type.shape;
      std::int64_t reached = 0;
      for (; end < node.inputs.size(); ++end) {
        const graph::Slice* const slice = slice_of(node.inputs[end]);
        if (slice == nullptr || producer(node.inputs[end])->inputs.front() != whole) break;
        expected[axis] = slice->sizes[axis];
        std::vector<std::int64_t> starts(expected.size(), 0);
        starts[axis] = reached;
        const bool follows = slice->sizes == expected && slice->starts == starts &&
                             std::ranges::all_of(slice->steps, [](auto s) { return s == 1; });
        if (!follows) break;
        reached += slice->sizes[axis];
      }
      if (reached == graph_.value(whole).type.shape[axis] && end > i) {
        joined.push_back(whole);
        i = end;
        continue;
      }
    }
    joined.push_back(id);
    ++i;
  }
  return joined;
}

// That the step which computes the value can write there.
bool LoweringState::accepts(ValueId id, const View& view) const {
  const std::size_t node = *producers_[id.value];
  if (kinds_[node] != StepKind::contraction) return true;
  const auto elements = static_cast<std::int64_t>(16 / element_bytes(product_type_));
  const auto aligned = [&](std::int64_t count) { return count % elements == 0; };
  if (view.type != product_type_ || !aligned(view.offset)) return false;
  // Row after row of a matrix, or channels last: as the value would lie by itself.
  const int inner = values_[id.value].order.back();
  for (std::size_t i = 0; i < view.shape.size(); ++i) {
    const bool is_inner = static_cast<int>(i) == inner;
    if (is_inner ? view.strides[i] != 1 : view.shape[i] > 1 && !aligned(view.strides[i])) {
      return false;
    }
  }
  return aligned(view.shape[static_cast<std::size_t>(inner)]);
}

bool LoweringState::place(ValueId id, const View& view) {
  ValueState& value = values_[id.value];
  const Node* const made_by = producer(id);
  if (made_by == nullptr || value.place || !is_injective(view)) return false;
  if (std::holds_alternative<graph::Reshape>(made_by->op)) {
    const ValueId input = made_by->inputs.front();
    const std::optional<View> back = reshaped(view, graph_.value(input).type.shape);
    if (!back || !place(input, *back)) return false;
  } else if (const auto* const transpose = std::get_if<graph::Transpose>(&made_by->op)) {
    if (!place(made_by->inputs.front(), transposed_back(view, transpose->permutation))) {
      return false;
    }
  } else if (is_view(made_by->op) || !accepts(id, view)) {
    return false;
  }
  value.place = view;
  return true;
}

View LoweringState::read(ValueId id) {
  const ValueState& value = values_[id.value];
  if (value.view) return *value.view;
  const graph::TensorType& type = graph_.value(id).type;
  return constant(id, type.type, type.shape, row_order(type.shape.size()));
}

View LoweringState::destination(ValueId id, std::int64_t channels) {
  const ValueState& value = values_[id.value];
  if (value.place) return *value.place;
  Shape shape = graph_.value(id).type.shape;
  if (channels > 0) shape[1] = channels;
  return allocate(value.stored, shape, value.order);
}

View LoweringState::constant(ValueId id, DataType type, const Shape& shape,
                             const DimensionOrder& order) {
  return constant(graph_.value(id).constant, type, shape, order);
}

View LoweringState::constant(const graph::ConstantPtr& constant, DataType type, const Shape& shape,
                             const DimensionOrder& order) {
  const auto [place, added] = constants_.try_emplace({constant.get(), type, shape, order});
  if (added) place->second = make_constant(constant, type, shape, order);
  return place->second;
}

View LoweringState::make_constant(const graph::ConstantPtr& constant, DataType type,
                                  const Shape& shape, const DimensionOrder& order) {
  View view = make_buffer(BufferKind::constant, type, shape, order);
  Buffer& buffer = program_.buffers.back();
  buffer.constant = constant;
  buffer.layout = view;
  buffer.layout.shape = constant->type.shape;
  return view;
}

View LoweringState::add_constant(const graph::ConstantPtr& constant) {
  const auto& [type, shape] = constant->type;
  return make_constant(constant, type, shape, row_order(shape.size()));
}

View LoweringState::converted(ValueId id, const DimensionOrder& order, const Copy& copy) {
  const auto [place, added] = converted_.try_emplace({id.value, order, std::int64_t{0}});
  if (added) {
    const View from = read(id);
    place->second = allocate(product_type_, from.shape, order);
    copy(from, place->second);
  }
  return place->second;
}

View LoweringState::filled(ValueId id, std::int64_t channels, const Copy& copy) {
  const std::size_t rank = graph_.value(id).type.shape.size();
  const auto [place, added] = converted_.try_emplace({id.value, channels_last(rank), channels});
  if (added) {
    View from = read(id);
    Shape shape = from.shape;
    shape[1] = channels;
    place->second = allocate(product_type_, shape, channels_last(rank));
    copy(from, place->second);
  }
  return place->second;
}

View LoweringState::blocked(ValueId id, const Copy& copy) {
  const auto [place, added] = converted_.try_emplace({id.value, {}, kBlocked});
  if (added) {
    const View from = read(id);
    const Shape& shape = from.shape;
    place->second =
        allocate(product_type_, {shape[0], kBlocked, shape[2] / 2, shape[3] / 2}, channels_last(4));
    copy(from, place->second);
  }
  return place->second;
}

void LoweringState::settle_filled(ValueId id, const View& whole) {
  const std::size_t rank = whole.shape.size();
  converted_.insert({{id.value, channels_last(rank), whole.shape[1]}, whole});
}

bool LoweringState::is_blocked(ValueId id) const {
  return converted_.contains({id.value, {}, kBlocked});
}

bool LoweringState::is_filled(ValueId id, std::int64_t channels) const {
  const std::size_t rank = graph_.value(id).type.shape.size();
  return converted_.contains({id.value, channels_last(rank), channels});
}

View LoweringState::epilogue_operand(ValueId id) {
  if (graph_.value(id).constant == nullptr) return read(id);
  const Shape& shape = graph_.value(id).type.shape;
  return constant(id, product_type_, shape, values_[id.value].order);
}

}  // namespace takt::cuda
