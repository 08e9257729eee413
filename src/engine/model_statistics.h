// SPDX-License-Identifier: Apache-2.0
// What one model has done since it was loaded, in the terms of the protocol's statistics extension.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include "core/result.h"
#include "core/time.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

namespace takt::engine {

struct DurationSum {
  std::uint64_t count = 0;
  Duration total{};
};

// The upper ends of a histogram's buckets; what is longer than the last goes into one more.
inline constexpr std::array<Duration, 18> kDurationBounds{
    std::chrono::microseconds(20),   std::chrono::microseconds(50),  std::chrono::microseconds(100),
    std::chrono::microseconds(250),  std::chrono::microseconds(500), std::chrono::milliseconds(1),
    std::chrono::microseconds(2500), std::chrono::milliseconds(5),   std::chrono::milliseconds(10),
    std::chrono::milliseconds(25),   std::chrono::milliseconds(50),  std::chrono::milliseconds(100),
    std::chrono::milliseconds(250),  std::chrono::milliseconds(500), std::chrono::seconds(1),
    std::chrono::milliseconds(2500), std::chrono::seconds(5),        std::chrono::seconds(10)};
using DurationCounts = std::array<std::uint64_t, kDurationBounds.size() + 1>;

// Of requests that succeeded.
struct DurationHistograms {
  DurationCounts request{};
  DurationCounts queue{};
  DurationCounts compute_input{};
  DurationCounts compute_infer{};
  DurationCounts compute_output{};
};

// Of the executions of one batch size.
struct BatchStatistics {
  int rows = 0;
  DurationSum compute_input;   // from taking the batch to the inputs being on the device
  DurationSum compute_infer;   // the model itself
  DurationSum compute_output;  // until the outputs lay in their places
};

struct ModelStatistics {
  // Since the epoch; zero: never.
  std::chrono::milliseconds last_inference{};
  std::uint64_t inferences = 0;  // rows that succeeded
  std::uint64_t executions = 0;  // batches that succeeded
  // Of requests, from submission to answer.
  DurationSum success;
  DurationSum fail;       // for any reason but those two
  DurationSum cancelled;  // withdrawn
  DurationSum refused;    // as EngineStats::refused: not accepted
  // Parts of those that succeeded, a request each.
  DurationSum queue;
  DurationSum compute_input;
  DurationSum compute_infer;
  DurationSum compute_output;
  DurationHistograms histograms;
  std::array<std::uint64_t, kErrorKindCount> failed_by_kind{};  // of fail, cancelled and refused
  std::vector<BatchStatistics> batches;                         // by rising rows
};

}  // namespace takt::engine
