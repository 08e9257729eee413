// SPDX-License-Identifier: Apache-2.0
// The emulation itself: what it computes, and what it finds.
#include "backend/cuda/emulation/block.h"

#include "backend/cuda/emulation/guarded_memory.h"
#include "backend/cuda/emulation/kernel_library.h"
#include "core/half.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace takt::cuda::emulation {
namespace {

constexpr const char* kText = R"cuda(
#include <takt_kernel.h>

// Each thread has what the last but its number wrote.
extern "C" __global__ void reversed(int* out) {
  __shared__ int numbers[96];
  numbers[threadIdx.x] = blockIdx.x * 100 + threadIdx.x;
  __syncthreads();
  out[blockIdx.x * 96 + threadIdx.x] = numbers[95 - threadIdx.x];
}
extern "C" __global__ void without_barrier(int* out) {
  __shared__ int numbers[96];
  numbers[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = numbers[(threadIdx.x + 1) % 96];
}
extern "C" __global__ void left_early(int*) {
  if (threadIdx.x == 40) return;
  __syncthreads();
}
extern "C" __global__ void exchanged(unsigned* out) {
  const unsigned t = threadIdx.x;
  out[t] = takt::of_lane(t, 5);
  out[96 + t] = __shfl_down_sync(~0u, t, 4);
  out[192 + t] = __ballot_sync(~0u, t % 3 == 0);
}
extern "C" __global__ void half_a_warp(unsigned* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(~0u, threadIdx.x, 1);
  __syncthreads();
}
extern "C" __global__ void copied(const int* in, int* out) { out[threadIdx.x] = in[threadIdx.x]; }
extern "C" __global__ void endless(int* out) {
  volatile char many[100000];
  many[threadIdx.x] = 1;
  out[0] = many[threadIdx.x];
}
extern "C" __global__ void from_half(const takt::fp16* in, float* out) {
  out[blockIdx.x * 96 + threadIdx.x] = takt::to_float(in[blockIdx.x * 96 + threadIdx.x]);
}
extern "C" __global__ void to_halves(const float* in, takt::fp16* fp16, takt::bf16* bf16) {
  const unsigned t = blockIdx.x * 96 + threadIdx.x;
  fp16[t] = takt::from_float<takt::fp16>(in[t]);
  bf16[t] = takt::from_float<takt::bf16>(in[t]);
}
// Clusters of three blocks of 32 threads: each block adds what all have.
extern "C" __global__ void shared_by_cluster(float* out) {
  __shared__ __align__(16) float numbers[32];
  numbers[threadIdx.x] = blockIdx.x * 100.0f + threadIdx.x;
  takt::wait_for_cluster();
  float sum = 0;
  for (unsigned block = 0; block < 3; ++block) {
    float four[4];
    takt::load_of_block(four, numbers + threadIdx.x / 4 * 4, block);
    sum += four[threadIdx.x % 4];
  }
  out[blockIdx.x * 32 + threadIdx.x] = sum;
  takt::wait_for_cluster();
}
// Nobody waits for those that read.
extern "C" __global__ void ended_early(float* out) {
  __shared__ __align__(16) float numbers[32];
  numbers[threadIdx.x] = 1;
  takt::wait_for_cluster();
  float four[4];
  takt::load_of_block(four, numbers, (blockIdx.x + 1) % 3);
  out[blockIdx.x * 32 + threadIdx.x] = four[0];
}
extern "C" __global__ void misaligned(const float* in, float* out) {
  __shared__ __align__(16) float numbers[8];
  takt::copy_later(numbers + 1, in, true);
}
extern "C" __global__ void left_cluster(float*) {
  if (blockIdx.x != 4) takt::wait_for_cluster();
}
// Two groups of copies, of which the first is waited for.
extern "C" __global__ void copied_later(const float* in, float* out) {
  __shared__ __align__(16) float numbers[8];
  for (int i = 0; i < 8; ++i) numbers[i] = -1;
  takt::copy_later(numbers, in, out[0] != 0);
  takt::close_copies();
  takt::copy_later(numbers + 4, in + 4, true);
  takt::close_copies();
  takt::wait_for_copies<1>();
  for (int i = 0; i < 8; ++i) out[i] = numbers[i];
}
// [16, 16] times [8, 16], whose rows are the columns of the product.
extern "C" __global__ void product(const takt::fp16* left, const takt::fp16* right, float* out) {
  const unsigned lane = threadIdx.x;
  unsigned a[4], b[4];
  takt::load_matrices(a, left + lane % 16 * 16 + lane / 16 * 8);
  takt::load_matrices(b, right + lane % 8 * 16 + lane / 8 % 2 * 8);
  float sums[4] = {};
  takt::multiply<takt::fp16>(sums, a, b[0], b[1]);
  for (unsigned i = 0; i < 4; ++i) out[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}
extern "C" __global__ void transposed(const takt::fp16* in, unsigned short* out) {
  unsigned to[4];
  takt::load_transposed(to, in + threadIdx.x * 8);
  for (unsigned i = 0; i < 8; ++i) {
    out[i / 2 * 64 + threadIdx.x * 2 + i % 2] = to[i / 2] >> 16 * (i % 2);
  }
}
)cuda";

// A buffer of numbers for kernels.
template <typename Number>
class Numbers {
 public:
  explicit Numbers(const std::vector<Number>& numbers, Guard guard = Guard::behind)
      : memory_(GuardedMemory::allocate(numbers.size() * sizeof(Number), guard).value()) {
    std::ranges::copy(numbers, begin());
  }
  explicit Numbers(std::size_t count) : Numbers(std::vector<Number>(count)) {}

  [[nodiscard]] Number* begin() const { return reinterpret_cast<Number*>(memory_.bytes().data()); }
  [[nodiscard]] Number operator[](std::size_t i) const { return begin()[i]; }
  [[nodiscard]] GuardedMemory& memory() { return memory_; }

 private:
  GuardedMemory memory_;
};

class EmulatedBlock : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (has_compiler()) library_.emplace(KernelLibrary::compile(kText, 750));
  }
  static void TearDownTestSuite() { library_.reset(); }
  void SetUp() override {
    if (!has_compiler()) GTEST_SKIP() << "no compiler " TAKT_HOST_COMPILER;
    ASSERT_TRUE(*library_) << library_->error().message;
  }

