// SPDX-License-Identifier: Apache-2.0
// Where tests run the code of steps: on a GPU in takt-gpu-tests (gpu_test_device.cc), on the CPU in
// takt-cuda-emulation-tests (emulation/emulated_test_device.cc).
// Thread-safe: no.
// Owns: what it compiled, until it is destroyed.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/kernels/step_code.h"
#include "core/result.h"

#include <cstddef>
#include <memory>
#include <vector>

namespace takt::cuda {

struct StepRun {
  Step step;
  StepCode code;  // its kernels' names differ from those of other steps
  std::vector<std::vector<std::byte>> buffers;  // of the inputs, and of the outputs, which change
};

class TestDevice {
 public:
  virtual ~TestDevice() = default;
  // One after the other, with kernels that are compiled together. Errors: what the compiler or a launch says.
  [[nodiscard]] virtual Result<void> run(std::vector<StepRun>& runs) = 0;
};

// Errors: unavailable (there is none here).
[[nodiscard]] Result<std::unique_ptr<TestDevice>> open_test_device();

}  // namespace takt::cuda
