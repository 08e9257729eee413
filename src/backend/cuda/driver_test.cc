// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

// CUresult codes as cuda.h numbers them; nothing here needs a driver.
namespace takt::cuda {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(DriverErrors, AFullDeviceIsOutOfMemory) {
  EXPECT_EQ(error_kind(2), ErrorKind::out_of_memory);
}

TEST(DriverErrors, WhatLosesTheContextPoisonsTheDevice) {
  // ECC, NVLink, contained; illegal address, time-out, destroyed context, assert, stack, illegal
  // instruction, misaligned, address space, program counter, launch failed, tensor memory; MPS.
  for (const int code :
       {214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 806, 810}) {
    EXPECT_EQ(error_kind(code), ErrorKind::device_poisoned) << code;
  }
}

TEST(DriverErrors, WhatIsNotThereOrNotReadyIsUnavailableWithARemedy) {
  for (const int code : {4, 34, 46, 100, 102, 802, 803, 804, 805, 807, 808, 809}) {
    EXPECT_EQ(error_kind(code), ErrorKind::unavailable) << code;
    const Error error = driver_error(code, "cuInit", "NAME", "description");
    EXPECT_THAT(error.message, HasSubstr("cuInit: NAME (description); "));
  }
}

TEST(DriverErrors, EverythingElseIsInternal) {
  // invalid value, invalid context, no code for the device, too many resources for a launch, not
  // permitted, unknown, and a code of a later driver.
  for (const int code : {1, 201, 209, 701, 800, 999, 12345}) {
    EXPECT_EQ(error_kind(code), ErrorKind::internal) << code;
  }
  EXPECT_EQ(driver_error(1, "cuMemAlloc", "CUDA_ERROR_INVALID_VALUE", "invalid argument").message,
            "cuMemAlloc: CUDA_ERROR_INVALID_VALUE (invalid argument)");
}

TEST(DriverErrors, NoVisibleDeviceSaysWhereToLook) {
  EXPECT_THAT(driver_error(100, "cuInit", "CUDA_ERROR_NO_DEVICE", "no device").message,
              AllOf(HasSubstr("nvidia-smi"), HasSubstr("CUDA_VISIBLE_DEVICES")));
}

TEST(DriverVersion, AnOlderDriverIsRefusedWithBothVersions) {
  const Result<void> refused = check_driver_version(11080);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(refused.error().message, AllOf(HasSubstr("11.8"), HasSubstr("12.0")));
  EXPECT_TRUE(check_driver_version(12000).has_value());
  EXPECT_TRUE(check_driver_version(13000).has_value());
}

TEST(DriverVersion, ReadsAsPeopleWriteIt) {
  EXPECT_EQ(version_text(12080), "12.8");
  EXPECT_EQ(version_text(13000), "13.0");
}

}  // namespace
}  // namespace takt::cuda
