// SPDX-License-Identifier: Apache-2.0
// Which elements of the input a resized element is made of, dimension by dimension: computed here for tables
// in a kernel's text, or by a kernel of its own where tables would be long.
// Thread-safe: pure functions.
// Owns: plain values.
// Private to the cuda backend.
#pragma once

#include "backend/cuda/kernels/kernel_source.h"
#include "core/result.h"
#include "core/tensor.h"
#include "graph/operators.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace takt::cuda {

// Where the output's element x lies in the input: base + ((x + shift) * factor * factor2 / divisor + bias),
// in double and in this order. So both processors round as the formulas of ONNX do, and a place between
// two elements falls to the same one.
struct Coordinates {
  double shift = 0, factor = 1, factor2 = 1, divisor = 1, bias = 0, base = 0;
  bool crops = false;  // places outside of the input have the extrapolation value

  [[nodiscard]] double at(std::int64_t x) const {
    const double scaled = (static_cast<double>(x) + shift) * factor * factor2 / divisor;
    return base + (scaled + bias);
  }
};

// One dimension of a Resize.
struct ResizeAxis {
  std::int64_t input = 0, output = 0;  // sizes, below 2^31
  double scale = 1;
  Coordinates coordinates;

  [[nodiscard]] bool keeps_places() const;  // each element is the input's at the same place
};
[[nodiscard]] ResizeAxis resize_axis(const graph::Resize& op, const Shape& input, std::size_t dim);

// In `first`: the extrapolation value.
inline constexpr std::int32_t kNoSource = -2147483647;

// Element x is the sum over k of weights[x * taps + k] times the input's element first[x] + k, which stands
// for the nearer end where it is outside. Of mode nearest it is the input's element first[x]; there are no
// weights then.
struct TapTable {
  int taps = 0;
  std::vector<std::int32_t> first;
  std::vector<double> weights;
};

// Of mode nearest: where element x comes from; kNoSource.
[[nodiscard]] std::int32_t nearest_source(const graph::Resize& op, const ResizeAxis& axis,
                                          std::int64_t x);
// Taps of an element; 0: nearest. Errors: invalid_input (an antialiasing filter over too many elements, or
// numbers that aren't finite).
[[nodiscard]] Result<int> tap_count(const graph::Resize& op, const ResizeAxis& axis);
[[nodiscard]] TapTable tap_table(const graph::Resize& op, const ResizeAxis& axis, int taps);
// Writes the table on the device: its arguments are int* first and, unless nearest, `number`* weights.
[[nodiscard]] KernelSource tap_kernel(const graph::Resize& op, const ResizeAxis& axis, int taps,
                                      DataType number, const std::string& step);

}  // namespace takt::cuda
