// SPDX-License-Identifier: Apache-2.0
// A fault on the device loses every context of its process, so it happens in a process of its own.
#include "backend/cuda/device_tests/gpu_fixture.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/stream.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace takt::cuda {
namespace {

constexpr const char* kWriteTo = R"(
extern "C" __global__ void write_to(unsigned* address) { *address = 1; }
)";

// "name: kind; " of what an outcome says.
template <typename Outcome>
void tell(std::string_view name, const Outcome& outcome) {
  const std::string_view kind = outcome ? "no error" : to_string(outcome.error().kind);
  std::fprintf(stderr, "%.*s: %.*s; ", static_cast<int>(name.size()), name.data(),
               static_cast<int>(kind.size()), kind.data());
}

class GpuPoison : public GpuTest {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");  // the child starts anew, without our context
    GpuTest::SetUp();
  }

  // Ends the process: nothing of it can be used afterwards.
  [[noreturn]] void write_to_no_memory() {
    const Result<Stream> stream = Stream::create(context_);
    const Result<Kernel> kernel = build(kWriteTo, "write_to");
    const Result<DeviceMemory> memory = DeviceMemory::allocate(context_, 16);
    if (!stream || !kernel || !memory) std::_Exit(2);
    tell("launch", kernel->launch(*stream, {}, std::uint64_t{16}));
    tell("stream", stream->synchronize());
    std::array<std::byte, 16> bytes{};
    tell("copy", copy_to_device(memory->span(), bytes, *stream));
    tell("next launch", kernel->launch(*stream, {}, memory->span().address));
    tell("allocation", DeviceMemory::allocate(context_, 16));
    tell("context", context_->synchronize());
    std::_Exit(0);
  }
};

TEST_F(GpuPoison, AnIllegalAddressPoisonsTheDeviceAndEveryCallSaysSo) {
  EXPECT_EXIT(write_to_no_memory(), testing::ExitedWithCode(0),
              "launch: no error; stream: device_poisoned; copy: device_poisoned; "
              "next launch: device_poisoned; allocation: device_poisoned; "
              "context: device_poisoned; ");
}

}  // namespace
}  // namespace takt::cuda
