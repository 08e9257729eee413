// SPDX-License-Identifier: Apache-2.0
// Element-wise operators as expressions of CUDA C++. Thread-safe: pure functions. Owns: plain values.
// Private to the cuda backend.
#pragma once

#include "backend/cuda/kernels/pointwise.h"

#include <span>
#include <string>
#include <string_view>

namespace takt::cuda {

// How elements of a type lie in memory, and what they are computed in: FP16 and BF16 as float.
[[nodiscard]] std::string_view stored_type(DataType type) noexcept;
[[nodiscard]] std::string_view computed_type(DataType type) noexcept;

// A number in the type that `type` is computed in.
[[nodiscard]] std::string literal(DataType type, double value);

// Below or equal to every number of `type`: -infinity, or the smallest integer.
[[nodiscard]] std::string lowest(DataType type);
[[nodiscard]] std::string highest(DataType type);

// What turns a stored element into a computed one, and back.
[[nodiscard]] std::string loaded(DataType type, std::string_view element);
[[nodiscard]] std::string stored(DataType type, std::string_view value);

// The step's result from its arguments, of these types. Where it is stored in 16 bits anyway, exponentials and
// quotients may be `approximate`: with some 10 units in the last place of FP32 wrong, at half the time.
[[nodiscard]] std::string expression(const PointwiseStep& step, std::span<const DataType> types,
                                     std::span<const std::string> arguments, bool approximate);
// exp(x) in numbers of `type`.
[[nodiscard]] std::string exponential(DataType type, std::string_view x, bool approximate);

}  // namespace takt::cuda
