// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/host_memory.h"

#include "backend/cuda/device_tests/backend_fixture.h"

#include <array>
#include <atomic>
#include <optional>
#include <thread>

namespace takt::cuda {
namespace {

constexpr std::size_t kPage = 4096;

class GpuHostMemory : public GpuTest {
 protected:
  Mapping first_{4 * kPage};
  Mapping second_{2 * kPage};
  HostMemory& memory_ = HostMemory::of_process();
};

TEST_F(GpuHostMemory, BytesWithinAMappingHaveAnAddressAndOthersDoNot) {
  const std::array<std::span<const std::byte>, 2> regions{first_.bytes().first(3 * kPage),
                                                          second_.bytes()};
  const Result<PinnedInputs> pinned = memory_.pin(context_, regions);
  TAKT_ASSERT_OK(pinned);
  const auto begin = pinned->address(first_.bytes().first(1));
  ASSERT_TRUE(begin.has_value());
  EXPECT_EQ(pinned->address(first_.bytes().subspan(kPage + 7, 100)), *begin + kPage + 7);
  EXPECT_EQ(pinned->address(first_.bytes().first(3 * kPage)), *begin);
  EXPECT_TRUE(pinned->address(second_.bytes().last(1)).has_value());
  EXPECT_FALSE(pinned->address(first_.bytes().first(3 * kPage + 1)).has_value());
  EXPECT_FALSE(pinned->address(first_.bytes().last(1)).has_value());
  const std::array<std::byte, 16> elsewhere{};
  EXPECT_FALSE(pinned->address(elsewhere).has_value());
}

TEST_F(GpuHostMemory, AMappingIsPinnedUntilTheLastOneThatNeedsItGoes) {
  const std::array<std::span<const std::byte>, 1> regions{first_.bytes()};
  std::optional<PinnedInputs> first = memory_.pin(context_, regions).value();
  std::optional<PinnedInputs> second = memory_.pin(context_, regions).value();
  const auto address = first->address(first_.bytes());
  EXPECT_EQ(second->address(first_.bytes()), address);
  first.reset();
  EXPECT_EQ(second->address(first_.bytes()), address);
  // The driver refuses to pin memory twice.
  EXPECT_FALSE(HostRegistration::read_only(context_, first_.bytes()).has_value());
  second.reset();
  TAKT_ASSERT_OK(HostRegistration::read_only(context_, first_.bytes()));
}

// The last use ends on one thread while another begins: whoever comes finds it pinned, or pins it.
TEST_F(GpuHostMemory, UsesBeginAndEndOnSeveralThreads) {
  const std::array<std::span<const std::byte>, 1> regions{first_.bytes()};
  std::atomic<int> failed = 0;
  const auto pin_often = [&] {
    for (int i = 0; i < 500; ++i) {
      if (!memory_.pin(context_, regions)) ++failed;
    }
  };
  {
    const std::jthread other(pin_often);
    pin_often();
  }
  EXPECT_EQ(failed, 0);
}

TEST_F(GpuHostMemory, AMappingThatCannotBePinnedIsLeftOutAndTheOthersGoFree) {
  {
    // The driver refuses to pin memory twice.
    const Result<HostRegistration> already = HostRegistration::read_only(context_, first_.bytes());
    TAKT_ASSERT_OK(already);
    const std::array<std::span<const std::byte>, 2> regions{first_.bytes(), second_.bytes()};
    const Result<PinnedInputs> pinned = memory_.pin(context_, regions);
    TAKT_ASSERT_OK(pinned);
    EXPECT_NE(pinned->unpinned(), "");
    EXPECT_FALSE(pinned->address(first_.bytes()).has_value());
    EXPECT_TRUE(pinned->address(second_.bytes()).has_value());
  }
  TAKT_ASSERT_OK(HostRegistration::read_only(context_, second_.bytes()));
}

}  // namespace
}  // namespace takt::cuda
