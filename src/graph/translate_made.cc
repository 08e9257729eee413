// SPDX-License-Identifier: Apache-2.0
// Constants that a node makes, and what is selected by them.
#include "graph/composition.h"
#include "graph/constants.h"
#include "graph/infer_types.h"
#include "graph/translate_layout.h"
#include "repository/onnx_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace takt::graph {

using takt::to_string;  // of shapes
namespace {

Values known(const NodeReader& node, Constant constant) {
  return std::vector{node.builder().add_constant(std::move(constant))};
}

Values known(const NodeReader& node, const onnx::TensorProto& tensor) {
  Result<Constant> constant = constant_from(tensor);
  if (!constant) return std::unexpected(std::move(constant).error());
  return known(node, std::move(*constant));
}

std::int64_t count_of(const auto& list) {
  return static_cast<std::int64_t>(list.size());
}

}  // namespace

Values translate_constant(const NodeReader& node) {
  if (const onnx::TensorProto* tensor = node.tensor("value")) return known(node, *tensor);
  if (node.has("value_int")) {
    const std::int64_t value = node.integer("value_int", 0);
    return known(node, constant_of(DataType::int64, {}, std::span(&value, 1)));
  }
  if (node.has("value_float")) {
    return known(node, scalar_of(DataType::fp32, node.number("value_float", 0)));
  }
  if (node.has("value_ints")) {
    const std::vector<std::int64_t> values = node.integers("value_ints");
    return known(node, constant_of(DataType::int64, {count_of(values)}, values));
  }
  if (node.has("value_floats")) {
    const std::vector<float> values = node.numbers("value_floats");
    const std::vector<double> wide(values.begin(), values.end());
    return known(node, constant_of(DataType::fp32, {count_of(wide)}, wide));
  }
  return NodeReader::refuse(
      "the constant has no numbers, or sparse ones; export the model with dense constants");
}

Values translate_constant_of_shape(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 1); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  Result<Shape> shape = node.integers_of(0);
  if (!shape) return std::unexpected(std::move(shape).error());
  Constant value = scalar_of(DataType::fp32, 0);
  if (const onnx::TensorProto* tensor = node.tensor("value")) {
    Result<Constant> given = constant_from(*tensor);
    if (!given) return std::unexpected(std::move(given).error());
    value = std::move(*given);
  }
  if (element_count(value.type.shape).value_or(0) != 1) {
    return NodeReader::refuse(
        fmt::format("attribute 'value' is {}; expected one element", to_string(value.type)));
  }
  value.type.shape.clear();
  Composition graph(node.builder());
  const ValueId scalar = node.builder().add_constant(std::move(value));
  return graph.finish({graph.expand(scalar, std::move(*shape))});
}

namespace {

double element_at(double start, double delta, std::size_t index) {
  return start + static_cast<double>(index) * delta;
}

// The product may leave INT64 on the way to a sum that doesn't: unsigned, that is no harm.
std::int64_t element_at(std::int64_t start, std::int64_t delta, std::size_t index) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(start) +
                                   index * static_cast<std::uint64_t>(delta));
}

