// SPDX-License-Identifier: Apache-2.0
// The index space of an element-wise kernel, brought into the form in which it is walked fastest.
// Thread-safe: pure functions. Owns: plain values. Private to the cuda backend.
#pragma once

#include "core/tensor.h"

#include <cstdint>
#include <vector>

namespace takt::cuda {

[[nodiscard]] std::int64_t product(const Shape& shape);  // how many elements it has

struct IndexSpace {
  Shape shape;                                     // outermost dimension first
  std::vector<std::vector<std::int64_t>> strides;  // of each tensor, as many as the shape has
};

// The same elements with fewer dimensions: none of size 1, those that every tensor walks in one go joined,
// and the order that of the last tensor's strides, so that neighbouring threads write neighbours.
[[nodiscard]] IndexSpace compacted(IndexSpace space);

}  // namespace takt::cuda
