// SPDX-License-Identifier: Apache-2.0
// Where the values of a graph lie while it is lowered: decided for all of them before the first step, given
// out step by step.
// Thread-safe: no; one lowering's.
// Owns: the buffers until program() takes them. Private to the cuda backend.
#pragma once

#include "backend/cuda/compile/fusion.h"
#include "backend/cuda/compile/lowering.h"
#include "backend/cuda/compile/program.h"
#include "backend/cuda/compile/views.h"
#include "graph/graph.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

namespace takt::cuda {

// A piece of what Concat makes.
struct ConcatOperand {
  graph::ValueId value;
  View part;              // where it belongs
  bool in_place = false;  // what computes it writes there
};

class LoweringState {
 public:
  using Copy = std::function<void(const View& from, const View& to)>;

  // All three outlive it.
  LoweringState(const graph::Graph& graph, std::span<const Group> groups,
                const LoweringOptions& options);

  // Where the value is; it has been settled, or is an input or a constant (in the graph's type, row by row).
  [[nodiscard]] View read(graph::ValueId id);
  void settle(graph::ValueId id, const View& view) { values_[id.value].view = view; }
  // Where a step shall write the value: a place that was decided, or a new buffer; `channels` is dimension 1 of
  // the buffer where it is more than the value's.
  [[nodiscard]] View destination(graph::ValueId id, std::int64_t channels = 0);
  [[nodiscard]] bool is_placed(graph::ValueId id) const {
    return values_[id.value].place.has_value();
  }
  [[nodiscard]] View allocate(DataType type, const Shape& shape, const DimensionOrder& order);

  // A constant in another type and order, in a corner of a larger `shape` of zeros.
  [[nodiscard]] View constant(graph::ValueId id, DataType type, const Shape& shape,
                              const DimensionOrder& order);
  // One that the graph lacks, row by row.
  [[nodiscard]] View add_constant(const graph::ConstantPtr& constant);
  // One that isn't in the graph.
  [[nodiscard]] View constant(const graph::ConstantPtr& constant, DataType type, const Shape& shape,
                              const DimensionOrder& order);
  // The value in the type of products and this order; `copy` is called where it isn't there yet.
  [[nodiscard]] View converted(graph::ValueId id, const DimensionOrder& order, const Copy& copy);
  // The same, channels last, with so many channels, of which those that the value lacks are finite.
  [[nodiscard]] View filled(graph::ValueId id, std::int64_t channels, const Copy& copy);
  // The value, an image, in blocks of 2 x 2 pixels (pixel_blocks.h) of the type of products.
  [[nodiscard]] View blocked(graph::ValueId id, const Copy& copy);
  // That a step writes the value with more channels than it has; whatever is in those is finite, so that weights
  // of 0 make nothing of it.
  void settle_filled(graph::ValueId id, const View& whole);
  [[nodiscard]] bool is_blocked(graph::ValueId id) const;
  [[nodiscard]] bool is_filled(graph::ValueId id, std::int64_t channels) const;
  // A bias or a residual.
  [[nodiscard]] View epilogue_operand(graph::ValueId id);

  [[nodiscard]] DataType product_type() const noexcept { return product_type_; }
  [[nodiscard]] std::int64_t filled_channels(std::int64_t channels) const noexcept;
  [[nodiscard]] const std::vector<ConcatOperand>& concat_operands(graph::ValueId output) const {
    return concats_.at(output.value);
  }
  [[nodiscard]] const View& output(std::size_t index) const { return program_.outputs[index]; }
  [[nodiscard]] const std::string& name_of(graph::ValueId id) const {
    return graph_.value(id).name;
  }

  // Without steps.
  [[nodiscard]] Program program() && { return std::move(program_); }

 private:
  struct ValueState {
    DataType stored = DataType::fp32;
    DimensionOrder order;
    std::optional<View> place;  // where it has to be written
    std::optional<View> view;   // where it is
  };

  void decide_types();
  [[nodiscard]] std::vector<bool> values_that_are_only_summed() const;
  void decide_orders();
  void decide_order(const graph::Node& node);
  void decide_order_of_attention(const Group& group);
  void add_inputs(const LoweringOptions& options);
  [[nodiscard]] bool is_for_blocks(graph::ValueId id) const;
  void place_outputs();
  void place_concats();
  [[nodiscard]] std::vector<graph::ValueId> joined_operands(const graph::Node& node) const;
  [[nodiscard]] std::optional<View> where_neighbours_lie(const std::vector<graph::ValueId>& ids,
                                                         int axis) const;
  bool place(graph::ValueId id, const View& view);
  [[nodiscard]] bool accepts(graph::ValueId id, const View& view) const;
  [[nodiscard]] const graph::Node* producer(graph::ValueId id) const;
  [[nodiscard]] View make_buffer(BufferKind kind, DataType type, const Shape& shape,
                                 const DimensionOrder& order);
  [[nodiscard]] View make_constant(const graph::ConstantPtr& constant, DataType type,
                                   const Shape& shape, const DimensionOrder& order);
  [[nodiscard]] bool has_convolutions() const;

  const graph::Graph& graph_;
  std::span<const Group> groups_;
  DataType product_type_;
  std::int64_t channel_multiple_;
  Program program_;
  std::vector<ValueState> values_;
  std::vector<std::optional<std::size_t>> producers_;  // node of each value
  std::vector<StepKind> kinds_;                        // of the group of each node
  std::map<std::uint32_t, std::vector<ConcatOperand>> concats_;
  std::map<std::tuple<std::uint32_t, DimensionOrder, std::int64_t>, View> converted_;
  std::map<std::tuple<const graph::Constant*, DataType, Shape, DimensionOrder>, View> constants_;
};

}  // namespace takt::cuda
