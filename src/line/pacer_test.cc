// SPDX-License-Identifier: Apache-2.0
#include "line/pacer.h"

#include <gtest/gtest.h>

#include <thread>

namespace takt::line {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Pacer, WithoutARateNeverWaits) {
  ManualClock clock;
  StopSignal stop;
  Pacer pacer(0, clock, stop);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(pacer.wait());
}

TEST(Pacer, NoFrameIsReleasedBeforeItIsDue) {
  ManualClock clock;
  StopSignal stop;
  Pacer pacer(100, clock, stop);
  constexpr int kFrames = 20;
  std::vector<TimePoint> released;
  const TimePoint start = clock.now();  // the schedule begins here or later
  std::jthread waiter([&] {
    for (int i = 0; i < kFrames; ++i) {
      ASSERT_TRUE(pacer.wait());
      released.push_back(clock.now());
    }
    stop.raise();
  });
  // The time of the test is the clock's, moved until the last frame is out.
  while (!stop.raised()) {
    clock.advance(milliseconds(1));
    std::this_thread::yield();
  }
  waiter.join();
  for (int i = 1; i < kFrames; ++i) {
    EXPECT_GE(released[static_cast<std::size_t>(i)], start + i * milliseconds(10)) << i;
  }
}

TEST(Pacer, TheScheduleIsAbsolute) {
  ManualClock clock;
  StopSignal stop;
  Pacer pacer(10, clock, stop);
  ASSERT_TRUE(pacer.wait());
  clock.advance(milliseconds(350));  // frames 1, 2 and 3 are overdue: none of them waits
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(pacer.wait());
  clock.advance(milliseconds(50));  // frame 4 is due at 400 ms, not 100 ms after frame 3
  EXPECT_TRUE(pacer.wait());
  EXPECT_EQ(pacer.restarts(), 0U);
}

TEST(Pacer, FarBehindTheScheduleStartsAnew) {
  ManualClock clock;
  StopSignal stop;
  Pacer pacer(10, clock, stop);
  ASSERT_TRUE(pacer.wait());
  clock.advance(seconds(3600));
  EXPECT_TRUE(pacer.wait());
  EXPECT_EQ(pacer.restarts(), 1U) << "no flood of 36,000 frames";
  stop.raise();
  EXPECT_FALSE(pacer.wait());
}

TEST(Pacer, StopEndsAWaitThatTheClockNeverWould) {
  ManualClock clock;
  StopSignal stop;
  Pacer pacer(1, clock, stop);
  ASSERT_TRUE(pacer.wait());
  bool released = true;
  std::jthread waiter([&] { released = pacer.wait(); });
  stop.raise();
  waiter.join();
  EXPECT_FALSE(released);
}

}  // namespace
}  // namespace takt::line