  // Of 96 threads if nothing else is said; the message where it fails.
  std::string run(const std::string& kernel, const std::vector<void*>& arguments,
                  Launch launch = {1, 96, 1, 1, {}, {}, {}}) {
    const auto done = (*library_)->run(block_, kernel, arguments, std::move(launch));
    return done ? "" : done.error().message;
  }

  inline static std::optional<Result<KernelLibrary>> library_;
  Block block_;
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(EmulatedBlock, ABarrierIsReachedByAllBeforeAnyGoesOn) {
  for (const Order order : {Order::forwards, Order::backwards}) {
    const Numbers<int> out(192);
    ASSERT_EQ(run("reversed", {out.begin()}, {2, 96, 1, 1, {}, order, {}}), "");
    for (int i = 0; i < 192; ++i) {
      EXPECT_EQ(out[static_cast<std::size_t>(i)], i / 96 * 100 + 95 - i % 96);
    }
  }
}

TEST_F(EmulatedBlock, AMissingBarrierIsSeenInOneOfTheOrders) {
  const Numbers<int> forwards(96);
  const Numbers<int> backwards(96);
  ASSERT_EQ(run("without_barrier", {forwards.begin()}), "");
  ASSERT_EQ(run("without_barrier", {backwards.begin()}, {1, 96, 1, 1, {}, Order::backwards, {}}),
            "");
  EXPECT_EQ(forwards[0], -1) << "shared memory is all ones before";
  EXPECT_EQ(backwards[0], 1);
}

TEST_F(EmulatedBlock, ABarrierThatNotAllReachIsNamed) {
  const std::string message = run("left_early", {nullptr});
  EXPECT_TRUE(has(message, "left_early: block 0 is stuck: thread (0, 0) waits in __syncthreads"))
      << message;
  EXPECT_TRUE(has(message, "thread (40, 0) has ended")) << message;
  EXPECT_EQ(run("reversed", {Numbers<int>(96).begin()}), "") << "the next kernel runs";
}

TEST_F(EmulatedBlock, BlocksOfAClusterReachEachOthersMemory) {
  for (const Order order : {Order::forwards, Order::backwards}) {
    const Numbers<float> out(192);
    ASSERT_EQ(run("shared_by_cluster", {out.begin()}, {6, 32, 1, 3, {}, order, {}}), "");
    for (std::size_t i = 0; i < 192; ++i) {
      const std::size_t first = i / 96 * 3;
      EXPECT_EQ(out[i], static_cast<float>(300 * (first + 1) + 3 * (i % 32))) << i;
    }
  }
  const std::string ended =
      run("ended_early", {Numbers<float>(96).begin()}, {3, 32, 1, 3, {}, {}, {}});
  EXPECT_TRUE(has(ended, "block 2, thread (0, 0) reached for 0x0")) << ended;
  EXPECT_TRUE(has(run("reversed", {nullptr}, {3, 96, 1, 2, {}, {}, {}}), "clusters"));
  const std::string message = run("left_cluster", {nullptr}, {6, 32, 1, 3, {}, {}, {}});
  EXPECT_TRUE(has(message, "block 3 is stuck: thread (0, 0) waits for the cluster")) << message;
}

TEST_F(EmulatedBlock, CopiesAreThereOnceTheyAreWaitedFor) {
  const Numbers<float> in(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8});
  const Numbers<float> out(std::vector<float>{1, 0, 0, 0, 0, 0, 0, 0});
  ASSERT_EQ(run("copied_later", {in.begin(), out.begin()}, {1, 1, 1, 1, {}, {}, {}}), "");
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(out[i], i < 4 ? in[i] : -1) << i;
  const Numbers<float> at_once(std::vector<float>{1, 0, 0, 0, 0, 0, 0, 0});
  ASSERT_EQ(
      run("copied_later", {in.begin(), at_once.begin()}, {1, 1, 1, 1, {}, Order::backwards, {}}),
      "");
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(at_once[i], in[i]) << i;
  EXPECT_NE(run("misaligned", {in.begin(), out.begin()}, {1, 1, 1, 1, {}, {}, {}}), "");
  const Numbers<float> none(8);
  ASSERT_EQ(run("copied_later", {in.begin(), none.begin()}, {1, 1, 1, 1, {}, {}, {}}), "");
  EXPECT_EQ(none[3], 0) << "zeros in place of what isn't real";
}

