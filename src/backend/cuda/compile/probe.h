// SPDX-License-Identifier: Apache-2.0
// A step on tensors of random numbers: how long a way of computing it takes, and how far its result is from
// another's.
// Thread-safe: no. Needs a Scope of the context.
// Owns: the tensors and the workspace.
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
#include <span>
#include <vector>

namespace takt::cuda {

class Probe {
 public:
  // Of a step with floating-point tensors. Cache, stream and handle outlive it. Errors: out_of_memory,
  // device_poisoned, internal; so of everything below.
  [[nodiscard]] static Result<Probe> create(const Step& step, KernelCache& cache,
                                            const Stream& stream, const CudnnHandle* cudnn);

  // The step on the probe's own tensors, which lie as they do in the program; what is measured computes it.
  [[nodiscard]] const Step& step() const noexcept { return step_; }

  // Computes the step's result, with which others are compared.
  [[nodiscard]] Result<void> set_reference(std::span<const StepRunner> way);
  // The largest difference from the reference's result, divided by the largest number there.
  [[nodiscard]] Result<float> difference(std::span<const StepRunner> way);

  // Of one run, without waiting for others of its kind: medians of `rounds`, taken in turns.
  [[nodiscard]] Result<std::vector<Duration>> times(std::span<const std::vector<StepRunner>> ways,
                                                    int rounds);

 private:
  Probe(const Step& step, const Stream& stream, const CudnnHandle* cudnn, Kernel compare)
      : step_(step), stream_(&stream), cudnn_(cudnn), compare_(std::move(compare)) {}
  [[nodiscard]] Result<void> add_tensor(View& view, double scale, KernelCache& cache);
  [[nodiscard]] Result<void> fill(const View& view, DeviceSpan memory, double scale,
                                  KernelCache& cache);
  [[nodiscard]] Result<void> reserve(std::span<const StepRunner> way);
  [[nodiscard]] Result<void> queue(std::span<const StepRunner> way,
                                   std::span<const std::uint64_t> buffers) const;

  Step step_;
  const Stream* stream_;
  const CudnnHandle* cudnn_;
  Kernel compare_;
  std::vector<DeviceMemory> memory_;
  std::vector<std::uint64_t> buffers_;            // of step_, one a tensor
  std::vector<std::uint64_t> reference_buffers_;  // the same with another place for the result
  std::size_t result_bytes_ = 0;
  std::vector<DeviceMemory> workspace_;  // one, once something needs it
  std::vector<DeviceMemory> worst_;      // two floats
};

}  // namespace takt::cuda
