// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::cuda {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Device of_capability(ComputeCapability capability) {
  return {.index = 1, .name = "A GPU", .capability = capability, .pci_id = "0000:1b:00.0"};
}

TEST(DeviceSupport, ADeviceBeforeTuringIsRefusedWithBothCapabilities) {
  const Result<void> refused = check_supported(of_capability({7, 0}));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(refused.error().message,
              AllOf(HasSubstr("cuda:1"), HasSubstr("A GPU"), HasSubstr("7.0"), HasSubstr("7.5")));
}

TEST(DeviceSupport, TuringAndLaterAreTaken) {
  for (const ComputeCapability capability :
       {ComputeCapability{7, 5}, {8, 0}, {9, 0}, {10, 0}, {12, 0}}) {
    EXPECT_TRUE(check_supported(of_capability(capability)).has_value()) << to_string(capability);
  }
}

}  // namespace
}  // namespace takt::cuda