TEST_F(EmulatedBlock, AWarpExchanges) {
  const Numbers<unsigned> out(288);
  ASSERT_EQ(run("exchanged", {out.begin()}), "");
  for (unsigned i = 0; i < 96; ++i) {
    EXPECT_EQ(out[i], i ^ 5U);
    EXPECT_EQ(out[96 + i], i % 32 < 28 ? i + 4 : i);
    for (unsigned lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(out[192 + i] >> lane & 1U, (i / 32 * 32 + lane) % 3 == 0 ? 1U : 0U);
    }
  }
}

TEST_F(EmulatedBlock, AnExchangeThatNotAllReachIsNamed) {
  const std::string message =
      run("half_a_warp", {Numbers<unsigned>(16).begin()}, {1, 32, 1, 1, {}, {}, {}});
  EXPECT_TRUE(has(message, "waits in __shfl_sync for the threads 0xffffffff")) << message;
  EXPECT_TRUE(has(message, "thread (16, 0) waits in __syncthreads")) << message;
}

TEST_F(EmulatedBlock, WhatIsOutsideOfABufferOrOnlyReadIsNamed) {
  Numbers<int> in(std::vector<int>(48, 7));
  const Numbers<int> out(96);
  const auto describe = [&](std::uintptr_t at) { return in.memory().describe(at, "in"); };
  const std::string behind =
      run("copied", {in.begin(), out.begin()}, {1, 96, 1, 1, {}, {}, describe});
  EXPECT_TRUE(has(behind, "thread (48, 0) reached for")) << behind;
  EXPECT_TRUE(has(behind, "0 bytes behind in")) << behind;
  in.memory().make_read_only();
  EXPECT_EQ(run("copied", {in.begin(), out.begin()}, {1, 48, 1, 1, {}, {}, describe}), "");
  const std::string written =
      run("copied", {out.begin(), in.begin()}, {1, 48, 1, 1, {}, {}, describe});
  EXPECT_TRUE(has(written, "byte 0 of in, which is only read")) << written;
  Numbers<int> early(std::vector<int>(48, 7), Guard::before);
  const auto of_early = [&](std::uintptr_t at) { return early.memory().describe(at, "in"); };
  const std::string before =
      run("copied", {early.begin() - 1, out.begin()}, {1, 48, 1, 1, {}, {}, of_early});
  EXPECT_TRUE(has(before, "4 bytes before in")) << before;
  EXPECT_TRUE(early.memory().is_untouched_beside());
  early.begin()[48] = 1;
  EXPECT_FALSE(early.memory().is_untouched_beside());
}

