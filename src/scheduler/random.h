// SPDX-License-Identifier: Apache-2.0
// A small seeded generator that gives the same numbers with every standard library.
// Thread-safe: no; one generator per user.
// Owns: its 64-bit state.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace takt::scheduler {

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
[[nodiscard]] constexpr std::uint64_t mix64(std::uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31U);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(mix64(seed)) {}

  std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15ULL;
    return mix64(state_);
  }
  // In [low, high].
  std::int64_t between(std::int64_t low, std::int64_t high) noexcept {
    return low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1));
  }
  // In (0, 1].
  double uniform() noexcept { return static_cast<double>((next() >> 11U) + 1) * 0x1.0p-53; }
  bool chance(double probability) noexcept { return uniform() <= probability; }
  double exponential(double mean) noexcept { return -mean * std::log(uniform()); }
  // Standard normal (Box and Muller 1958).
  double normal() noexcept {
    const double radius = std::sqrt(-2.0 * std::log(uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * uniform());
  }

 private:
  std::uint64_t state_;
};

}  // namespace takt::scheduler
