// SPDX-License-Identifier: Apache-2.0
#include "core/time.h"

#include <gtest/gtest.h>

namespace takt {
namespace {

TEST(ManualClock, MovesOnlyWhenMoved) {
  ManualClock clock(TimePoint(Duration(5000)));
  EXPECT_EQ(clock.now(), TimePoint(Duration(5000)));
  clock.advance(std::chrono::microseconds(3));
  EXPECT_EQ(to_us(clock.now().time_since_epoch()), 8);
}

TEST(SystemClock, NeverGoesBack) {
  const SystemClock clock;
  TimePoint last = clock.now();
  for (int i = 0; i < 1000; ++i) {
    const TimePoint now = clock.now();
    ASSERT_GE(now, last);
    last = now;
  }
}

}  // namespace
}  // namespace takt
