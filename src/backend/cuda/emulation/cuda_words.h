// SPDX-License-Identifier: Apache-2.0
// CUDA C++ as far as takt's kernels use it, for the host's compiler: included in front of a kernel's text and
// by nothing else. C++17.
// Thread-safe: no.
// Owns: shared memory, which lies in the library's zeroed section with nothing else.
#pragma once

#include "backend/cuda/emulation/running_thread.h"

#include <math.h>

// What kernel_library.cc takes from the library: where shared memory lies, and where to put the thread.
// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names.
extern "C" {
extern char __bss_start[] __attribute__((visibility("hidden")));
extern char _end[] __attribute__((visibility("hidden")));
char* takt_shared_begin = __bss_start;
char* takt_shared_end = _end;
takt::cuda::emulation::RunningThread* takt_thread __attribute__((section(".data"))) = nullptr;
}

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __shared__ static
#define __align__(bytes) __attribute__((aligned(bytes)))

#define threadIdx takt_thread->thread
#define blockIdx takt_thread->block
#define blockDim takt_thread->block_size
#define gridDim takt_thread->grid_size

inline void __syncthreads() {
  takt_thread->wait_for_block();
}
inline void __syncwarp(unsigned mask = ~0u) {
  takt_thread->exchange("__syncwarp", mask, 0);
}

// Values of four bytes.
template <typename Value>
inline Value __shfl_sync(unsigned mask, Value value, int lane) {
  static_assert(sizeof(Value) == 4, "other values are exchanged word by word");
  unsigned bits;
  __builtin_memcpy(&bits, &value, 4);
  const unsigned* const all = takt_thread->exchange("__shfl_sync", mask, bits);
  __builtin_memcpy(&value, &all[lane & 31], 4);
  return value;
}
template <typename Value>
inline Value __shfl_xor_sync(unsigned mask, Value value, int lanes) {
  return __shfl_sync(mask, value, static_cast<int>(takt_thread->lane()) ^ lanes);
}
template <typename Value>
inline Value __shfl_down_sync(unsigned mask, Value value, unsigned lanes) {
  const unsigned from = takt_thread->lane() + lanes;
  return __shfl_sync(mask, value, static_cast<int>(from < 32 ? from : takt_thread->lane()));
}
template <typename Value>
inline Value __shfl_up_sync(unsigned mask, Value value, unsigned lanes) {
  const unsigned own = takt_thread->lane();
  return __shfl_sync(mask, value, static_cast<int>(own >= lanes ? own - lanes : own));
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const unsigned* const all = takt_thread->exchange("__ballot_sync", mask, predicate != 0);
  unsigned ballot = 0;
  for (unsigned i = 0; i < 32; ++i) ballot |= (mask >> i & all[i] & 1u) << i;
  return ballot;
}
inline int __any_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, !predicate) == 0;
}

template <typename Number>
inline Number atomicAdd(Number* at, Number value) {
  const Number before = *at;
  *at = before + value;
  return before;
}
template <typename Number>
inline Number atomicOr(Number* at, Number value) {
  const Number before = *at;
  *at = before | value;
  return before;
}
template <typename Number>
inline Number __ldg(const Number* at) {
  return *at;
}

template <typename To, typename From>
inline To bits_as(From from) {
  To to;
  static_assert(sizeof(to) == sizeof(from), "bits of another size");
  __builtin_memcpy(&to, &from, sizeof(to));
  return to;
}
inline float __uint_as_float(unsigned bits) {
  return bits_as<float>(bits);
}
inline float __int_as_float(int bits) {
  return bits_as<float>(bits);
}
inline unsigned __float_as_uint(float value) {
  return bits_as<unsigned>(value);
}
inline int __float_as_int(float value) {
  return bits_as<int>(value);
}
inline long long __double_as_longlong(double value) {
  return bits_as<long long>(value);
}
inline double __longlong_as_double(long long bits) {
  return bits_as<double>(bits);
}

// Each is rounded by itself, for kernels are compiled without contraction.
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline double __dadd_rn(double a, double b) {
  return a + b;
}
inline double __dsub_rn(double a, double b) {
  return a - b;
}
inline double __dmul_rn(double a, double b) {
  return a * b;
}
inline double __ddiv_rn(double a, double b) {
  return a / b;
}

#define TAKT_LEAST_AND_MOST(Number)       \
  inline Number min(Number a, Number b) { \
    return b < a ? b : a;                 \
  }                                       \
  inline Number max(Number a, Number b) { \
    return a < b ? b : a;                 \
  }
TAKT_LEAST_AND_MOST(int)
TAKT_LEAST_AND_MOST(unsigned)
TAKT_LEAST_AND_MOST(long long)
TAKT_LEAST_AND_MOST(unsigned long long)
#undef TAKT_LEAST_AND_MOST
inline float min(float a, float b) {
  return fminf(a, b);
}
inline float max(float a, float b) {
  return fmaxf(a, b);
}
inline double min(double a, double b) {
  return fmin(a, b);
}
inline double max(double a, double b) {
  return fmax(a, b);
}

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
// NOLINTEND(bugprone-reserved-identifier)
