// SPDX-License-Identifier: Apache-2.0
#include "graph/composition.h"

#include "graph/constants.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace takt::graph {
ValueId Composition::add(Operator op, std::vector<ValueId> inputs) {
  const ValueId first = inputs.front();
  if (failed()) return first;
  Result<ValueId> added = builder_.add(std::move(op), std::move(inputs));
  if (added) return *added;
  error_ = std::move(added).error();
  return first;
}

ValueId Composition::binary(BinaryKind kind, ValueId x, double number) {
  return binary(kind, x, constant(type(x).type, number));
}

ValueId Composition::reshape(ValueId x, Shape to) {
  return to == shape(x) ? x : add(Reshape{std::move(to)}, {x});
}

ValueId Composition::transpose(ValueId x, std::vector<int> permutation) {
  return std::ranges::is_sorted(permutation) ? x : add(Transpose{std::move(permutation)}, {x});
}

ValueId Composition::expand(ValueId x, Shape to) {
  return to == shape(x) ? x : add(Expand{std::move(to)}, {x});
}

ValueId Composition::cast(ValueId x, DataType to) {
  return to == type(x).type ? x : add(Cast{to}, {x});
}

ValueId Composition::slice(ValueId x, std::size_t axis, std::int64_t start, std::int64_t size) {
  if (failed()) return x;
  const Shape& from = shape(x);
  if (size == from[axis]) return x;
  Slice slice{std::vector<std::int64_t>(from.size(), 0), std::vector<std::int64_t>(from.size(), 1),
              from};
  slice.starts[axis] = start;
  slice.sizes[axis] = size;
  return add(std::move(slice), {x});
}

ValueId Composition::squeeze(ValueId x, std::span<const int> axes) {
  if (failed()) return x;
  Shape kept;
  for (std::size_t i = 0; i < shape(x).size(); ++i) {
    if (std::ranges::find(axes, static_cast<int>(i)) == axes.end()) kept.push_back(shape(x)[i]);
  }
  return reshape(x, std::move(kept));
}

ValueId Composition::constant(DataType type, Shape shape, std::span<const double> numbers) {
  if (numbers.size() != 1) {
    return builder_.add_constant(constant_of(type, std::move(shape), numbers));
  }
  const std::vector<double> repeated(static_cast<std::size_t>(product(shape)), numbers[0]);
  return builder_.add_constant(constant_of(type, std::move(shape), repeated));
}

void Composition::refuse(std::string message) {
  if (!failed()) error_ = Error{ErrorKind::invalid_input, std::move(message)};
}

Values Composition::finish(std::vector<ValueId> outputs) {
  if (failed()) return std::unexpected(*std::move(error_));
  return outputs;
}

std::vector<int> first_axes(int count) {
  std::vector<int> axes(static_cast<std::size_t>(std::max(count, 0)));
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

}  // namespace takt::graph
