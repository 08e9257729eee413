// SPDX-License-Identifier: Apache-2.0
// A step made ready to run: by takt's own kernels or by a plan of cuDNN.
// Thread-safe: yes, it never changes; queueing follows the rule of the stream.
// Owns: shares of kernels and plan.
#pragma once

#include "backend/cuda/compile/kernel_cache.h"
#include "backend/cuda/compile/program.h"
#include "backend/cuda/cudnn.h"
#include "backend/cuda/kernels/step_code.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/stream.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace takt::cuda {

// Where steps are queued.
struct StepQueue {
  const Stream* stream = nullptr;
  const CudnnHandle* cudnn = nullptr;      // on that stream; null: no step needs it
  std::span<const std::uint64_t> buffers;  // where each of Program::buffers begins
  DeviceSpan workspace;                    // as many bytes as the steps need at most
};

class StepRunner {
 public:
  // Errors: invalid_input (takt has no kernel for the step), and those of KernelCache::kernel.
  [[nodiscard]] static Result<StepRunner> with_kernels(const Step& step, KernelCache& cache);
  // By product_code(). Errors: likewise.
  [[nodiscard]] static Result<StepRunner> with_product(const Step& step,
                                                       const ProductTiling& tiling,
                                                       KernelCache& cache);
  [[nodiscard]] static StepRunner with_plan(const Step& step, CudnnPlan plan);

  // Needs a Scope. Errors: device_poisoned, internal.
  [[nodiscard]] Result<void> queue(const StepQueue& queue) const;

  [[nodiscard]] const Step& step() const noexcept { return step_; }
  [[nodiscard]] std::size_t workspace_bytes() const noexcept { return workspace_bytes_; }
  // "takt_conv", "takt_conv 64x32x4x8x64", "cudnn eng12_k24=5"
  [[nodiscard]] const std::string& implementation() const noexcept { return implementation_; }
  [[nodiscard]] const CudnnPlan* plan() const noexcept { return plan_ ? &*plan_ : nullptr; }

 private:
  struct Call {
    Kernel kernel;
    LaunchShape shape;
    std::vector<Operand> operands;
  };

  explicit StepRunner(const Step& step) : step_(step) {}
  [[nodiscard]] static Result<StepRunner> with_code(const Step& step, StepCode code,
                                                    KernelCache& cache);
  [[nodiscard]] Result<void> queue_calls(const StepQueue& queue) const;
  [[nodiscard]] static std::uint64_t address(const View& view, const StepQueue& queue);

  Step step_;
  std::vector<Call> calls_;
  std::optional<CudnnPlan> plan_;
  std::size_t workspace_bytes_ = 0;
  std::string implementation_;
};

// What kernels of the step are called: "conv", "pointwise", "reduce_mean".
[[nodiscard]] std::string step_label(const Step& step);

}  // namespace takt::cuda
