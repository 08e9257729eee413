// SPDX-License-Identifier: Apache-2.0
#include "scheduler/expected_arrivals.h"

#include "scheduler/line_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::scheduler {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

TEST(BlockingSlack, OfOneTaskIsItsDeadlineLessItsRun) {
  const std::vector<SporadicTask> tasks{{us(1000), us(400), us(100)}};
  EXPECT_EQ(blocking_slack(tasks), us(300));
}

TEST(BlockingSlack, OfTwoTasksIsTheLeastOverAllDeadlines) {
  // Due within 400: 100; within 600: 100 + 300; later ones are looser.
  const std::vector<SporadicTask> tasks{{us(1000), us(400), us(100)}, {us(2000), us(600), us(300)}};
  EXPECT_EQ(blocking_slack(tasks), us(200));
}

TEST(BlockingSlack, IsEmptyForTasksThatDoNotFit) {
  const std::vector<SporadicTask> full{{us(100), us(100), us(60)}, {us(100), us(100), us(60)}};
  EXPECT_FALSE(blocking_slack(full));
  const std::vector<SporadicTask> long_run{{us(1000), us(200), us(100)},
                                           {us(9000), us(9000), us(150)}};
  EXPECT_FALSE(blocking_slack(long_run)) << "the second blocks the first for 150";
  EXPECT_FALSE(blocking_slack({}));
}

TEST(RecentMinimum, ForgetsWhatIsLongAgo) {
  RecentMinimum minimum;
  minimum.add(us(1));
  EXPECT_EQ(minimum.so_far(), us(1));
  EXPECT_EQ(minimum.value(), Duration::max()) << "not enough to trust";
  for (int i = 0; i < 64; ++i) minimum.add(us(5));
  EXPECT_EQ(minimum.value(), us(1));
  for (int i = 0; i < 64; ++i) minimum.add(us(5));
  EXPECT_EQ(minimum.value(), us(5));
}

constexpr std::uint32_t kCritical = 0;
constexpr std::uint32_t kOther = 1;

// A critical model of 100 us, and another of 100 us and 50 more a row, on one lane.
Line critical_and_other() {
  Line line;
  line.add(kCritical, {0}, limits(1), {{1, us(100), us(100)}});
  line.add(kOther, {1}, limits(8), hundred_and_fifty());
  return line;
}
ArrivalsExpected expected(std::int64_t interval_us, std::int64_t deadline_us) {
  return {
      .model = ModelId{kCritical}, .min_interval = us(interval_us), .deadline = us(deadline_us)};
}
// Runs one critical request, while `waiting` background requests come.
void run_critical(Line& line, std::int64_t deadline_us, int waiting) {
  line.arrive(1, kCritical, line.now_us + deadline_us, PriorityClass::critical);
  const Started critical = line.only_started();
  for (int i = 0; i < waiting; ++i) {
    line.arrive(10 + static_cast<std::uint64_t>(i), kOther, {}, PriorityClass::background);
  }
  line.now_us += 100;
  line.complete(critical, 100);
}

TEST(ExpectedArrivals, ALearnedFlowBoundsHowFarOthersGrow) {
  Line line = critical_and_other();
  run_critical(line, 300, 8);
  EXPECT_THAT(line.only_started().requests, SizeIs(3)) << "200 us: its deadline less its own run";
  EXPECT_EQ(line.statistics().batches_bounded, 1U);
}

TEST(ExpectedArrivals, ARunWhoseTimesVaryStaysShorterThanItsP99Allows) {
  Line line;
  line.add(kCritical, {0}, limits(1), {{1, us(100), us(100)}});
  line.add(kOther, {1}, limits(8), {{1, us(75), us(100)}, {8, us(425), us(450)}});
  run_critical(line, 300, 8);
  EXPECT_THAT(line.only_started().requests, SizeIs(2)) << "three take 200 us at their p99";
}

TEST(ExpectedArrivals, ALearnedFlowNeverStopsTheShortestRun) {
  Line line = critical_and_other();
  run_critical(line, 110, 8);
  EXPECT_THAT(line.only_started().requests, SizeIs(1));
  EXPECT_EQ(line.statistics().reservations, 0U);
}

