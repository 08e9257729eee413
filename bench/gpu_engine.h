// SPDX-License-Identifier: Apache-2.0
// What the engine adds to a model's request, beside the bare CUDA graph of the same model.
// Thread-safe: pure function.
// Owns: nothing.
#pragma once

#include "gpu_feed.h"
#include "gpu_measure.h"

#include <memory>

namespace takt::cuda {

struct EngineRounds {
  int rounds = 10;
  int requests = 200;  // of each way and round
};

// Each way in turns, microseconds of one image: `bare` is launch and synchronize of a graph that copies, computes
// and copies back; `instance` is Instance::run; `engine_flush` is a request that runs on the thread that
// submits it, as lines do; `engine_submit` one that runs on the instance's thread. Requests go from submit to
// the call of their completion. `added_us` is p50 and p99 less those of `bare`.
[[nodiscard]] Json measure_engine(const std::shared_ptr<const OpenedDevice>& device,
                                  const ServedFile& file, const LoadSettings& settings,
                                  InputKind kind, const EngineRounds& rounds, KeptPieces& pieces);

}  // namespace takt::cuda
