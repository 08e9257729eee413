// SPDX-License-Identifier: Apache-2.0
#include "ipc/shared_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace takt::ipc {
namespace {

Descriptor copy_of(int descriptor) {
  return Descriptor(::dup(descriptor));
}

TEST(SharedMemory, WhatOneMappingWritesTheOtherReads) {
  const auto made = SharedMemory::create("test", 10'000);
  ASSERT_TRUE(made);
  const auto mapped = SharedMemory::map(copy_of(made->descriptor()), Access::read);
  ASSERT_TRUE(mapped) << mapped.error().message;
  ASSERT_EQ(mapped->bytes().size(), 10'000U);
  made->bytes()[9'999] = std::byte{7};
  EXPECT_EQ(mapped->bytes()[9'999], std::byte{7});
}

TEST(SharedMemory, NobodyCanResizeIt) {
  const auto made = SharedMemory::create("test", 4096);
  ASSERT_TRUE(made);
  EXPECT_NE(::ftruncate(made->descriptor(), 1), 0);
  EXPECT_NE(::ftruncate(made->descriptor(), 8192), 0);
}

TEST(SharedMemory, AFileThatCouldBeShortenedIsRefused) {
  Descriptor file(::memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(file.get(), 4096), 0);
  const auto mapped = SharedMemory::map(std::move(file), Access::write);
  ASSERT_FALSE(mapped);
  EXPECT_EQ(mapped.error().kind, ErrorKind::invalid_input);
}

TEST(SharedMemory, ADescriptorOfSomethingElseIsRefused) {
  EXPECT_FALSE(SharedMemory::map(Descriptor(::open("/dev/null", O_RDWR)), Access::read));
  EXPECT_FALSE(SharedMemory::map(Descriptor(), Access::read));
  EXPECT_FALSE(SharedMemory::create("test", 0));
}

}  // namespace
}  // namespace takt::ipc