template <typename Number>
Values range_of(const NodeReader& node, Number start, Number delta, double count) {
  const DataType type = node.type(0).type;
  // Written so that a count that is no number is refused too.
  if (!(count <= static_cast<double>(kMadeElementsMax))) {
    return NodeReader::refuse(
        fmt::format("it makes {} elements; at most {} are made", count, kMadeElementsMax));
  }
  std::vector<Number> values(static_cast<std::size_t>(std::max(count, 0.0)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = element_at(start, delta, i);
  return known(node, constant_of(type, {count_of(values)}, std::span<const Number>(values)));
}

// How often `delta` goes into the way from `start` to `limit`, rounded up. The way may be longer
// than INT64 has numbers, but not UINT64.
double integer_count(std::int64_t start, std::int64_t limit, std::int64_t delta) {
  if (delta > 0 ? limit <= start : limit >= start) return 0;
  const auto from = static_cast<std::uint64_t>(start);
  const auto to = static_cast<std::uint64_t>(limit);
  const auto step = static_cast<std::uint64_t>(delta);
  return static_cast<double>(delta > 0 ? (to - from - 1) / step : (from - to - 1) / (0 - step)) + 1;
}

Result<double> only_number(const NodeReader& node, std::size_t index) {
  const Result<std::vector<double>> numbers = node.numbers_of(index);
  if (!numbers) return std::unexpected(numbers.error());
  if (numbers->size() == 1) return numbers->front();
  return NodeReader::refuse(
      fmt::format("its input {} has {} elements; expected one", index, numbers->size()));
}

Result<std::int64_t> only_integer(const NodeReader& node, std::size_t index) {
  const Result<std::vector<std::int64_t>> integers = node.integers_of(index);
  if (!integers) return std::unexpected(integers.error());
  if (integers->size() == 1) return integers->front();
  return NodeReader::refuse(
      fmt::format("its input {} has {} elements; expected one", index, integers->size()));
}

Values integer_range(const NodeReader& node) {
  const Result<std::int64_t> start = only_integer(node, 0);
  if (!start) return std::unexpected(start.error());
  const Result<std::int64_t> limit = only_integer(node, 1);
  if (!limit) return std::unexpected(limit.error());
  const Result<std::int64_t> delta = only_integer(node, 2);
  if (!delta) return std::unexpected(delta.error());
  if (*delta == 0) return NodeReader::refuse("its delta is 0");
  return range_of(node, *start, *delta, integer_count(*start, *limit, *delta));
}

}  // namespace

Values translate_range(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(3, 3); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const DataType type = node.type(0).type;
  if (node.type(1).type != type || node.type(2).type != type) {
    return NodeReader::refuse("start, limit and delta have different types");
  }
  if (!is_floating(type)) return integer_range(node);
  const Result<double> start = only_number(node, 0);
  if (!start) return std::unexpected(start.error());
  const Result<double> limit = only_number(node, 1);
  if (!limit) return std::unexpected(limit.error());
  const Result<double> delta = only_number(node, 2);
  if (!delta) return std::unexpected(delta.error());
  if (*delta == 0) return NodeReader::refuse("its delta is 0");
  return range_of(node, *start, *delta, std::ceil((*limit - *start) / *delta));
}

namespace {

// Ones where `chosen(row, column)`.
template <typename Chosen>
Result<Constant> matrix_of(DataType type, const Shape& shape, Chosen chosen) {
  if (Result<void> checked = check_made(shape); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  std::vector<std::int64_t> values;
  values.reserve(static_cast<std::size_t>(product(shape)));
  for (std::int64_t row = 0; row < shape[0]; ++row) {
    for (std::int64_t column = 0; column < shape[1]; ++column) {
      values.push_back(chosen(row, column) ? 1 : 0);
    }
  }
  return constant_of(type, shape, std::span<const std::int64_t>(values));
}

// A diagonal's number; beyond the matrix all are alike.
std::int64_t diagonal(std::int64_t written) {
  return std::clamp(written, -kDimensionMax, kDimensionMax);
}

}  // namespace

Values translate_eye_like(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 1); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  DataType type = node.type(0).type;
  if (node.has("dtype")) {
    const auto code = static_cast<std::int32_t>(node.integer("dtype", 0));
    const auto asked = repository::from_onnx_type(code);
    if (!asked || *asked == DataType::bytes) {
      return NodeReader::refuse(
          fmt::format("element type {}; expected numbers", repository::onnx_type_name(code)));
    }
    type = *asked;
  }
  if (node.rank(0) != 2) {
    return NodeReader::refuse(
        fmt::format("its input is {}; expected two dimensions", to_string(node.type(0))));
  }
  const std::int64_t k = diagonal(node.integer("k", 0));
  Result<Constant> eye = matrix_of(type, node.shape(0), [k](std::int64_t row, std::int64_t column) {
    return column - row == k;
  });
  if (!eye) return std::unexpected(std::move(eye).error());
  return known(node, std::move(*eye));
}

Values translate_trilu(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Shape shape = node.shape(0);
  if (shape.size() < 2) {
    return NodeReader::refuse(
        fmt::format("its input is {}; expected matrices", to_string(node.type(0))));
  }
  const Result<std::int64_t> given =
      node.has_input(1) ? only_integer(node, 1) : Result<std::int64_t>(0);
  if (!given) return std::unexpected(given.error());
  const std::int64_t k = diagonal(*given);
  const bool upper = node.integer("upper", 1) != 0;
  Result<Constant> kept = matrix_of(DataType::boolean, Shape(shape.end() - 2, shape.end()),
                                    [k, upper](std::int64_t row, std::int64_t column) {
                                      return upper ? column - row >= k : column - row <= k;
                                    });
  if (!kept) return std::unexpected(std::move(kept).error());
  Composition graph(node.builder());
  const ValueId mask = node.builder().add_constant(std::move(*kept));
  const ValueId zero = graph.constant(graph.type(node.input(0)).type, 0.0);
  return graph.finish({graph.add(Select{}, {mask, node.input(0), zero})});
}

namespace {

// In a type that holds every place of `depth`, not negative where they count from the end.
ValueId places(Composition& graph, ValueId indices, std::int64_t depth) {
  const DataType type = graph.type(indices).type;
  if (type != DataType::int32) indices = graph.cast(indices, DataType::int64);
  const ValueId from_end =
      graph.binary(BinaryKind::less, indices, graph.constant(graph.type(indices).type, 0.0));
  const ValueId moved = graph.binary(BinaryKind::add, indices, static_cast<double>(depth));
  return graph.add(Select{}, {from_end, moved, indices});
}

// One of the two `values`, as a scalar.
ValueId value_at(Composition& graph, ValueId values, std::int64_t index) {
  return graph.reshape(graph.add(Slice{{index}, {1}, {1}}, {values}), {});
}

}  // namespace

Values translate_one_hot(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(3, 3); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Result<std::vector<double>> given = node.numbers_of(1);
  if (!given) return std::unexpected(given.error());
  const bool counts = given->size() == 1 && given->front() >= 0 &&
                      given->front() <= static_cast<double>(kMadeElementsMax);
  if (!counts || node.shape(2) != Shape{2}) {
    return NodeReader::refuse(fmt::format(
        "its depth must be one number from 0 to {} and its values [2], but are {} and {}",
        kMadeElementsMax, to_string(node.type(1)), to_string(node.type(2))));
  }
  const auto depth = static_cast<std::int64_t>(given->front());
  const Result<int> axis = node.axis(node.integer("axis", -1), node.rank(0) + 1);
  if (!axis) return std::unexpected(axis.error());
  Shape spread = node.shape(0);
  spread.insert(spread.begin() + *axis, 1);
  Shape line(spread.size(), 1);
  line[static_cast<std::size_t>(*axis)] = depth;
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(depth));
  std::iota(numbers.begin(), numbers.end(), 0);

  Composition graph(node.builder());
  const ValueId indices = graph.reshape(places(graph, node.input(0), depth), std::move(spread));
  const ValueId classes = node.builder().add_constant(constant_of(
      graph.type(indices).type, std::move(line), std::span<const std::int64_t>(numbers)));
  const ValueId hot = graph.binary(BinaryKind::equal, indices, classes);
  const ValueId off = value_at(graph, node.input(2), 0);
  const ValueId on = value_at(graph, node.input(2), 1);
  return graph.finish({graph.add(Select{}, {hot, on, off})});
}

