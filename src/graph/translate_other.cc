// SPDX-License-Identifier: Apache-2.0
// Quantisation, the selection of boxes, and the table of these and of recurrent layers.
#include "graph/composition.h"

#include <fmt/format.h>
#include <onnx/onnx.pb.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace takt::graph {
namespace {

// A number that may be absent, or an empty tensor.
Result<std::optional<double>> number_of(const NodeReader& node, std::size_t index) {
  if (!node.has_input(index)) return std::nullopt;
  const Result<std::vector<double>> numbers = node.numbers_of(index);
  if (!numbers) return std::unexpected(numbers.error());
  if (numbers->empty()) return std::nullopt;
  if (numbers->size() == 1) return numbers->front();
  return NodeReader::refuse(
      fmt::format("input {} has {} numbers; expected one", index, numbers->size()));
}

Values translate_non_max_suppression(const NodeReader& node) {
  if (auto checked = node.check_inputs(2, 5); !checked) return std::unexpected(checked.error());
  const Result<std::optional<double>> boxes = number_of(node, 2);
  if (!boxes) return std::unexpected(boxes.error());
  const Result<std::optional<double>> overlap = number_of(node, 3);
  if (!overlap) return std::unexpected(overlap.error());
  const Result<std::optional<double>> score = number_of(node, 4);
  if (!score) return std::unexpected(score.error());
  constexpr double most = std::numeric_limits<std::int32_t>::max();  // exporters write 2^63 - 1
  const NonMaxSuppression op{
      .boxes_max = static_cast<std::int64_t>(std::clamp(boxes->value_or(0), 0.0, most)),
      .iou_threshold = static_cast<float>(overlap->value_or(0)),
      .score_threshold = static_cast<float>(score->value_or(0)),
      .has_score_threshold = score->has_value(),
      .centers = node.integer("center_point_box", 0) != 0};
  return node.builder().add_all(op, {node.input(0), node.input(1)});
}

bool is_quantised(DataType type) {
  return type == DataType::int8 || type == DataType::uint8 || type == DataType::int16 ||
         type == DataType::uint16;
}

Result<void> check_blocks(const NodeReader& node) {
  const std::int64_t block = node.integer("block_size", 0);
  if (block == 0) return {};
  return NodeReader::refuse(fmt::format("block_size {}; blocks aren't supported", block));
}

// What scale and zero point are like: one number, or one for each element along an axis.
struct Scaling {
  ValueId scale, zero_point;
  int axis = 0;
};

// A zero point of one element more or less than a dimension is as good as a scalar.
Scaling scaling(Composition& made, ValueId scale, std::optional<ValueId> zero_point, DataType zero,
                int axis) {
  const bool single = product(made.shape(scale)) == 1;
  if (single) scale = made.reshape(scale, {});
  const ValueId point =
      zero_point ? *zero_point : made.expand(made.constant(zero, 0.0), made.shape(scale));
  return {scale, single ? made.reshape(point, {}) : point, single ? 0 : axis};
}

std::optional<ValueId> optional_input(const NodeReader& node, std::size_t index) {
  if (node.has_input(index)) return node.input(index);
  return std::nullopt;
}

// The axis of scales in input `index`; of a single scale it doesn't matter.
Result<int> scale_axis(const NodeReader& node, std::size_t index) {
  if (product(node.shape(index)) == 1) return 0;
  return node.axis(node.integer("axis", 1), node.rank(0));
}

// Where there is no zero point, output_dtype says it since opset 21; otherwise it is UINT8.
Result<DataType> quantised_type(const NodeReader& node) {
  if (node.has_input(2)) return node.type(2).type;
  switch (node.integer("output_dtype", 0)) {
    case onnx::TensorProto::UNDEFINED:
    case onnx::TensorProto::UINT8:
      return DataType::uint8;
    case onnx::TensorProto::INT8:
      return DataType::int8;
    case onnx::TensorProto::UINT16:
      return DataType::uint16;
    case onnx::TensorProto::INT16:
      return DataType::int16;
    default:
      return NodeReader::refuse(
          fmt::format("output_dtype {}; expected INT8, UINT8, INT16 or UINT16",
                      node.integer("output_dtype", 0)));
  }
}

Values translate_quantize(const NodeReader& node) {
  if (auto checked = node.check_inputs(2, 3); !checked) return std::unexpected(checked.error());
  if (auto checked = check_blocks(node); !checked) return std::unexpected(checked.error());
  const Result<DataType> to = quantised_type(node);
  if (!to) return std::unexpected(to.error());
  if (!is_quantised(*to)) {
    return NodeReader::refuse(
        fmt::format("to {}; expected INT8, UINT8, INT16 or UINT16", takt::to_string(*to)));
  }
  const Result<int> axis = scale_axis(node, 1);
  if (!axis) return std::unexpected(axis.error());
  Composition made(node.builder());
  const bool counts = node.type(0).type == DataType::int32;
  const ValueId x = counts ? made.cast(node.input(0), DataType::fp32) : node.input(0);
  const ValueId scale = made.cast(node.input(1), made.type(x).type);
  const Scaling by = scaling(made, scale, optional_input(node, 2), *to, *axis);
  return made.finish({made.add(Quantize{*to, by.axis}, {x, by.scale, by.zero_point})});
}

Values translate_dequantize(const NodeReader& node) {
  if (auto checked = node.check_inputs(2, 3); !checked) return std::unexpected(checked.error());
  if (auto checked = check_blocks(node); !checked) return std::unexpected(checked.error());
  const DataType type = node.type(0).type;
  if (!is_quantised(type) && type != DataType::int32) {
    return NodeReader::refuse(
        fmt::format("of {}; expected INT8, UINT8, INT16, UINT16 or INT32", takt::to_string(type)));
  }
  const Result<int> axis = scale_axis(node, 1);
  if (!axis) return std::unexpected(axis.error());
  Composition made(node.builder());
  const Scaling by = scaling(made, node.input(1), optional_input(node, 2), type, *axis);
  return made.finish({made.add(Dequantize{by.axis}, {node.input(0), by.scale, by.zero_point})});
}

// scale = (max(x, 0) - min(x, 0)) / 255, and zero becomes a number of UINT8. Of nothing but zeros
// the scale is 1 / 255.
Values translate_dynamic_quantize(const NodeReader& node) {
  if (auto checked = node.check_inputs(1, 1); !checked) return std::unexpected(checked.error());
  Composition made(node.builder());
  const ValueId x = node.input(0);
  const std::vector<int> all = first_axes(node.rank(0));
  const auto extreme = [&](ReduceKind kind, BinaryKind with_zero) {
    return made.binary(with_zero, made.squeeze(made.reduce(kind, x, all), all), 0.0);
  };
  const ValueId largest = extreme(ReduceKind::max, BinaryKind::maximum);
  const ValueId smallest = extreme(ReduceKind::min, BinaryKind::minimum);
  const ValueId range = made.binary(BinaryKind::sub, largest, smallest);
  const ValueId no_range = made.binary(BinaryKind::equal, range, 0.0);
  const ValueId one = made.constant(node.type(0).type, 1);
  const ValueId scale =
      made.binary(BinaryKind::div, made.add(Select{}, {no_range, one, range}), 255.0);
  const ValueId zero = made.binary(BinaryKind::div, made.unary(UnaryKind::neg, smallest), scale);
  const ValueId clipped = made.add(Unary{UnaryKind::clip, 0, 255}, {zero});
  const ValueId zero_point = made.cast(made.unary(UnaryKind::round, clipped), DataType::uint8);
  const ValueId y = made.add(Quantize{DataType::uint8, 0}, {x, scale, zero_point});
  return made.finish({y, scale, zero_point});
}

// Inputs `first` to `first` + 2 are a tensor, its scale and its zero point; the result is of FP32.
ValueId dequantised(Composition& made, const NodeReader& node, std::size_t first, int axis) {
  const ValueId scale = made.cast(node.input(first + 1), DataType::fp32);
  const Scaling by = scaling(made, scale, node.input(first + 2), DataType::uint8, axis);
  return made.add(Dequantize{by.axis}, {node.input(first), by.scale, by.zero_point});
}

// Quantised by inputs 6 and 7, as both QLinearConv and QLinearMatMul have it.
ValueId quantised(Composition& made, const NodeReader& node, ValueId y) {
  const ValueId scale = made.cast(node.input(6), DataType::fp32);
  const Scaling by = scaling(made, scale, node.input(7), DataType::uint8, 0);
  return made.add(Quantize{made.type(by.zero_point).type, by.axis}, {y, by.scale, by.zero_point});
}

// A scale for each row of the first matrix or each column of the second.
Values translate_qlinear_matmul(const NodeReader& node) {
  if (auto checked = node.check_inputs(8, 8); !checked) return std::unexpected(checked.error());
  if (node.rank(0) < 2 || node.rank(3) < 2) {
    return NodeReader::refuse(
        fmt::format("a product of {} and {}; expected two dimensions and more",
                    takt::to_string(node.shape(0)), takt::to_string(node.shape(3))));
  }
  Composition made(node.builder());
  const ValueId a = dequantised(made, node, 0, node.rank(0) - 2);
  const ValueId b = dequantised(made, node, 3, node.rank(3) - 1);
  return made.finish({quantised(made, node, made.add(MatMul{}, {a, b}))});
}

// The bias has the scale of x times that of the weights.
Values translate_qlinear_conv(const NodeReader& node) {
  if (auto checked = node.check_inputs(8, 9); !checked) return std::unexpected(checked.error());
  Composition made(node.builder());
  std::vector<ValueId> inputs{dequantised(made, node, 0, 0), dequantised(made, node, 3, 0)};
  if (node.has_input(8)) {
    const ValueId scale = made.binary(BinaryKind::mul, node.input(1), node.input(4));
    const ValueId bias = made.cast(node.input(8), DataType::fp32);
    inputs.push_back(made.binary(BinaryKind::mul, bias, scale));
  }
  if (made.failed()) return made.finish({});
  const Result<ValueId> y = add_conv(node, std::move(inputs));
  if (!y) return std::unexpected(y.error());
  return made.finish({quantised(made, node, *y)});
}

// A zero point for each row of the first matrix stands in a column.
Values translate_matmul_integer(const NodeReader& node) {
  if (auto checked = node.check_inputs(2, 4); !checked) return std::unexpected(checked.error());
  Composition made(node.builder());
  const auto centred = [&](std::size_t index, bool by_rows) {
    const ValueId x = made.cast(node.input(index), DataType::int32);
    if (!node.has_input(index + 2)) return x;
    ValueId point = made.cast(node.input(index + 2), DataType::int32);
    const Shape shape = made.shape(point);
    if (by_rows && shape.size() == 1) point = made.reshape(point, {shape[0], 1});
    return made.binary(BinaryKind::sub, x, point);
  };
  const ValueId a = centred(0, true);
  const ValueId b = centred(1, false);
  return made.finish({made.add(MatMul{}, {a, b})});
}

constexpr std::array<Translation, 10> kTranslations{
    {{"DequantizeLinear", translate_dequantize},
     {"DynamicQuantizeLinear", translate_dynamic_quantize},
     {"GRU", translate_gru},
     {"LSTM", translate_lstm},
     {"MatMulInteger", translate_matmul_integer},
     {"NonMaxSuppression", translate_non_max_suppression},
     {"QLinearConv", translate_qlinear_conv},
     {"QLinearMatMul", translate_qlinear_matmul},
     {"QuantizeLinear", translate_quantize},
     {"RNN", translate_rnn}}};

}  // namespace

std::span<const Translation> other_translations() {
  return kTranslations;
}

}  // namespace takt::graph
