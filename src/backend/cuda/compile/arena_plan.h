// SPDX-License-Identifier: Apache-2.0
// Where the buffers of an inference lie in one piece of memory: those that are never needed at the same time
// may share bytes.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace takt::cuda {

// Needed from step `first` to step `last`, both included.
struct BufferLife {
  std::size_t bytes = 0;
  int first = 0;
  int last = 0;
};

struct ArenaPlan {
  std::vector<std::size_t> offsets;  // of each buffer, multiples of the alignment
  std::size_t bytes = 0;             // of all together
};

inline constexpr std::size_t kArenaAlignment = 256;  // what cudaMalloc itself gives

[[nodiscard]] constexpr std::size_t aligned_to_arena(std::size_t bytes) noexcept {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

// Greedy by size, each into the smallest gap that it fits (Pisarchyk and Lee, "Efficient Memory Management
// for Deep Neural Net Inference", 2020, section 5.2).
[[nodiscard]] ArenaPlan plan_arena(std::span<const BufferLife> buffers);

// What is needed at the worst step; no plan takes less.
[[nodiscard]] std::size_t most_alive_bytes(std::span<const BufferLife> buffers);

}  // namespace takt::cuda
