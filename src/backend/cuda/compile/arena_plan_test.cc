// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/arena_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace takt::cuda {
namespace {

using ::testing::ElementsAre;

constexpr std::size_t kPage = kArenaAlignment;

TEST(ArenaPlan, LetsBuffersShareBytesOneAfterTheOther) {
  const std::vector<BufferLife> chain{{kPage, 0, 1}, {kPage, 1, 2}, {kPage, 2, 3}};
  const ArenaPlan plan = plan_arena(chain);
  EXPECT_EQ(plan.bytes, 2 * kPage);
  EXPECT_EQ(plan.offsets[0], plan.offsets[2]);
}

TEST(ArenaPlan, FillsTheSmallestGapThatIsWideEnough) {
  // Once the first and the third have gone there are gaps of ten pages and of eight.
  const std::vector<BufferLife> buffers{{10 * kPage, 0, 1},
                                        {9 * kPage, 0, 9},
                                        {8 * kPage, 0, 1},
                                        {7 * kPage, 0, 9},
                                        {6 * kPage, 5, 6}};
  const ArenaPlan plan = plan_arena(buffers);
  EXPECT_EQ(plan.bytes, 34 * kPage);
  EXPECT_EQ(plan.offsets[4], plan.offsets[2]);
}

TEST(ArenaPlan, TakesNothingForNothing) {
  EXPECT_EQ(plan_arena({}).bytes, 0U);
  EXPECT_EQ(most_alive_bytes({}), 0U);
  const std::vector<BufferLife> empty{{0, 0, 1}, {0, 0, 1}};
  EXPECT_EQ(plan_arena(empty).bytes, 0U);
  EXPECT_THAT(plan_arena(empty).offsets, ElementsAre(0, 0));
}

std::vector<BufferLife> some_buffers() {
  return *rc::gen::container<std::vector<BufferLife>>(rc::gen::build<BufferLife>(
      rc::gen::set(&BufferLife::bytes, rc::gen::inRange<std::size_t>(0, 5000)),
      rc::gen::set(&BufferLife::first, rc::gen::inRange(0, 20)),
      rc::gen::set(&BufferLife::last, rc::gen::just(0))));
}

RC_GTEST_PROP(ArenaPlanProperty, NothingThatIsNeededTogetherOverlaps, ()) {
  std::vector<BufferLife> buffers = some_buffers();
  for (BufferLife& buffer : buffers) buffer.last = buffer.first + *rc::gen::inRange(0, 6);
  const ArenaPlan plan = plan_arena(buffers);
  std::size_t total = 0;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    RC_ASSERT(plan.offsets[i] % kArenaAlignment == 0U);
    RC_ASSERT(plan.offsets[i] + buffers[i].bytes <= plan.bytes);
    total += buffers[i].bytes + kArenaAlignment;
    for (std::size_t k = 0; k < i; ++k) {
      const bool together =
          buffers[i].first <= buffers[k].last && buffers[k].first <= buffers[i].last;
      const bool apart = plan.offsets[i] + buffers[i].bytes <= plan.offsets[k] ||
                         plan.offsets[k] + buffers[k].bytes <= plan.offsets[i];
      const bool empty = buffers[i].bytes == 0 || buffers[k].bytes == 0;
      RC_ASSERT(!together || apart || empty);
    }
  }
  RC_ASSERT(plan.bytes <= total);
  RC_ASSERT(plan.bytes >= most_alive_bytes(buffers));
}

}  // namespace
}  // namespace takt::cuda
