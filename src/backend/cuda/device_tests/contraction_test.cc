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
  if (gpu_->device.capability < ComputeCapability{9, 0}) GTEST_SKIP() << "clusters need 9.0";
  expect_as_reference(tensor_core_cases());
}

}  // namespace
}  // namespace takt::cuda
