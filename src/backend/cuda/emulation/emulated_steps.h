// SPDX-License-Identifier: Apache-2.0
// Steps by takt's own kernels on the CPU.
// Thread-safe: no.
// Owns: the compiled kernels.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/emulation/block.h"
#include "backend/cuda/emulation/guarded_memory.h"
#include "backend/cuda/emulation/kernel_library.h"
#include "backend/cuda/kernels/step_code.h"
#include "core/result.h"

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace takt::cuda::emulation {

class EmulatedSteps {
 public:
  using Bytes = std::vector<std::byte>;

  // All kernels of the steps, whose names differ, as for a device of this capability. Errors: those of
  // KernelLibrary::compile().
  [[nodiscard]] static Result<EmulatedSteps> compile(const std::vector<StepCode>& codes,
                                                     int capability);

  // Runs a step on buffers of its inputs and then its outputs, which change: twice, forwards with guards behind the
  // buffers, and backwards with guards before them. Errors: those of KernelLibrary::run(), internal (something was
  // written beside a buffer, or the runs differ).
  [[nodiscard]] Result<void> run(const Step& step, const StepCode& code,
                                 std::vector<Bytes>& buffers);

 private:
  [[nodiscard]] Result<std::vector<Bytes>> run_once(const Step& step, const StepCode& code,
                                                    const std::vector<Bytes>& buffers, Order order,
                                                    Guard guard);

  std::vector<KernelLibrary> libraries_;
  std::map<std::string, std::size_t> library_of_;  // by the kernels' names
  std::unique_ptr<Block> block_ = std::make_unique<Block>();
};

}  // namespace takt::cuda::emulation
