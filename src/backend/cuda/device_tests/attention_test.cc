// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/attention.h"

#include "backend/cuda/device_tests/step_fixture.h"

namespace takt::cuda {
namespace {

TEST_F(GpuSteps, AttentionIsThatOfTheReference) {
  expect_as_reference(attention_cases(DataType::fp16));
}

TEST_F(GpuSteps, AttentionInBf16IsThatOfTheReference) {
  const ComputeCapability capability = gpu_->device.capability;
  if (!attention_supported(DataType::bf16, capability, 64, 64)) {
    GTEST_SKIP() << "tensor cores of compute capability " << to_string(capability)
                 << " have no BF16";
  }
  expect_as_reference(attention_cases(DataType::bf16));
}

}  // namespace
}  // namespace takt::cuda
