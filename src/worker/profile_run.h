// SPDX-License-Identifier: Apache-2.0
// The first latency profile of a model: each batch size run a few times with made-up inputs.
// Thread-safe: one thread an instance.
// Owns: nothing.
#pragma once

#include "backend/backend.h"
#include "core/inference.h"
#include "core/result.h"
#include "core/time.h"

#include <span>
#include <vector>

namespace takt::worker {

// The batch sizes that are measured: 1, 2, 4, ... and batch_max; 1 for a model without batches.
[[nodiscard]] std::vector<int> profiled_batches(int batch_max);

// Runs each size once to warm up and then at least once, within about `time_max` in all; with none, once
// in all, which is enough where a known instance has to be warm only. Sizes that would not fit get a
// p99 in proportion to the largest one that was measured and a p50 that goes on as the last two rose
// (the profile is kept current while running); batch 1 and 2 are always run.
// Inputs are images of the model's size where `plans` say so, otherwise tensors of the signature's
// shape with open dimensions set to 1, strings each "0". Errors: what the instance says.
[[nodiscard]] Result<std::vector<LatencyPoint>> measure_profile(
    Instance& instance, const Signature& signature, std::span<const InputPlan> plans,
    std::span<const std::size_t> output_bytes_per_row, Duration time_max);

}  // namespace takt::worker
