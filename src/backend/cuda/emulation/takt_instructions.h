// SPDX-License-Identifier: Apache-2.0
// The functions of kernel_instructions.h for the CPU, and those of tensor cores. Found by the prelude of
// emulated kernels and by nothing else. C++17.
// Thread-safe: no.
// Owns: nothing.
#pragma once

#include "backend/cuda/emulation/cuda_words.h"

namespace takt {

inline float float_of_fp16(unsigned short bits) {
  const unsigned sign = static_cast<unsigned>(bits & 0x8000) << 16;
  const unsigned exponent = bits >> 10 & 31;
  const unsigned fraction = bits & 0x3ff;
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | fraction << 13);
  if (exponent == 0) return (sign != 0 ? -0x1p-24f : 0x1p-24f) * static_cast<float>(fraction);
  return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
}

inline unsigned short fp16_of_float(float value) {
  const unsigned bits = __float_as_uint(value);
  const unsigned sign = bits >> 16 & 0x8000;
  const unsigned size = bits & 0x7fffffff;
  if (size > 0x7f800000) return 0x7fff;
  if (size >= 0x477ff000) return static_cast<unsigned short>(sign | 0x7c00);  // 65520 and beyond
  if (size < 0x38800000) {
    // Below 2^-14: the last place of a number from 0.5 to 1 is 2^-24, as that of the result.
    const float shifted = __uint_as_float(size) + 0.5f;
    return static_cast<unsigned short>(sign | (__float_as_uint(shifted) - 0x3f000000));
  }
  const unsigned rounded = size + 0xfff + (size >> 13 & 1);
  return static_cast<unsigned short>(sign | ((rounded >> 13) - (112u << 10)));
}

// Exact where the GPU is approximate.
inline float quick_exp(float x) {
  return expf(x);
}
inline float quick_quotient(float a, float b) {
  return a / b;
}

inline unsigned short bf16_of_float(float value) {
  const unsigned bits = __float_as_uint(value);
  if (value != value) return 0x7fff;
  return static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float larger_fp32(float a, float b) {
  if (a != a || b != b) return __uint_as_float(0x7fffffff);
  return a == b ? (signbit(a) ? b : a) : a < b ? b : a;
}

template <typename ToFloat>
inline unsigned larger_pair(unsigned a, unsigned b, ToFloat to_float) {
  const auto larger = [&](unsigned x, unsigned y) -> unsigned {
    const float of_x = to_float(x);
    const float of_y = to_float(y);
    if (of_x != of_x || of_y != of_y) return 0x7fff;
    return __float_as_uint(larger_fp32(of_x, of_y)) == __float_as_uint(of_x) ? x : y;
  };
  return larger(a & 0xffff, b & 0xffff) | larger(a >> 16, b >> 16) << 16;
}
inline unsigned larger_fp16x2(unsigned a, unsigned b) {
  return larger_pair(
      a, b, [](unsigned bits) { return float_of_fp16(static_cast<unsigned short>(bits)); });
}
inline unsigned larger_bf16x2(unsigned a, unsigned b) {
  return larger_pair(a, b, [](unsigned bits) { return __uint_as_float(bits << 16); });
}

// Tensor cores: a product of 16 x 16 and 16 x 8 numbers of 16 bits, added to `sums` (PTX ISA, mma.m16n8k16, or
// mma.m16n8k8 twice). Thread 4 * i + j of a warp has rows i and i + 8, columns 2 * j and 2 * j + 1 of the sums.
template <typename Element>
inline void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  const unsigned own[6] = {a[0], a[1], a[2], a[3], b0, b1};
  unsigned all[6][32];
  for (int i = 0; i < 6; ++i) {
    __builtin_memcpy(all[i], takt_thread->exchange("mma.sync", ~0u, own[i]), sizeof(all[i]));
  }
  const auto half = [](unsigned word, unsigned i) {
    return to_float(Element{static_cast<unsigned short>(word >> 16 * (i % 2))});
  };
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = takt_thread->lane() / 4 + i / 2 * 8;
    const unsigned column = takt_thread->lane() % 4 * 2 + i % 2;
    for (unsigned k = 0; k < 16; ++k) {
      const float left = half(all[row / 8 + k / 8 * 2][row % 8 * 4 + k % 8 / 2], k);
      sums[i] += left * half(all[4 + k / 8][column * 4 + k % 8 / 2], k);
    }
  }
}

// Four matrices of 8 x 8 numbers of 16 bits (PTX ISA, ldmatrix): thread 8 * i + j says where row j of matrix i
// begins; thread 4 * i + j gets numbers 2 * j and 2 * j + 1 of row i, or of column i.
template <typename Element>
inline void load_matrices(unsigned (&to)[4], const Element* row, bool transposed = false) {
  static_assert(sizeof(Element) == 2, "numbers of 16 bits");
  const auto address = bits_as<unsigned long long>(row);
  unsigned low[32];
  unsigned high[32];
  __builtin_memcpy(low, takt_thread->exchange("ldmatrix", ~0u, address & 0xffffffff), sizeof(low));
  __builtin_memcpy(high, takt_thread->exchange("ldmatrix", ~0u, address >> 32), sizeof(high));
  const auto number = [&](unsigned matrix, unsigned i, unsigned j) -> unsigned {
    const unsigned from = 8 * matrix + (transposed ? j : i);
    const auto begin = bits_as<const unsigned short*>(
        static_cast<unsigned long long>(high[from]) << 32 | low[from]);
    return begin[transposed ? i : j];
  };
  const unsigned line = takt_thread->lane() / 4;
  const unsigned first = takt_thread->lane() % 4 * 2;
  for (unsigned i = 0; i < 4; ++i)
    to[i] = number(i, line, first) | number(i, line, first + 1) << 16;
}
template <typename Element>
inline void load_transposed(unsigned (&to)[4], const Element* row) {
  load_matrices(to, row, true);
}

// A GPU refuses addresses that aren't.
inline void require_aligned(const void* at) {
  if (bits_as<unsigned long long>(at) % 16 != 0) __builtin_trap();
}

template <bool kReadAgain = false>
void copy_later(void* to, const void* from, bool real) {
  require_aligned(to);
  if (real) require_aligned(from);
  takt_thread->copy_later(to, real ? from : nullptr, 16);
}
inline void close_copies() {
  takt_thread->close_copies();
}
template <unsigned kOpen>
inline void wait_for_copies() {
  takt_thread->wait_for_copies(kOpen);
}

inline void wait_for_cluster() {
  takt_thread->wait_for_cluster();
}
inline void end_together() {
  takt_thread->wait_for_cluster();
}
inline void load_of_block(float (&to)[4], const float* at, unsigned number) {
  require_aligned(at);
  __builtin_memcpy(to, takt_thread->of_block(at, number), sizeof(to));
}

}  // namespace takt
