// SPDX-License-Identifier: Apache-2.0
#include "app/event_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::app {
namespace {

using namespace std::chrono_literals;
using engine::Event;
using engine::EventKind;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::SizeIs;

constexpr TimePoint kStart{1000s};

Event event(EventKind kind, TimePoint at = kStart, std::uint64_t count = 1) {
  return {
      .kind = kind, .at = at, .name = "defects", .device = "cpu", .text = "why", .count = count};
}

TEST(EventFeed, PrintsAnEventWithItsTimeAndPlace) {
  EventFeed feed;
  feed.observer()(event(EventKind::worker_lost));
  EXPECT_THAT(feed.take(kStart),
              ElementsAre(MatchesRegex(
                  "[0-9][0-9]:[0-9][0-9]:[0-9][0-9][.][0-9]+ worker_lost defects on cpu: why")));
  EXPECT_THAT(feed.take(kStart), IsEmpty());
}

TEST(EventFeed, CountsWhatIsTooMuchForOneSecond) {
  EventFeed feed;
  for (int i = 0; i < EventFeed::kLinesPerSecondMax + 3; ++i) {
    feed.post(event(EventKind::worker_lost));
  }
  EXPECT_THAT(feed.take(kStart), SizeIs(EventFeed::kLinesPerSecondMax));
  EXPECT_THAT(feed.take(kStart + 999ms), IsEmpty());
  EXPECT_THAT(feed.take(kStart + 1s), ElementsAre("and 3 more worker_lost"));
  feed.post(event(EventKind::worker_lost, kStart + 1s));
  EXPECT_THAT(feed.take(kStart + 1s), SizeIs(1)) << "a new second";
}

TEST(EventFeed, AStormOfOneKindHidesNoOther) {
  EventFeed feed;
  for (int i = 0; i < 1000; ++i) feed.post(event(EventKind::requests_shed, kStart, 2));
  feed.post(event(EventKind::circuit_opened));
  const std::vector<std::string> lines = feed.take(kStart, true);
  ASSERT_THAT(lines, SizeIs(EventFeed::kLinesPerSecondMax + 2));
  EXPECT_THAT(lines[EventFeed::kLinesPerSecondMax], EndsWith("circuit_opened defects on cpu: why"));
  EXPECT_EQ(lines.back(), "and 1990 more requests_shed") << "requests, not events";
}

TEST(EventFeed, IsBoundedWhenNobodyTakes) {
  EventFeed feed;
  const std::size_t posted = 2 * EventFeed::kWaitingMax;
  for (std::size_t i = 0; i < posted; ++i) {
    feed.post(event(EventKind::worker_lost, kStart + std::chrono::seconds(i)));
  }
  const std::vector<std::string> lines = feed.take(kStart + std::chrono::seconds(posted));
  ASSERT_THAT(lines, SizeIs(EventFeed::kWaitingMax + 1));
  EXPECT_EQ(lines.back(), "and 256 more worker_lost");
}

}  // namespace
}  // namespace takt::app
