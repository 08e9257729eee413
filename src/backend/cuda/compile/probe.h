// SPDX-License-Identifier: Apache-2.0
// A step on tensors of random numbers: how long a way of computing it takes, by itself or beside others of its
// kind, and how far its result is from another's.
// Thread-safe: no. Needs a Scope of the context.
// Owns: the tensors and the workspaces, and streams and handles of all lanes but the first.
#pragma once

#include "backend/cuda/compile/kernel_cache.h"
#include "backend/cuda/compile/program.h"
#include "backend/cuda/compile/step_runner.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/stream.h"
#include "core/result.h"
#include "core/time.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace takt::cuda {

class Probe {
 public:
  // Of a step with floating-point tensors. Cache, stream and handle outlive it. As many as `runs_beside` are timed
  // beside each other, or fewer where the device has no memory for the result of each. Errors: out_of_memory,
  // device_poisoned, internal; so of everything below.
  [[nodiscard]] static Result<Probe> create(const Step& step, KernelCache& cache,
                                            const Stream& stream, const CudnnHandle* cudnn,
                                            int runs_beside = 1);

  // The step on the probe's own tensors, which lie as they do in the program; what is measured computes it.
  [[nodiscard]] const Step& step() const noexcept { return step_; }
  [[nodiscard]] int runs_beside() const noexcept { return static_cast<int>(lanes_.size()); }

  // Computes the step's result, with which others are compared.
  [[nodiscard]] Result<void> set_reference(std::span<const StepRunner> way);
  // The largest difference from the reference's result, divided by the largest number there.
  [[nodiscard]] Result<float> difference(std::span<const StepRunner> way);

  // Of one run in a row of them: medians of `rounds`, taken in turns. Where runs are beside each other, the time of
  // all is divided by their number: what the device is kept from other work by one of them.
  [[nodiscard]] Result<std::vector<Duration>> times(std::span<const std::vector<StepRunner>> ways,
                                                    int rounds);

 private:
  // Where one run at a time takes place; all read the same inputs.
  struct Lane {
    std::optional<Stream> stream;        // of all but the first, which has the probe's
    std::optional<CudnnHandle> cudnn;    // likewise
    std::optional<Event> end;            // of its runs; likewise
    std::vector<std::uint64_t> buffers;  // of step_, one a tensor
    std::vector<DeviceMemory>
        workspace;  // one, once something needs it: engines keep counters there
  };

  Probe(const Step& step, const Stream& stream, const CudnnHandle* cudnn, Kernel compare,
        Event fork)
      : step_(step),
        stream_(&stream),
        cudnn_(cudnn),
        compare_(std::move(compare)),
        fork_(std::move(fork)) {}
  // Gives it memory filled with random numbers, and says where that begins.
  [[nodiscard]] Result<std::uint64_t> add_tensor(View& view, double scale, KernelCache& cache);
  [[nodiscard]] Result<void> add_lane(KernelCache& cache);
  [[nodiscard]] Result<void> fill(const View& view, DeviceSpan memory, double scale,
                                  KernelCache& cache);
  [[nodiscard]] Result<void> reserve(std::span<const StepRunner> way, Lane& lane);
  [[nodiscard]] Result<void> queue(std::span<const StepRunner> way, const Lane& lane,
                                   std::span<const std::uint64_t> buffers) const;
  // So many runs on each lane; the probe's stream begins before all of them and ends after.
  [[nodiscard]] Result<void> queue_beside(std::span<const StepRunner> way, int repeats) const;

  Step step_;
  const Stream* stream_;
  const CudnnHandle* cudnn_;
  Kernel compare_;
  Event fork_;  // from which the other lanes begin
  std::vector<DeviceMemory> memory_;
  std::vector<Lane> lanes_;  // the first one is on stream_
  std::vector<std::uint64_t>
      reference_buffers_;  // the first lane's with another place for the result
  std::size_t result_bytes_ = 0;
  std::vector<DeviceMemory> worst_;  // two floats
};

}  // namespace takt::cuda
