// SPDX-License-Identifier: Apache-2.0
// Decides for each batch how long it takes and what goes wrong: the same seed, the same story.
// Thread-safe: from any thread. Owns: the count of batches. Private to backend/simulated.
#pragma once

#include "backend/simulated/parameters.h"

#include <atomic>
#include <cstdint>
#include <optional>

namespace takt::simulated {

// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (2014), the mix of
// SplitMix64. Any two numbers give an unrelated third.
[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t seed, std::uint64_t index) noexcept {
  std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

// Uniform in [0, 1).
[[nodiscard]] constexpr double unit(std::uint64_t bits) noexcept {
  return static_cast<double>(bits >> 11U) * 0x1.0p-53;
}

struct BatchPlan {
  Duration latency{};
  std::optional<Fault> fault;
};

class FaultPlan {
 public:
  explicit FaultPlan(Parameters parameters) : parameters_(std::move(parameters)) {}

  [[nodiscard]] BatchPlan next(std::int64_t rows);
  [[nodiscard]] const Parameters& parameters() const noexcept { return parameters_; }

 private:
  [[nodiscard]] std::optional<Fault> fault_of(std::uint64_t batch, std::int64_t rows) const;

  const Parameters parameters_;
  std::atomic<std::uint64_t> batches_{0};
  std::atomic<bool> poisoned_{false};
};

}  // namespace takt::simulated
