// SPDX-License-Identifier: Apache-2.0
// 16-bit floating-point numbers as bits: FP16 (IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction
// bits) and BF16 (the upper half of a binary32).
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include <bit>
#include <cstdint>

namespace takt {

// Exact.
[[nodiscard]] float from_fp16(std::uint16_t bits) noexcept;
[[nodiscard]] constexpr float from_bf16(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(std::uint32_t{bits} << 16U);
}

// The nearest one, of two the even; beyond the largest, infinity.
[[nodiscard]] std::uint16_t to_fp16(float value) noexcept;
[[nodiscard]] std::uint16_t to_bf16(float value) noexcept;

}  // namespace takt
