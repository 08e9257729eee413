// SPDX-License-Identifier: Apache-2.0
// What one ONNX node becomes where that takes several operators, and the translations that stand in
// other files than their table. Thread-safe: one thread's. Owns: nothing. Private to this layer.
#pragma once

#include "graph/node_reader.h"
#include "graph/strides.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace takt::graph {

// Adds operator by operator and keeps the first error for the end: after it nothing is added, and
// every step gives back its first input, so that whoever composes need not look after each.
class Composition {
 public:
  explicit Composition(GraphBuilder& builder) : builder_(builder) {}

  ValueId add(Operator op, std::vector<ValueId> inputs);
  ValueId unary(UnaryKind kind, ValueId x) { return add(Unary{kind}, {x}); }
  ValueId binary(BinaryKind kind, ValueId a, ValueId b) { return add(Binary{kind}, {a, b}); }
  // Of a number in x's type.
  ValueId binary(BinaryKind kind, ValueId x, double number);
  ValueId reduce(ReduceKind kind, ValueId x, std::vector<int> axes) {
    return add(Reduce{kind, std::move(axes)}, {x});
  }
  // None is added where nothing would change.
  ValueId reshape(ValueId x, Shape shape);
  ValueId transpose(ValueId x, std::vector<int> permutation);
  ValueId expand(ValueId x, Shape shape);
  ValueId cast(ValueId x, DataType type);
  // Elements `start` to `start` + `size` along `axis`.
  ValueId slice(ValueId x, std::size_t axis, std::int64_t start, std::int64_t size);
  // The dimensions of size 1 that a reduction left, taken out.
  ValueId squeeze(ValueId x, std::span<const int> axes);

  // As numbers of `type`, row by row; `numbers` fill the shape, or a single one all of it.
  ValueId constant(DataType type, Shape shape, std::span<const double> numbers);
  ValueId constant(DataType type, double number) { return constant(type, {}, {&number, 1}); }

  void refuse(std::string message);
  [[nodiscard]] bool failed() const noexcept { return error_.has_value(); }

  [[nodiscard]] const TensorType& type(ValueId id) const { return builder_.type(id); }
  [[nodiscard]] const Shape& shape(ValueId id) const { return builder_.shape(id); }
  // The outputs, or the first error.
  [[nodiscard]] Values finish(std::vector<ValueId> outputs);

 private:
  GraphBuilder& builder_;
  std::optional<Error> error_;
};

// 0, 1, ..., count - 1
[[nodiscard]] std::vector<int> first_axes(int count);

// Conv with the node's attributes. `inputs`: X, W and perhaps B.
[[nodiscard]] Result<ValueId> add_conv(const NodeReader& node, std::vector<ValueId> inputs);

// translate_einsum.cc
[[nodiscard]] Values translate_einsum(const NodeReader& node);
// translate_grid_sample.cc
[[nodiscard]] Values translate_grid_sample(const NodeReader& node);
// translate_normalization.cc
[[nodiscard]] Values translate_batch_normalization(const NodeReader& node);
[[nodiscard]] Values translate_instance_normalization(const NodeReader& node);
[[nodiscard]] Values translate_group_normalization(const NodeReader& node);
[[nodiscard]] Values translate_layer_normalization(const NodeReader& node);
[[nodiscard]] Values translate_local_response(const NodeReader& node);
[[nodiscard]] Values translate_lp_normalization(const NodeReader& node);
[[nodiscard]] Values translate_mean_variance(const NodeReader& node);
[[nodiscard]] Values translate_softmax(const NodeReader& node);
[[nodiscard]] Values translate_log_softmax(const NodeReader& node);
[[nodiscard]] Values translate_hardmax(const NodeReader& node);
// translate_recurrent.cc
[[nodiscard]] Values translate_rnn(const NodeReader& node);
[[nodiscard]] Values translate_gru(const NodeReader& node);
[[nodiscard]] Values translate_lstm(const NodeReader& node);

}  // namespace takt::graph
