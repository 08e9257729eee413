// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_tests/step_fixture.h"

namespace takt::cuda {
namespace {

TEST_F(GpuSteps, ElementsRowsWindowsAndNormsAreThoseOfTheReference) {
  expect_as_reference(other_cases());
}

}  // namespace
}  // namespace takt::cuda