TEST_F(EmulatedBlock, AStackThatIsTooLargeIsAFault) {
  const std::string message = run("endless", {Numbers<int>(1).begin()});
  EXPECT_TRUE(has(message, "endless: block 0, thread (0, 0) reached for")) << message;
}

TEST_F(EmulatedBlock, SixteenBitFloatsAreConvertedAsTheCoreDoes) {
  constexpr unsigned kBlocks = 683;  // 65568 numbers
  std::vector<std::uint16_t> halves(std::size_t{kBlocks} * 96);
  std::iota(halves.begin(), halves.end(), std::uint16_t{0});
  const Numbers<std::uint16_t> in(halves);
  const Numbers<float> floats(halves.size());
  ASSERT_EQ(run("from_half", {in.begin(), floats.begin()}, {kBlocks, 96, 1, 1, {}, {}, {}}), "");
  std::mt19937 random(1);
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const float expected = from_fp16(halves[i]);
    EXPECT_TRUE(floats[i] == expected || (std::isnan(floats[i]) && std::isnan(expected))) << i;
    // Those themselves, their middles, and any.
    if (i % 3 == 1)
      floats.begin()[i] = (expected + from_fp16(static_cast<std::uint16_t>(i + 1))) / 2;
    if (i % 3 == 2) floats.begin()[i] = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
  }
  const Numbers<std::uint16_t> fp16(halves.size());
  const Numbers<std::uint16_t> bf16(halves.size());
  ASSERT_EQ(run("to_halves", {floats.begin(), fp16.begin(), bf16.begin()},
                {kBlocks, 96, 1, 1, {}, {}, {}}),
            "");
  for (std::size_t i = 0; i < halves.size(); ++i) {
    if (std::isnan(floats[i])) {
      EXPECT_TRUE(std::isnan(from_fp16(fp16[i])) && std::isnan(from_bf16(bf16[i]))) << i;
      continue;
    }
    EXPECT_EQ(fp16[i], to_fp16(floats[i])) << floats[i];
    EXPECT_EQ(bf16[i], to_bf16(floats[i])) << floats[i];
  }
}

TEST_F(EmulatedBlock, TensorCoresMultiply) {
  const auto numbers = [](std::size_t count) {
    std::vector<std::uint16_t> made;
    for (std::size_t i = 0; i < count; ++i) {
      made.push_back(to_fp16(static_cast<float>(i * 7 % 13) - 6));
    }
    return made;
  };
  const Numbers<std::uint16_t> left(numbers(256));
  const Numbers<std::uint16_t> right(numbers(128));
  const Numbers<float> out(128);
  ASSERT_EQ(run("product", {left.begin(), right.begin(), out.begin()}, {1, 32, 1, 1, {}, {}, {}}),
            "");
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t column = 0; column < 8; ++column) {
      float sum = 0;
      for (std::size_t k = 0; k < 16; ++k) {
        sum += from_fp16(left[row * 16 + k]) * from_fp16(right[column * 16 + k]);
      }
      EXPECT_EQ(out[row * 8 + column], sum) << row << ", " << column;
    }
  }
}

TEST_F(EmulatedBlock, MatricesAreTransposed) {
  std::vector<std::uint16_t> numbers(256);
  std::iota(numbers.begin(), numbers.end(), std::uint16_t{0});
  const Numbers<std::uint16_t> in(numbers);
  const Numbers<std::uint16_t> out(256);
  ASSERT_EQ(run("transposed", {in.begin(), out.begin()}, {1, 32, 1, 1, {}, {}, {}}), "");
  for (std::size_t i = 0; i < 256; ++i) {
    const std::size_t row = i / 8 % 8;
    EXPECT_EQ(out[i / 64 * 64 + row * 8 + i % 8], i / 64 * 64 + i % 8 * 8 + row);
  }
}

}  // namespace
}  // namespace takt::cuda::emulation