TEST(ExpectedArrivals, AFlowThatIsSilentIsForgotten) {
  Line line = critical_and_other();
  run_critical(line, 110, 0);
  line.now_us += 11'000'000;
  line.arrive(50, kOther, {}, PriorityClass::background);
  const Started first = line.only_started();
  for (std::uint64_t id = 60; id < 68; ++id) line.arrive(id, kOther);
  line.complete(first, 100);
  EXPECT_THAT(line.only_started().requests, SizeIs(8));
}

TEST(ExpectedArrivals, UntilTheNextArrivalBatchesMayBeLonger) {
  Line line = critical_and_other();
  line.apply(expected(1000, 300));
  run_critical(line, 300, 8);
  EXPECT_THAT(line.only_started().requests, SizeIs(8)) << "it ends at 550, the next comes at 1000";
}

TEST(ExpectedArrivals, ALaneIsReservedForAnAnnouncedArrival) {
  Line line = critical_and_other();
  line.apply(expected(1000, 150));  // may be blocked for 50
  run_critical(line, 150, 0);
  line.now_us = 960;  // the next run of 100 would end at 1060
  line.arrive(20, kOther, {}, PriorityClass::background);
  EXPECT_TRUE(line.started().empty());
  ASSERT_EQ(line.all<LaneReserved>().size(), 1U);
  EXPECT_EQ(line.all<LaneReserved>()[0].until, at_us(1250));
  EXPECT_EQ(line.all<LaneReserved>()[0].expected.value, kCritical);
  line.now_us = 1000;
  line.arrive(2, kCritical, 1150, PriorityClass::critical);
  EXPECT_THAT(line.only_started().requests, ElementsAre(2));
  EXPECT_EQ(line.statistics().reservations, 1U);
  EXPECT_EQ(line.statistics().reserved_time, us(40));
}

TEST(ExpectedArrivals, AReservationEndsWhenTheArrivalIsOverdue) {
  Line line = critical_and_other();
  line.apply(expected(1000, 150));
  run_critical(line, 150, 0);
  line.now_us = 960;
  line.arrive(20, kOther, {}, PriorityClass::background);
  EXPECT_EQ(line.all<ArmTimer>().at(0).at, at_us(1250));
  line.now_us = 1250;
  line.apply(TimerFired{});
  EXPECT_THAT(line.only_started().requests, ElementsAre(20));
}

TEST(ExpectedArrivals, NoLaneIsReservedForAModelThatCannotRun) {
  Line line = critical_and_other();
  line.apply(expected(1000, 150));
  run_critical(line, 150, 0);
  line.apply(InstanceLost{InstanceId{0}});
  line.now_us = 960;
  line.arrive(20, kOther, {}, PriorityClass::background);
  EXPECT_THAT(line.only_started().requests, ElementsAre(20));
}

TEST(ExpectedArrivals, AWithdrawnAnnouncementReservesNothing) {
  Line line = critical_and_other();
  line.apply(expected(1000, 150));
  run_critical(line, 150, 0);
  line.apply(expected(0, 0));
  line.now_us = 960;
  line.arrive(20, kOther, {}, PriorityClass::background);
  EXPECT_THAT(line.only_started().requests, ElementsAre(20));
}

TEST(ExpectedArrivals, AnAnnouncementThatMakesNoSenseIsCounted) {
  Line line = critical_and_other();
  line.apply(expected(1000, -1));
  line.apply(ArrivalsExpected{.model = ModelId{7}, .min_interval = us(1), .deadline = us(1)});
  EXPECT_EQ(line.statistics().announcements_ignored, 2U);
}

TEST(ExpectedArrivals, AnotherLaneThatIsFreeInTimeNeedsNoReservation) {
  Line line(2);
  line.add(kCritical, {0}, limits(1), {{1, us(100), us(100)}});
  line.add(kOther, {1}, limits(8), hundred_and_fifty());
  line.apply(expected(1000, 150));
  run_critical(line, 150, 0);
  line.now_us = 960;
  line.arrive(20, kOther, {}, PriorityClass::background);
  EXPECT_THAT(line.only_started().requests, ElementsAre(20));
}

}  // namespace
}  // namespace takt::scheduler
