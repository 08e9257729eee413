// SPDX-License-Identifier: Apache-2.0
#include "graph/infer_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace takt::graph {
namespace {

Inferred same_as(const TensorType& type) {
  return std::vector<TensorType>{type};
}

bool is_index(DataType type) {
  return type == DataType::int64 || type == DataType::int32;
}

Result<void> check_count(std::size_t count, std::size_t least, std::size_t most) {
  if (count >= least && count <= most) return {};
  const std::string wanted =
      least == most ? fmt::format("{}", least) : fmt::format("{} to {}", least, most);
  return refuse(fmt::format("{} inputs; expected {}", count, wanted));
}

Inferred infer(const Unary& op, InputTypes inputs) {
  const TensorType& x = inputs[0];
  const bool tests = op.kind == UnaryKind::is_nan || op.kind == UnaryKind::is_positive_infinity ||
                     op.kind == UnaryKind::is_negative_infinity;
  const bool logical = op.kind == UnaryKind::logical_not;
  if (logical != (x.type == DataType::boolean)) {
    return refuse(fmt::format("{} of {}", to_string(op.kind), takt::to_string(x.type)));
  }
  if (op.kind == UnaryKind::bitwise_not && is_floating(x.type)) {
    return refuse(fmt::format("bitwise_not of {}; expected integers", takt::to_string(x.type)));
  }
  const bool exact = op.kind == UnaryKind::abs || op.kind == UnaryKind::neg ||
                     op.kind == UnaryKind::sign || op.kind == UnaryKind::relu ||
                     op.kind == UnaryKind::bitwise_not || op.kind == UnaryKind::shrink;
  if (!is_floating(x.type) && !logical && !exact) {
    return refuse(fmt::format("{} of {}; expected floating point", to_string(op.kind),
                              takt::to_string(x.type)));
  }
  return one(tests ? DataType::boolean : x.type, x.shape);
}

bool compares(BinaryKind kind) {
  return kind >= BinaryKind::equal && kind <= BinaryKind::greater_equal;
}

Result<void> check_operands(BinaryKind kind, DataType a, DataType b) {
  if (a != b && kind != BinaryKind::pow) {
    return refuse(fmt::format("{} of {} and {}; expected one type", to_string(kind),
                              takt::to_string(a), takt::to_string(b)));
  }
  const bool logical = kind >= BinaryKind::logical_and;
  const bool of_bits = kind >= BinaryKind::bitwise_and && kind <= BinaryKind::shift_right;
  const bool fits = logical                     ? a == DataType::boolean
                    : of_bits                   ? is_integer(a)
                    : kind == BinaryKind::equal ? true
                                                : a != DataType::boolean && b != DataType::boolean;
  if (fits) return {};
  return refuse(fmt::format("{} of {}", to_string(kind), takt::to_string(a)));
}

Inferred infer(const Binary& op, InputTypes inputs) {
  const auto& [a, b] = std::pair(inputs[0], inputs[1]);
  if (auto checked = check_operands(op.kind, a.type, b.type); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  Result<Shape> shape = broadcast(a.shape, b.shape);
  if (!shape) return std::unexpected(std::move(shape).error());
  return one(compares(op.kind) ? DataType::boolean : a.type, std::move(*shape));
}

Inferred infer(const Cast& op, InputTypes inputs) {
  if (op.to == DataType::bytes) return refuse("cast to strings; expected numbers");
  return one(op.to, inputs[0].shape);
}

Inferred infer(const Select& /*op*/, InputTypes inputs) {
  if (inputs[0].type != DataType::boolean || inputs[1].type != inputs[2].type) {
    return refuse(fmt::format("selects by {} from {} and {}; expected BOOL and one type",
                              takt::to_string(inputs[0].type), takt::to_string(inputs[1].type),
                              takt::to_string(inputs[2].type)));
  }
  Result<Shape> shape = broadcast(inputs[1].shape, inputs[2].shape);
  if (shape) shape = broadcast(*shape, inputs[0].shape);
  if (!shape) return std::unexpected(std::move(shape).error());
  return one(inputs[1].type, std::move(*shape));
}

Inferred infer(const Reshape& op, InputTypes inputs) {
  const Result<std::size_t> count = element_count(op.shape);
  if (!count) return std::unexpected(count.error());
  if (*count == *element_count(inputs[0].shape)) return one(inputs[0].type, op.shape);
  return refuse(fmt::format("{} can't become {}: the numbers of elements differ",
                            takt::to_string(inputs[0].shape), takt::to_string(op.shape)));
}

Inferred infer(const Transpose& op, InputTypes inputs) {
  const Shape& from = inputs[0].shape;
  std::vector<int> sorted = op.permutation;
  std::ranges::sort(sorted);
  bool permutes = sorted.size() == from.size();
  for (std::size_t i = 0; permutes && i < sorted.size(); ++i)
    permutes = std::cmp_equal(sorted[i], i);
  if (!permutes) {
    return refuse(fmt::format("the permutation has no place for each dimension of {} once",
                              takt::to_string(from)));
  }
  Shape shape;
  for (const int from_dim : op.permutation)
    shape.push_back(from[static_cast<std::size_t>(from_dim)]);
  return one(inputs[0].type, std::move(shape));
}

Inferred infer(const Expand& op, InputTypes inputs) {
  Result<Shape> shape = broadcast(inputs[0].shape, op.shape);
  if (!shape) return std::unexpected(std::move(shape).error());
  if (*shape == op.shape) return one(inputs[0].type, op.shape);
  return refuse(fmt::format("{} can't be expanded to {}", takt::to_string(inputs[0].shape),
                            takt::to_string(op.shape)));
}

constexpr std::int64_t kJoinedMax = std::int64_t{1} << 40;  // as element_count has it

Inferred infer(const Concat& op, InputTypes inputs) {
  TensorType result = inputs[0];
  if (auto checked = check_axis(op.axis, result.shape); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const auto axis = static_cast<std::size_t>(op.axis);
  for (const TensorType& input : inputs.subspan(1)) {
    TensorType beside = input;
    if (beside.shape.size() == result.shape.size()) beside.shape[axis] = result.shape[axis];
    if (beside != result) {
      return refuse(fmt::format("{} and {} can't be joined along axis {}", to_string(inputs[0]),
                                to_string(input), op.axis));
    }
    result.shape[axis] += input.shape[axis];
    if (result.shape[axis] > kJoinedMax) return refuse("more elements than a tensor may have");
  }
  return one(result.type, std::move(result.shape));
}

bool lies_inside(const Slice& op, std::size_t i, std::int64_t length) {
  if (op.sizes[i] == 0) return true;
  if (op.sizes[i] < 0 || op.sizes[i] > length || op.steps[i] == 0) return false;
  if (op.starts[i] < 0 || op.starts[i] >= length) return false;
  if (op.sizes[i] == 1) return true;
  if (op.steps[i] >= length || op.steps[i] <= -length) return false;
  const std::int64_t last = op.starts[i] + (op.sizes[i] - 1) * op.steps[i];
  return last >= 0 && last < length;
}

Inferred infer(const Slice& op, InputTypes inputs) {
  const Shape& from = inputs[0].shape;
  const std::size_t rank = from.size();
  if (op.starts.size() != rank || op.steps.size() != rank || op.sizes.size() != rank) {
    return refuse(
        fmt::format("a slice of {} dimensions of {}", op.sizes.size(), takt::to_string(from)));
  }
  for (std::size_t i = 0; i < rank; ++i) {
    if (lies_inside(op, i, from[i])) continue;
    return refuse(fmt::format("{} elements from {} in steps of {} in dimension {} of {}",
                              op.sizes[i], op.starts[i], op.steps[i], i, takt::to_string(from)));
  }
  return one(inputs[0].type, op.sizes);
}

Inferred infer(const Pad& op, InputTypes inputs) {
  Shape shape = inputs[0].shape;
  if (op.begins.size() != shape.size() || op.ends.size() != shape.size()) {
    return refuse(
        fmt::format("padding of {} dimensions for {}", op.begins.size(), takt::to_string(shape)));
  }
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::int64_t most = std::max(op.begins[i], op.ends[i]);
    const std::int64_t limit = op.mode == PadMode::reflect    ? shape[i] - 1
                               : op.mode == PadMode::constant ? kDimensionMax
                               : shape[i] > 0                 ? kDimensionMax
                                                              : 0;
    if (op.begins[i] < 0 || op.ends[i] < 0 || most > limit) {
      return refuse(fmt::format("padding of {} and {} in dimension {} of {}", op.begins[i],
                                op.ends[i], i, takt::to_string(inputs[0].shape)));
    }
    shape[i] += op.begins[i] + op.ends[i];
  }
  return one(inputs[0].type, std::move(shape));
}

Result<void> check_indices(const TensorType& indices) {
  if (is_index(indices.type)) return {};
  return refuse(
      fmt::format("indices of {}; expected INT32 or INT64", takt::to_string(indices.type)));
}

Inferred infer(const Gather& op, InputTypes inputs) {
  const Shape& data = inputs[0].shape;
  if (auto checked = check_indices(inputs[1]); !checked) return std::unexpected(checked.error());
  if (auto checked = check_axis(op.axis, data); !checked) return std::unexpected(checked.error());
  Shape shape(data.begin(), data.begin() + op.axis);
  shape.insert(shape.end(), inputs[1].shape.begin(), inputs[1].shape.end());
  shape.insert(shape.end(), data.begin() + op.axis + 1, data.end());
  return one(inputs[0].type, std::move(shape));
}

Inferred infer(const GatherElements& op, InputTypes inputs) {
  const Shape& data = inputs[0].shape;
  const Shape& indices = inputs[1].shape;
  if (auto checked = check_indices(inputs[1]); !checked) return std::unexpected(checked.error());
  if (auto checked = check_axis(op.axis, data); !checked) return std::unexpected(checked.error());
  bool fits = data.size() == indices.size();
  for (std::size_t i = 0; fits && i < data.size(); ++i) {
    fits = std::cmp_equal(i, op.axis) || indices[i] <= data[i];
  }
  if (fits) return one(inputs[0].type, indices);
  return refuse(
      fmt::format("indices {} don't fit {}", takt::to_string(indices), takt::to_string(data)));
}

Inferred infer(const GatherNd& op, InputTypes inputs) {
  const Shape& data = inputs[0].shape;
  const Shape& indices = inputs[1].shape;
  if (auto checked = check_indices(inputs[1]); !checked) return std::unexpected(checked.error());
  const auto batch = static_cast<std::size_t>(op.batch_dims);
  const bool has_rows = !indices.empty() && indices.back() >= 0 && op.batch_dims >= 0 &&
                        batch < std::min(data.size(), indices.size());
  const std::size_t taken = has_rows ? batch + static_cast<std::size_t>(indices.back()) : 0;
  if (!has_rows || taken > data.size() ||
      !std::equal(data.begin(), data.begin() + op.batch_dims, indices.begin())) {
    return refuse(fmt::format("indices {} with {} batch dimensions don't fit {}",
                              takt::to_string(indices), op.batch_dims, takt::to_string(data)));
  }
  Shape shape(indices.begin(), indices.end() - 1);
  shape.insert(shape.end(), data.begin() + static_cast<std::ptrdiff_t>(taken), data.end());
  return one(inputs[0].type, std::move(shape));
}

Inferred infer(const Softmax& op, InputTypes inputs) {
  if (auto checked = check_axis(op.axis, inputs[0].shape); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  if (!is_floating(inputs[0].type)) return refuse("softmax of " + to_string(inputs[0]));
  return same_as(inputs[0]);
}

Inferred infer(const Reduce& op, InputTypes inputs) {
  Shape shape = inputs[0].shape;
  for (const int axis : op.axes) {
    if (auto checked = check_axis(axis, shape); !checked) return std::unexpected(checked.error());
    shape[static_cast<std::size_t>(axis)] = 1;
  }
  const bool ordered = op.kind == ReduceKind::max || op.kind == ReduceKind::min;
  if (inputs[0].type == DataType::boolean && !ordered) return refuse("a sum of BOOL");
  return one(inputs[0].type, std::move(shape));
}

Inferred infer(const ArgReduce& op, InputTypes inputs) {
  Shape shape = inputs[0].shape;
  if (auto checked = check_axis(op.axis, shape); !checked) return std::unexpected(checked.error());
  auto& size = shape[static_cast<std::size_t>(op.axis)];
  if (size == 0) return refuse("the largest or smallest of no elements");
  size = 1;
  return one(DataType::int64, std::move(shape));
}

Inferred infer(const TopK& op, InputTypes inputs) {
  Shape shape = inputs[0].shape;
  if (auto checked = check_axis(op.axis, shape); !checked) return std::unexpected(checked.error());
  auto& size = shape[static_cast<std::size_t>(op.axis)];
  if (op.k < 0 || op.k > size) {
    return refuse(fmt::format("the first {} of {} elements", op.k, size));
  }
  size = op.k;
  return std::vector<TensorType>{{inputs[0].type, shape}, {DataType::int64, shape}};
}

Inferred infer(const NonMaxSuppression& op, InputTypes inputs) {
  const Shape& boxes = inputs[0].shape;
  const Shape& scores = inputs[1].shape;
  if (boxes.size() != 3 || scores.size() != 3 || boxes[2] != 4 || boxes[0] != scores[0] ||
      boxes[1] != scores[2] || op.boxes_max < 0) {
    return refuse(fmt::format("boxes {} and scores {}; expected [N,boxes,4] and [N,classes,boxes]",
                              takt::to_string(boxes), takt::to_string(scores)));
  }
  const std::int64_t each = std::min(op.boxes_max, boxes[1]);
  return one(DataType::int64, {scores[0] * scores[1] * each, 3});
}

Result<void> check_scale(const TensorType& x, const TensorType& scale, int axis) {
  if (scale.shape.empty() || scale.shape == Shape{1}) return {};
  if (auto checked = check_axis(axis, x.shape); !checked) return checked;
  if (scale.shape == Shape{x.shape[static_cast<std::size_t>(axis)]}) return {};
  return refuse(fmt::format("a scale of {} for {} along axis {}", takt::to_string(scale.shape),
                            takt::to_string(x.shape), axis));
}

Inferred infer(const Quantize& op, InputTypes inputs) {
  if (inputs[2].type != op.to || inputs[2].shape != inputs[1].shape) {
    return refuse(fmt::format("a zero point {} beside a scale {} for {}", to_string(inputs[2]),
                              to_string(inputs[1]), takt::to_string(op.to)));
  }
  if (auto checked = check_scale(inputs[0], inputs[1], op.axis); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return one(op.to, inputs[0].shape);
}

Inferred infer(const Dequantize& op, InputTypes inputs) {
  if (inputs[2].type != inputs[0].type || inputs[2].shape != inputs[1].shape) {
    return refuse(fmt::format("a zero point {} beside a scale {} for {}", to_string(inputs[2]),
                              to_string(inputs[1]), to_string(inputs[0])));
  }
  if (auto checked = check_scale(inputs[0], inputs[1], op.axis); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return one(inputs[1].type, inputs[0].shape);
}

struct Arity {
  std::size_t least = 1, most = 1;
};
template <typename Op>
Arity arity(const Op& /*op*/) {
  return {1, 1};
}
constexpr std::size_t kAny = std::numeric_limits<std::size_t>::max();
Arity arity(const Binary& /*op*/) {
  return {2, 2};
}
Arity arity(const Select& /*op*/) {
  return {3, 3};
}
Arity arity(const Concat& /*op*/) {
  return {1, kAny};
}
Arity arity(const Gather& /*op*/) {
  return {2, 2};
}
Arity arity(const GatherElements& /*op*/) {
  return {2, 2};
}
Arity arity(const GatherNd& /*op*/) {
  return {2, 2};
}
Arity arity(const Conv& /*op*/) {
  return {2, 3};
}
Arity arity(const ConvTranspose& /*op*/) {
  return {2, 3};
}
Arity arity(const MatMul& /*op*/) {
  return {2, 2};
}
Arity arity(const LayerNorm& /*op*/) {
  return {2, 3};
}
Arity arity(const GroupNorm& /*op*/) {
  return {3, 3};
}
Arity arity(const NonMaxSuppression& /*op*/) {
  return {2, 2};
}
Arity arity(const Quantize& /*op*/) {
  return {3, 3};
}
Arity arity(const Dequantize& /*op*/) {
  return {3, 3};
}

}  // namespace

Result<void> check_axis(int axis, const Shape& shape) {
  if (axis >= 0 && std::cmp_less(axis, shape.size())) return {};
  return refuse(fmt::format("no axis {} in {}", axis, takt::to_string(shape)));
}

Result<Shape> broadcast(const Shape& a, const Shape& b) {
  Shape shape(std::max(a.size(), b.size()), 1);
  for (std::size_t back = 1; back <= shape.size(); ++back) {
    const std::int64_t from_a = back <= a.size() ? a[a.size() - back] : 1;
    const std::int64_t from_b = back <= b.size() ? b[b.size() - back] : 1;
    if (from_a != from_b && from_a != 1 && from_b != 1) {
      return refuse(
          fmt::format("{} and {} don't broadcast", takt::to_string(a), takt::to_string(b)));
    }
    shape[shape.size() - back] = from_a == 1 ? from_b : from_a;
  }
  return shape;
}

Result<std::vector<TensorType>> infer_types(const Operator& op, InputTypes inputs) {
  const auto infer_one = [inputs](const auto& one_op) -> Inferred {
    const Arity expected = arity(one_op);
    if (auto checked = check_count(inputs.size(), expected.least, expected.most); !checked) {
      return std::unexpected(std::move(checked).error());
    }
    return infer(one_op, inputs);
  };
  Inferred types = std::visit(infer_one, op);
  if (!types) return types;
  for (const TensorType& type : *types) {  // that products of sizes don't overflow later
    if (const auto bytes = byte_size(type.type, type.shape); !bytes) {
      return std::unexpected(bytes.error());
    }
  }
  return types;
}

}  // namespace takt::graph
