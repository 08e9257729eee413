// SPDX-License-Identifier: Apache-2.0
// What the parts of infer_types share. Thread-safe: pure functions. Owns: nothing.
// Private to this layer.
#pragma once

#include "graph/graph.h"

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace takt::graph {

using Inferred = Result<std::vector<TensorType>>;
using InputTypes = std::span<const TensorType>;

inline constexpr std::int64_t kDimensionMax = std::int64_t{1} << 31;

inline std::unexpected<Error> refuse(std::string message) {
  return fail(ErrorKind::invalid_input, std::move(message));
}
inline Inferred one(DataType type, Shape shape) {
  return std::vector<TensorType>{{type, std::move(shape)}};
}
[[nodiscard]] Result<void> check_axis(int axis, const Shape& shape);

// The shape of what is computed element by element from both, as numpy has it.
[[nodiscard]] Result<Shape> broadcast(const Shape& a, const Shape& b);

// infer_windows.cc: what looks at windows of images, products and norms.
[[nodiscard]] Inferred infer(const Conv& op, InputTypes inputs);
[[nodiscard]] Inferred infer(const ConvTranspose& op, InputTypes inputs);
[[nodiscard]] Inferred infer(const Pool& op, InputTypes inputs);
[[nodiscard]] Inferred infer(const Resize& op, InputTypes inputs);
[[nodiscard]] Inferred infer(const MatMul& op, InputTypes inputs);
[[nodiscard]] Inferred infer(const LayerNorm& op, InputTypes inputs);
[[nodiscard]] Inferred infer(const GroupNorm& op, InputTypes inputs);
[[nodiscard]] Inferred infer(const LocalResponseNorm& op, InputTypes inputs);

}  // namespace takt::graph
