// SPDX-License-Identifier: Apache-2.0
// In which numbers a model is computed.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/tensor.h"

#include <cstdint>
#include <optional>
#include <string_view>

namespace takt::cuda {

enum class Precision : std::uint8_t {
  fp32,
  tf32,  // FP32, but products of convolutions and matrices are rounded to 10 bits of mantissa
  fp16,  // FP32 values are stored in 16 bits, sums are FP32
  bf16,
};
[[nodiscard]] std::string_view to_string(Precision precision) noexcept;
// In which the operands of products are stored.
[[nodiscard]] DataType product_type(Precision precision) noexcept;
[[nodiscard]] std::optional<Precision> parse_precision(std::string_view text) noexcept;

}  // namespace takt::cuda