namespace {

// Places of the elements that aren't zero, as rows [dimension][which].
std::vector<std::int64_t> places_of(const std::vector<double>& numbers, const Shape& shape) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (numbers[i] != 0) found.push_back(i);
  }
  std::vector<std::int64_t> places;
  std::int64_t stride = product(shape);
  for (const std::int64_t size : shape) {
    if (size != 0) stride /= size;
    for (const std::size_t at : found) {
      places.push_back(static_cast<std::int64_t>(at) / stride % size);
    }
  }
  return places;
}

}  // namespace

Values translate_non_zero(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 1); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Result<std::vector<double>> numbers = node.numbers_of(0);
  if (!numbers) return std::unexpected(numbers.error());
  // As numpy has it of a number alone.
  const Shape shape = node.shape(0).empty() ? Shape{1} : node.shape(0);
  const std::int64_t rank = count_of(shape);
  const auto found = std::ranges::count_if(*numbers, [](double number) { return number != 0; });
  if (Result<void> checked = check_made({rank, found}); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return known(node, constant_of(DataType::int64, {rank, found}, places_of(*numbers, shape)));
}

Values translate_compress(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(2, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Result<std::vector<std::int64_t>> condition = node.integers_of(1);
  if (!condition) return std::unexpected(condition.error());
  Composition graph(node.builder());
  ValueId data = node.input(0);
  if (!node.has("axis")) data = graph.reshape(data, {product(node.shape(0))});
  const int rank = static_cast<int>(node.builder().shape(data).size());
  const Result<int> axis = node.axis(node.integer("axis", 0), rank);
  if (!axis) return std::unexpected(axis.error());
  std::vector<std::int64_t> kept;
  for (std::size_t i = 0; i < condition->size(); ++i) {
    if ((*condition)[i] != 0) kept.push_back(static_cast<std::int64_t>(i));
  }
  const std::int64_t size = node.builder().shape(data)[static_cast<std::size_t>(*axis)];
  if (!kept.empty() && kept.back() >= size) {
    return NodeReader::refuse(fmt::format("it selects element {} of {}", kept.back(), size));
  }
  const ValueId indices = node.builder().add_constant(
      constant_of(DataType::int64, {count_of(kept)}, std::span<const std::int64_t>(kept)));
  return graph.finish({graph.add(Gather{*axis}, {data, indices})});
}

}  // namespace takt::graph
