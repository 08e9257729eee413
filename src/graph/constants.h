// SPDX-License-Identifier: Apache-2.0
// Small constants for the translation of nodes, and the numbers in given ones.
// Thread-safe: pure functions.
// Owns: nothing. Private to this layer.
#pragma once

#include "core/result.h"
#include "graph/graph.h"

#include <cstdint>
#include <span>
#include <vector>

namespace onnx {
class TensorProto;
}

namespace takt::graph {

// Element by element rounded to `type` (to integers towards zero and within their limits; BOOL: not 0). `values` fill the shape.
[[nodiscard]] Constant constant_of(DataType type, Shape shape, std::span<const double> values);
[[nodiscard]] Constant constant_of(DataType type, Shape shape,
                                   std::span<const std::int64_t> values);
// Of shape [].
[[nodiscard]] Constant scalar_of(DataType type, double value);

// Its elements, whatever their type is. UINT64 beyond INT64 wraps, floating point goes towards zero and stops at the limits.
[[nodiscard]] std::vector<std::int64_t> integers_in(const Constant& constant);
[[nodiscard]] std::vector<double> numbers_in(const Constant& constant);

// Errors: invalid_input, without the tensor's name: strings, types that takt doesn't know, external
// data, a shape or elements that don't fit.
[[nodiscard]] Result<Constant> constant_from(const onnx::TensorProto& tensor);
[[nodiscard]] Result<TensorType> type_of(const onnx::TensorProto& tensor);

}  // namespace takt::graph
