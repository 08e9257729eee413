// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_tests/step_fixture.h"

namespace takt::cuda {
namespace {

TEST_F(GpuSteps, ContractionsAreThoseOfTheReference) {
  expect_as_reference(contraction_cases());
}

TEST_F(GpuSteps, ConvolutionsOfEveryKindAreThoseOfTheReference) {
  expect_as_reference(random_contraction_cases());
}

TEST_F(GpuSteps, ContractionsOnTensorCoresAreThoseOfTheReference) {
  const ComputeCapability capability = gpu_->device.capability;
  if (capability < ComputeCapability{8, 0}) GTEST_SKIP() << "they need compute capability 8.0";
  std::vector<StepCase> cases = tensor_core_cases();
  if (capability < ComputeCapability{9, 0}) {
    std::erase_if(cases, [](const StepCase& one) { return one.tiling->splits > 1; });
  }
  expect_as_reference(cases);
}

}  // namespace
}  // namespace takt::cuda
