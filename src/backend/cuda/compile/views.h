// SPDX-License-Identifier: Apache-2.0
// Views of views: other shapes of the same elements, without moving them.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "backend/cuda/compile/program.h"
#include "graph/operators.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace takt::cuda {

// Dimensions from the outermost in memory to the innermost.
using DimensionOrder = std::vector<int>;

[[nodiscard]] DimensionOrder row_order(std::size_t rank);  // 0, 1, 2, ...
[[nodiscard]] DimensionOrder channels_last(
    std::size_t rank);  // 0, 2, 3, ..., 1; of rank 2 and less row_order
// As the strides tell; where they don't (dimensions of size 1), as in `row_order`.
[[nodiscard]] DimensionOrder order_of(const View& view);

// Of a dense tensor whose dimensions lie in this order.
[[nodiscard]] std::vector<std::int64_t> ordered_strides(const Shape& shape,
                                                        const DimensionOrder& order);
[[nodiscard]] bool is_dense(const View& view);  // row by row, without gaps
// That every element of the view is a place of its own.
[[nodiscard]] bool is_injective(const View& view);
// Elements of the buffer from the view's first to its last.
[[nodiscard]] std::int64_t extent_elements(const View& view);

// The same elements in another shape, where strides can say it.
[[nodiscard]] std::optional<View> reshaped(const View& view, const Shape& shape);
[[nodiscard]] View transposed(const View& view, std::span<const int> permutation);
[[nodiscard]] View transposed_back(const View& view, std::span<const int> permutation);
// Where all steps are positive.
[[nodiscard]] std::optional<View> sliced(const View& view, const graph::Slice& slice);
[[nodiscard]] View part(const View& view, int axis, std::int64_t begin, std::int64_t size);
// As numpy broadcasts; the shapes fit.
[[nodiscard]] View broadcast(const View& view, const Shape& shape);

}  // namespace takt::cuda
