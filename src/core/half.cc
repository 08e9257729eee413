// SPDX-License-Identifier: Apache-2.0
#include "core/half.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace takt {
namespace {

constexpr std::uint16_t kInfinity = 0x7c00;  // of FP16
constexpr int kExponentMin = -14;            // of FP16's normal numbers

}  // namespace

float from_fp16(std::uint16_t bits) noexcept {
  const int exponent = (bits >> 10) & 0x1f;
  const int fraction = bits & 0x3ff;
  float value = 0;
  if (exponent == 0x1f) {
    value = fraction == 0 ? std::numeric_limits<float>::infinity()
                          : std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(fraction), kExponentMin - 10);
  } else {
    value = std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

std::uint16_t to_fp16(float value) noexcept {
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return sign | 0x7e00;
  const float size = std::abs(value);
  if (!(size < 0x1p16F)) return sign | kInfinity;
  const int exponent = size < 0x1p-14F ? kExponentMin : std::ilogb(size);
  // In units of the last place, up to 2048: a carry goes on into the exponent by itself.
  const auto fraction = std::lrint(std::ldexp(size, 10 - exponent));
  const auto magnitude = ((exponent - kExponentMin) << 10) + fraction;
  return static_cast<std::uint16_t>(sign | std::min<long>(magnitude, kInfinity));
}

std::uint16_t to_bf16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16U) | 0x40U);
  const std::uint32_t even = (bits >> 16U) & 1U;
  return static_cast<std::uint16_t>((bits + 0x7fffU + even) >> 16U);
}

}  // namespace takt
