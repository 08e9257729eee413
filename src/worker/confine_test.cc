// SPDX-License-Identifier: Apache-2.0
// What a worker may still do, each in a process of its own: nothing takes the limits back.
#include "worker/confine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <fstream>
#include <string>
#include <thread>

namespace takt::worker {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

std::size_t data_bytes() {
  std::ifstream file("/proc/self/status");
  std::size_t kilobytes = 0;
  for (std::string word; file >> word;) {
    if (word == "VmData:" && file >> kilobytes) break;
  }
  return kilobytes * 1024;
}

// The child's exit code is the line of the first thing that was not as expected; 0: all was.
#define EXPECT_IN_CHILD(condition) \
  if (!(condition)) ::_exit(__LINE__ % 256)

// As a GPU's driver reserves address space for the memory of host and devices.
bool can_reserve(std::size_t bytes) {
  return ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) !=
         MAP_FAILED;
}

TEST(Confine, TheSandboxLeavesWhatAGpusDriverDoes) {
  const auto child = [] {
    EXPECT_IN_CHILD(confine({.sandbox = true, .memory_bytes_max = 0}, "cuda:0"));
    const int device = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    EXPECT_IN_CHILD(device >= 0);
    EXPECT_IN_CHILD(::ioctl(device, FIONREAD, nullptr) != 0 && errno != EPERM);
    EXPECT_IN_CHILD(::eventfd(0, EFD_CLOEXEC) >= 0);
    EXPECT_IN_CHILD(::socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
    EXPECT_IN_CHILD(can_reserve(std::size_t{1} << 36));
    bool ran = false;
    std::thread([&ran] { ran = true; }).join();
    EXPECT_IN_CHILD(ran);
    ::_exit(0);
  };
  EXPECT_EXIT(child(), ::testing::ExitedWithCode(0), "");
}

TEST(Confine, TheSandboxForbidsProgramsAndTheNetwork) {
  const auto child = [] {
    EXPECT_IN_CHILD(confine({.sandbox = true, .memory_bytes_max = 0}, "cuda:0"));
    EXPECT_IN_CHILD(::socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM);
    char program[] = "/bin/true";
    char* const arguments[] = {program, nullptr};
    ::execv(program, arguments);
    EXPECT_IN_CHILD(errno == EPERM);
    ::_exit(0);
  };
  EXPECT_EXIT(child(), ::testing::ExitedWithCode(0), "");
}

TEST(Confine, ALimitOnMemoryCountsNoReservedAddresses) {
  const auto child = [] {
    const std::size_t bytes_max = data_bytes() + 64 * kMiB;
    EXPECT_IN_CHILD(confine({.sandbox = false, .memory_bytes_max = bytes_max}, "cuda:0"));
    EXPECT_IN_CHILD(can_reserve(std::size_t{1} << 36));
    void* const written =
        ::mmap(nullptr, 128 * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_IN_CHILD(written == MAP_FAILED && errno == ENOMEM);
    ::_exit(0);
  };
  EXPECT_EXIT(child(), ::testing::ExitedWithCode(0), "");
}

TEST(Confine, OnAGpuALimitThatIsPassedAlreadyIsToldWithARemedy) {
  const Result<void> confined =
      confine({.sandbox = false, .memory_bytes_max = kMiB / 16}, "cuda:0");
  ASSERT_FALSE(confined);
  EXPECT_EQ(confined.error().kind, ErrorKind::unavailable);
  EXPECT_NE(confined.error().message.find("raise workers.memory_max"), std::string::npos)
      << confined.error().message;
}

}  // namespace
}  // namespace takt::worker
