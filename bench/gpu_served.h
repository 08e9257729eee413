// SPDX-License-Identifier: Apache-2.0
// A model as takt serves it: loaded by the cuda backend, with open instances and what they read.
// Thread-safe: plain values; each instance is one thread's.
// Owns: backend, slots, model and instances, in the order in which one needs the other.
#pragma once

#include "backend/backend.h"
#include "gpu_feed.h"
#include "gpu_measure.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace takt::cuda {

inline constexpr const char* kDeviceName = "cuda:0";

struct ServedModel {
  std::unique_ptr<Backend> backend;
  std::shared_ptr<SlotPool> pool;
  std::shared_ptr<const LoadedModel> loaded;
  std::vector<std::unique_ptr<Instance>> instances;
  std::vector<Feed> feeds;  // of each instance
};

// At these batch sizes; a file that isn't batched has 1 alone. What `pieces` know isn't tuned again, and they
// get what was. `device` is opened beside the backend, which has a context of its own.
[[nodiscard]] ServedModel serve(const OpenedDevice& device, const ServedFile& file,
                                const LoadSettings& settings, std::vector<std::int64_t> batches,
                                InputKind kind, int instances, KeptPieces& pieces);

// Runs one batch host to host, on the thread that calls.
using Lane = std::function<void()>;

[[nodiscard]] Lane lane_of(const ServedModel& model, const ServedFile& file, std::size_t instance,
                           std::int64_t batch);

// All lanes at once for about so long, each on a thread of its own; `images` is what one run does.
[[nodiscard]] double images_per_second(std::span<const Lane> lanes, std::int64_t images,
                                       double seconds);

}  // namespace takt::cuda
