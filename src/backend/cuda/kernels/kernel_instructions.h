// SPDX-License-Identifier: Apache-2.0
// The instructions that kernels need and CUDA C++ has no words for without NVIDIA's headers, each a function.
// emulation/takt_instructions.h has the same functions for the CPU.
// Text for the runtime compiler, which the prelude includes.
// Thread-safe: yes, a constant.
// Owns: nothing.
#pragma once

namespace takt::cuda {

inline constexpr char kKernelInstructions[] = R"cuda(
#pragma once

namespace takt {

__device__ __forceinline__ float float_of_fp16(unsigned short bits) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(bits));
  return result;
}

__device__ __forceinline__ unsigned short fp16_of_float(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

// The larger of two numbers, NaN if one is; larger_fp16x2 and larger_bf16x2 of two 16-bit floats side by side.
__device__ __forceinline__ float larger_fp32(float a, float b) {
#if __CUDA_ARCH__ >= 800
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
#else
  return a > b || a != a ? a : b;
#endif
}

// For results of 16 bits, where about a hundred units of the last place and what is smaller than some 2^-119 don't
// count (PTX ISA, ex2.approx.ftz and div.approx.ftz).
__device__ __forceinline__ float quick_exp(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x * 1.4426950408889634f));
  return result;
}
__device__ __forceinline__ float quick_quotient(float a, float b) {
  float result;
  asm("div.approx.ftz.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}

#if __CUDA_ARCH__ >= 800
__device__ __forceinline__ unsigned short bf16_of_float(float value) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

__device__ __forceinline__ unsigned larger_fp16x2(unsigned a, unsigned b) {
  unsigned result;
  asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
}
__device__ __forceinline__ unsigned larger_bf16x2(unsigned a, unsigned b) {
  unsigned result;
  asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
}
#endif

// Tensor cores: a product of 16 rows, 8 columns and 16 numbers each, added to `sums`. In the fragments thread
// 4 * i + j of a warp has row i, and 8 more, and columns 2 * j and 2 * j + 1, and 8 more (PTX ISA, mma.m16n8k16).
struct fp16;
struct bf16;
template <typename Element>
__device__ void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1);

#if __CUDA_ARCH__ >= 800
template <>
__device__ __forceinline__ void multiply<fp16>(float (&sums)[4], const unsigned (&a)[4],
                                               unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void multiply<bf16>(float (&sums)[4], const unsigned (&a)[4],
                                               unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#else
template <>
__device__ __forceinline__ void multiply<fp16>(float (&sums)[4], const unsigned (&a)[4],
                                               unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(b0));
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[2]), "r"(a[3]), "r"(b1));
}
#endif

// Four matrices of 8 x 8 numbers of 16 bits from shared memory into the registers that a product takes (PTX ISA,
// ldmatrix); thread 8 * i + j says where row j of matrix i begins, at a multiple of 16 bytes.
__device__ __forceinline__ void load_matrices(unsigned (&to)[4], const void* row) {
  const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(at) : "memory");
}
// Each matrix with rows and columns exchanged.
__device__ __forceinline__ void load_transposed(unsigned (&to)[4], const void* row) {
  const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(at) : "memory");
}

#if __CUDA_ARCH__ >= 800
// 16 bytes from global to shared memory, while the thread goes on; zeros unless `real` (PTX ISA, cp.async). What the
// block reads again goes through its multiprocessor's cache.
template <bool kReadAgain = false>
__device__ __forceinline__ void copy_later(void* to, const void* from, bool real) {
  const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
  if constexpr (kReadAgain) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;"
                 :: "r"(at), "l"(from), "r"(real ? 16 : 0) : "memory");
  } else {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(at), "l"(from), "r"(real ? 16 : 0) : "memory");
  }
}
// What was begun since the last call is a group.
__device__ __forceinline__ void close_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// For all groups of this thread but the `kOpen` last ones.
template <unsigned kOpen>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" :: "n"(kOpen) : "memory");
}
#endif

#if __CUDA_ARCH__ >= 900
// For all threads of the cluster; what they wrote before is there.
__device__ __forceinline__ void wait_for_cluster() {
  asm volatile("barrier.cluster.arrive.release;\n"
               "barrier.cluster.wait.acquire;" ::: "memory");
}
// For all threads of the cluster, before they end: nothing that was written is waited for, and what was read of other
// blocks has been used by then.
__device__ __forceinline__ void end_together() {
  asm volatile("barrier.cluster.arrive.relaxed;\n"
               "barrier.cluster.wait;" ::: "memory");
}
// Four numbers from the shared memory of a block of the cluster, where this one has its own at `at`, a multiple of 16
// bytes (PTX ISA, mapa).
__device__ __forceinline__ void load_of_block(float (&to)[4], const float* at, unsigned number) {
  const unsigned own = static_cast<unsigned>(__cvta_generic_to_shared(at));
  unsigned there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(own), "r"(number));
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(to[0]), "=f"(to[1]), "=f"(to[2]), "=f"(to[3]) : "r"(there) : "memory");
}
#endif

}  // namespace takt
)cuda";

}  // namespace takt::cuda
