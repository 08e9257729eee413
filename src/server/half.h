// SPDX-License-Identifier: Apache-2.0
// 16-bit floating-point numbers as 32-bit ones.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace takt::server {

// IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits.
[[nodiscard]] inline float widen_fp16(std::uint16_t bits) {
  const std::uint32_t exponent = bits >> 10U & 0x1fU;
  const std::uint32_t fraction = bits & 0x3ffU;
  const float sign = (bits & 0x8000U) != 0 ? -1.0F : 1.0F;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  if (exponent == 0x1fU) {
    const std::uint32_t wide = (bits & 0x8000U) << 16U | 0x7f800000U | fraction << 13U;
    return std::bit_cast<float>(wide);
  }
  return sign * std::ldexp(static_cast<float>(fraction | 0x400U), static_cast<int>(exponent) - 25);
}

// The upper half of binary32.
[[nodiscard]] inline float widen_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

}  // namespace takt::server
