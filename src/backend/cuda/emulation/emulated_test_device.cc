// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_tests/test_device.h"
#include "backend/cuda/emulation/emulated_steps.h"

#include <utility>

namespace takt::cuda {
namespace {

constexpr int kCapability = 800;

class EmulatedTestDevice final : public TestDevice {
 public:
  Result<void> run(std::vector<StepRun>& runs) override {
    std::vector<StepCode> codes;
    for (const StepRun& one : runs) codes.push_back(one.code);
    auto steps = emulation::EmulatedSteps::compile(codes, kCapability);
    if (!steps) return std::unexpected(std::move(steps).error());
    for (StepRun& one : runs) {
      Result<void> done = steps->run(one.step, one.code, one.buffers);
      if (!done) {
        return std::unexpected(std::move(done).error().within(graph::describe(one.step.ops[0].op)));
      }
    }
    return {};
  }
};

}  // namespace

Result<std::unique_ptr<TestDevice>> open_test_device() {
  if (!emulation::has_compiler()) {
    return fail(ErrorKind::unavailable,
                "there is no compiler " TAKT_HOST_COMPILER ", with which takt was built");
  }
  return std::make_unique<EmulatedTestDevice>();
}

}  // namespace takt::cuda
