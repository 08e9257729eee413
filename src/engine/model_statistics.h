// SPDX-License-Identifier: Apache-2.0
// What one model has done since it was loaded, in the terms of the protocol's statistics extension.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include "core/time.h"

#include <chrono>
#include <cstdint>
#include <vector>

namespace takt::engine {

struct DurationSum {
  std::uint64_t count = 0;
  Duration total{};
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
  std::vector<BatchStatistics> batches;  // by rising rows
};

}  // namespace takt::engine
