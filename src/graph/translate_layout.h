// SPDX-License-Identifier: Apache-2.0
// The parts of the layout family that stand in files of their own.
// Thread-safe: pure functions. Owns: nothing. Private to this layer.
#pragma once

#include "graph/node_reader.h"

#include <cstdint>
#include <span>
#include <vector>

namespace takt::graph {

// Elements of a constant that a node makes of a few numbers, such as Range.
inline constexpr std::int64_t kMadeElementsMax = std::int64_t{1} << 24;
// That a constant of this shape may be made.
[[nodiscard]] Result<void> check_made(const Shape& shape);

// As dimensions of a tensor with `rank` of them, in the order given; none twice.
[[nodiscard]] Result<std::vector<int>> distinct_axes(const NodeReader& node,
                                                     std::span<const std::int64_t> axes, int rank);

// translate_slice.cc
[[nodiscard]] Values translate_slice(const NodeReader& node);
[[nodiscard]] Values translate_split(const NodeReader& node);
[[nodiscard]] Values translate_pad(const NodeReader& node);
// translate_made.cc: constants, and what is selected by them
[[nodiscard]] Values translate_constant(const NodeReader& node);
[[nodiscard]] Values translate_constant_of_shape(const NodeReader& node);
[[nodiscard]] Values translate_range(const NodeReader& node);
[[nodiscard]] Values translate_eye_like(const NodeReader& node);
[[nodiscard]] Values translate_one_hot(const NodeReader& node);
[[nodiscard]] Values translate_trilu(const NodeReader& node);
[[nodiscard]] Values translate_non_zero(const NodeReader& node);
[[nodiscard]] Values translate_compress(const NodeReader& node);
// translate_scatter.cc
[[nodiscard]] Values translate_scatter_nd(const NodeReader& node);
[[nodiscard]] Values translate_scatter_elements(const NodeReader& node);

}  // namespace takt::graph
