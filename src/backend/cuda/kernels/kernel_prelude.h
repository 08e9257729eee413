// SPDX-License-Identifier: Apache-2.0
// What every generated kernel may use: 16-bit floats, elements that move together,
// and arithmetic that C++ leaves undefined.
// Text for the runtime compiler, which brings no headers of its own: `takt_kernel.h`. It includes
// kernel_instructions.h as `takt_instructions.h`.
// Thread-safe: yes, a constant.
// Owns: nothing.
#pragma once

namespace takt::cuda {

inline constexpr char kKernelPrelude[] = R"cuda(
#pragma once
#include <takt_instructions.h>

namespace takt {

// 16-bit floats are bits until they become float. Rounding is to the nearest, of two to the even;
// beyond the largest there is infinity.
struct fp16 { unsigned short bits; };
struct bf16 { unsigned short bits; };

__device__ __forceinline__ float to_float(float value) { return value; }

__device__ __forceinline__ float to_float(fp16 value) { return float_of_fp16(value.bits); }

__device__ __forceinline__ float to_float(bf16 value) {
  return __uint_as_float(static_cast<unsigned>(value.bits) << 16);
}

template <typename Element>
__device__ Element from_float(float value);

template <>
__device__ __forceinline__ float from_float<float>(float value) { return value; }

template <>
__device__ __forceinline__ fp16 from_float<fp16>(float value) {
  return {fp16_of_float(value)};
}

template <>
__device__ __forceinline__ bf16 from_float<bf16>(float value) {
  bf16 result;
#if __CUDA_ARCH__ >= 800
  result.bits = bf16_of_float(value);
#else
  const unsigned bits = __float_as_uint(value);
  const unsigned even = bits >> 16 & 1;
  result.bits = value != value ? 0x7fff : bits + 0x7fff + even >> 16;
#endif
  return result;
}

// Elements that are read and written together, by one instruction up to 16 bytes. Addresses are multiples
// of their size.
template <typename Element, int count>
struct alignas(sizeof(Element) * count) Elements {
  Element at[count];
};

// The value of the thread of this warp whose number differs by `lane`. All threads of the warp ask.
template <typename Value>
__device__ __forceinline__ Value of_lane(Value value, int lane) {
  static_assert(sizeof(Value) % 4 == 0);
  union { Value value; unsigned words[sizeof(Value) / 4]; } bits = {value};
#pragma unroll
  for (unsigned i = 0; i < sizeof(Value) / 4; ++i) {
    bits.words[i] = __shfl_xor_sync(~0u, bits.words[i], lane);
  }
  return bits.value;
}

// Floating point to integers towards zero; beyond the limits the limit, and 0 for NaN.
template <typename To, typename From>
__device__ __forceinline__ To saturate(From value) {
  constexpr bool is_signed = static_cast<To>(-1) < static_cast<To>(0);
  constexpr int bits = 8 * sizeof(To) - (is_signed ? 1 : 0);
  constexpr To most = static_cast<To>(~0ull >> (64 - bits));
  constexpr To least = is_signed ? static_cast<To>(-most - 1) : static_cast<To>(0);
  constexpr From end = static_cast<From>(2) * static_cast<From>(1ull << (bits - 1));
  if (value != value) return 0;
  if (value <= static_cast<From>(least)) return least;
  return value >= end ? most : static_cast<To>(value);
}

// The remainder with the divisor's sign.
template <typename Integer>
__device__ __forceinline__ Integer floor_mod(Integer a, Integer b) {
  const Integer remainder = a % b;
  return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
}
__device__ __forceinline__ float floor_mod(float a, float b) {
  const float remainder = fmodf(a, b);
  if (remainder == 0) return copysignf(0.0f, b);
  return (remainder < 0) != (b < 0) ? remainder + b : remainder;
}
__device__ __forceinline__ double floor_mod(double a, double b) {
  const double remainder = fmod(a, b);
  if (remainder == 0) return copysign(0.0, b);
  return (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

// Exact, and wrapping around. A negative exponent leaves 1 and -1 of what isn't 0.
template <typename Integer>
__device__ __forceinline__ Integer integer_power(Integer base, long long exponent) {
  if (exponent < 0) {
    if (base == 1) return 1;
    const bool minus_one = static_cast<Integer>(-1) < static_cast<Integer>(0) &&
                           base == static_cast<Integer>(-1);
    return minus_one ? (exponent % 2 == 0 ? 1 : -1) : 0;
  }
  unsigned long long result = 1;
  unsigned long long factor = static_cast<unsigned long long>(base);
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 != 0) result *= factor;
    factor *= factor;
  }
  return static_cast<Integer>(result);
}

}  // namespace takt
)cuda";

}  // namespace takt::cuda
