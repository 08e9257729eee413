// SPDX-License-Identifier: Apache-2.0
// How the outputs of a request lie in a slot, and how many slots a model needs.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "memory/slot_pool.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace takt::engine {

// A cache line, and the widest vector load.
inline constexpr std::size_t kOutputAlignment = 64;

[[nodiscard]] constexpr std::size_t aligned_output(std::size_t bytes) noexcept {
  return (bytes + kOutputAlignment - 1) / kOutputAlignment * kOutputAlignment;
}

// Room for the outputs of a request of `rows` rows, each output on a boundary of its own.
[[nodiscard]] std::size_t output_bytes(std::span<const std::size_t> row_bytes,
                                       std::int64_t rows) noexcept;

// Size classes so that `instances` run full batches of requests of any size while consumers still
// hold `results_held_max` rows of finished ones.
[[nodiscard]] std::vector<SizeClass> output_classes(std::span<const std::size_t> row_bytes,
                                                    std::int64_t rows_max, std::size_t instances,
                                                    int results_held_max);

}  // namespace takt::engine
