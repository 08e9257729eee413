// SPDX-License-Identifier: Apache-2.0
// Walks through tensors by strides: row by row with broadcasting, and along one axis.
// Thread-safe: pure functions. Owns: nothing. Private to this layer.
#pragma once

#include "core/tensor.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <vector>

namespace takt::graph {

// How many elements lie between two neighbours of each dimension.
using Strides = std::vector<std::int64_t>;

[[nodiscard]] inline std::int64_t product(std::span<const std::int64_t> sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{1}, std::multiplies<>());
}

[[nodiscard]] inline Strides dense_strides(const Shape& shape) {
  Strides strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

// Of a tensor of shape `from` that is read as one of shape `to`, as numpy broadcasts.
[[nodiscard]] inline Strides broadcast_strides(const Shape& from, const Shape& to) {
  const Strides dense = dense_strides(from);
  Strides strides(to.size(), 0);
  const std::size_t missing = to.size() - from.size();
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (from[i] != 1) strides[missing + i] = dense[i];
  }
  return strides;
}

// Elements along the last dimension: in tensor i `length` ones from offsets[i] on, steps[i] apart.
template <std::size_t N>
struct Row {
  std::int64_t length = 1;
  std::array<std::int64_t, N> offsets{};
  std::array<std::int64_t, N> steps{};
};

// Calls f(row) with each row of `shape`, in their order, and where it lies in N tensors.
template <std::size_t N, typename F>
void for_each_row(std::span<const std::int64_t> shape, const std::array<Strides, N>& strides, F f) {
  if (std::ranges::find(shape, 0) != shape.end()) return;
  Row<N> row;
  if (!shape.empty()) row.length = shape.back();
  for (std::size_t i = 0; i < N && !shape.empty(); ++i) row.steps[i] = strides[i].back();
  const std::size_t outer = shape.empty() ? 0 : shape.size() - 1;
  std::vector<std::int64_t> index(outer, 0);
  for (;;) {
    f(row);
    std::size_t d = outer;
    for (; d > 0; --d) {
      const bool wraps = ++index[d - 1] == shape[d - 1];
      const std::int64_t moved = wraps ? 1 - shape[d - 1] : 1;
      for (std::size_t i = 0; i < N; ++i) row.offsets[i] += moved * strides[i][d - 1];
      if (!wraps) break;
      index[d - 1] = 0;
    }
    if (d == 0) return;
  }
}

// A shape seen from one axis: element (o, i, n) lies at (o * length + i) * inner + n.
struct Lanes {
  std::int64_t outer = 1, length = 1, inner = 1;

  Lanes(const Shape& shape, int axis)
      : outer(product(std::span(shape).first(static_cast<std::size_t>(axis)))),
        length(shape[static_cast<std::size_t>(axis)]),
        inner(product(std::span(shape).subspan(static_cast<std::size_t>(axis) + 1))) {}

  [[nodiscard]] std::int64_t count() const noexcept { return outer * inner; }
  // Where a lane's first element lies; the others follow `inner` apart.
  [[nodiscard]] std::int64_t begin(std::int64_t lane) const noexcept {
    return lane / inner * length * inner + lane % inner;
  }
};

}  // namespace takt::graph
