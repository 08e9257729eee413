// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same on every machine: SplitMix64 and integer ranges.
// Thread-safe: one thread.
// Owns: plain values.
#pragma once

#include <cstdint>

namespace takt::line {

// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (OOPSLA 2014).
[[nodiscard]] constexpr std::uint64_t mix64(std::uint64_t z) noexcept {
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31U);
}

class BoardRandom {
 public:
  // Streams of one seed are independent of each other.
  BoardRandom(std::uint64_t seed, std::uint64_t stream) noexcept
      : state_(mix64(mix64(seed + kGamma) ^ mix64(stream * kGamma + 1))) {}

  std::uint64_t next() noexcept { return mix64(state_ += kGamma); }
  // 0..n-1. The bias of at most n / 2^32 doesn't matter here.
  int below(int n) noexcept {
    return static_cast<int>(((next() >> 32U) * static_cast<std::uint64_t>(n)) >> 32U);
  }
  // low..high, both included.
  int between(int low, int high) noexcept { return low + below(high - low + 1); }
  bool one_in(int n) noexcept { return below(n) == 0; }
  bool percent(int share) noexcept { return below(100) < share; }

 private:
  static constexpr std::uint64_t kGamma = 0x9E3779B97F4A7C15ULL;
  std::uint64_t state_;
};

}  // namespace takt::line
