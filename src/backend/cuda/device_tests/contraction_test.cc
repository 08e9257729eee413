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

}  // namespace
}  // namespace takt::cuda
