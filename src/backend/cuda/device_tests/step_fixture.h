// SPDX-License-Identifier: Apache-2.0
// A test that runs steps by takt's own kernels on a GPU and compares them with the reference evaluator.
#pragma once

#include "backend/cuda/device_tests/gpu_fixture.h"
#include "backend/cuda/device_tests/step_cases.h"
#include "backend/cuda/kernels/step_code.h"
#include "backend/cuda/memory.h"

#include <cstddef>
#include <string>
#include <vector>

namespace takt::cuda {

class GpuSteps : public GpuTest {
 protected:
  // All kernels are compiled together.
  void expect_as_reference(const std::vector<StepCase>& cases);

 private:
  [[nodiscard]] Result<Module> compile(const std::vector<StepCode>& codes) const;
  // The outputs' buffers after the step.
  [[nodiscard]] Result<std::vector<std::vector<std::byte>>> run(
      const Step& step, const StepCode& code, const Module& module,
      const std::vector<std::vector<std::byte>>& inputs) const;
};

}  // namespace takt::cuda
