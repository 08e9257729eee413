// SPDX-License-Identifier: Apache-2.0
#include "scheduler/profile.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace takt::scheduler {
namespace {

Duration us(std::int64_t count) {
  return std::chrono::microseconds(count);
}
TimePoint at_us(std::int64_t count) {
  return TimePoint(us(count));
}

LatencyProfile loaded() {
  const std::vector<LatencyPoint> points{{1, us(100), us(120)}, {4, us(250), us(300)}};
  return {points, 16};
}

TEST(LatencyProfile, InterpolatesBetweenBatchSizes) {
  const LatencyProfile profile = loaded();
  EXPECT_EQ(profile.p99(1), us(120));
  EXPECT_EQ(profile.p99(2), us(180));
  EXPECT_EQ(profile.p50(3), us(200));
  EXPECT_EQ(profile.p99(4), us(300));
}

TEST(LatencyProfile, IsLinearPerRowBeyondTheLargestBatch) {
  EXPECT_EQ(loaded().p99(8), us(540));
  const std::vector<LatencyPoint> one{{2, us(100), us(100)}};
  EXPECT_EQ(LatencyProfile(one, 8).p99(6), us(300));
  EXPECT_EQ(LatencyProfile(one, 8).p99(1), us(100)) << "a smaller batch is taken to be no faster";
}

TEST(LatencyProfile, NeverFallsWithTheBatch) {
  const std::vector<LatencyPoint> points{{1, us(200), us(300)}, {2, us(150), us(200)}};
  EXPECT_EQ(LatencyProfile(points, 2).p99(2), us(300));
}

TEST(LatencyProfile, IsUnknownUntilEnoughExecutions) {
  LatencyProfile profile({}, 4);
  for (int i = 0; i < LatencyProfile::kSamplesBeforeUse; ++i) {
    EXPECT_FALSE(profile.known());
    EXPECT_EQ(profile.p99(1), Duration{});
    profile.record(1, us(100), at_us(i));
  }
  EXPECT_TRUE(profile.known());
  EXPECT_EQ(profile.p99(1), us(100));
}

TEST(LatencyProfile, TwoOutliersChangeNothing) {
  LatencyProfile profile = loaded();
  profile.record(1, us(90'000), at_us(1));
  profile.record(1, us(90'000), at_us(2));
  EXPECT_EQ(profile.p99(1), us(120));
  EXPECT_EQ(profile.p50(1), us(100));
}

TEST(LatencyProfile, AModelThatBecameSlowerIsNoticedAtTheThirdExecution) {
  LatencyProfile profile = loaded();
  for (int i = 0; i < 3; ++i) profile.record(1, us(400), at_us(i));
  EXPECT_EQ(profile.p99(1), us(400));
  EXPECT_EQ(profile.p99(4), us(400)) << "a larger batch is taken to be no faster";
}

TEST(LatencyProfile, AWindowOfExecutionsReplacesWhatWasLoaded) {
  LatencyProfile profile = loaded();
  for (int i = 0; i < SlidingQuantiles::kCapacity; ++i) profile.record(1, us(50), at_us(i));
  EXPECT_EQ(profile.p99(1), us(50));
  EXPECT_EQ(profile.p99(4), us(300)) << "other sizes keep theirs";
}

TEST(LatencyProfile, LearnsSizesThatWereNotLoaded) {
  LatencyProfile profile = loaded();
  for (int i = 0; i < SlidingQuantiles::kCapacity; ++i) profile.record(2, us(130), at_us(i));
  EXPECT_EQ(profile.p99(2), us(130));
  EXPECT_EQ(profile.points().size(), 3U);
}

TEST(LatencyProfile, BoundsTheSizesThatItLearns) {
  LatencyProfile profile({}, 1000);
  for (int size = 1; size <= 1000; ++size) {
    for (int i = 0; i < LatencyProfile::kSamplesBeforeUse; ++i) {
      profile.record(size, us(size), at_us(i));
    }
  }
  EXPECT_EQ(profile.points().size(), static_cast<std::size_t>(LatencyProfile::kLearnedSizesMax));
  EXPECT_EQ(profile.p99(1000), us(1000)) << "what isn't learned is continued per row";
}

TEST(LatencyProfile, LargerBatchesAreWorthTheirGainOnly) {
  // 100 us a row alone, 62.5 at four, 55 at eight, 53.1 at sixteen.
  const std::vector<LatencyPoint> points{
      {1, us(100), us(120)}, {4, us(250), us(300)}, {8, us(440), us(500)}, {16, us(850), us(900)}};
  const LatencyProfile profile(points, 16);
  EXPECT_EQ(profile.rows_worth(16, 0.0), 16);
  EXPECT_EQ(profile.rows_worth(16, 0.05), 8);
  EXPECT_EQ(profile.rows_worth(16, 0.10), 6) << "linear from four to eight: 345 us, 57.5 a row";
  EXPECT_EQ(profile.rows_worth(16, 1.0), 1);
  EXPECT_EQ(profile.rows_worth(4, 0.05), 4) << "what a lowered limit forbids doesn't count";
  EXPECT_EQ(profile.rows_worth(1, 0.05), 1);
}

TEST(LatencyProfile, BatchesThatCostMoreARowAreNotWorthIt) {
  const std::vector<LatencyPoint> points{
      {1, us(1025), us(1200)}, {4, us(3536), us(4000)}, {16, us(15240), us(17000)}};
  EXPECT_EQ(LatencyProfile(points, 64).rows_worth(64, 0.0), 4);
  const std::vector<LatencyPoint> linear{{1, us(100), us(100)}, {8, us(800), us(800)}};
  EXPECT_EQ(LatencyProfile(linear, 8).rows_worth(8, 0.0), 1);
  EXPECT_EQ(LatencyProfile(linear, 8).rows_worth(8, 0.05, us(60)), 5)
      << "with 60 us around it: 160 us a row alone, 112 in fives, 107.5 in eights";
  EXPECT_EQ(LatencyProfile({}, 8).rows_worth(8, 0.05), 8) << "unknown: as the limit allows";
}

TEST(LatencyProfile, TheLeastIsFoundWhateverTheRounding) {
  const auto ns = [](std::int64_t count) { return Duration(count); };
  const std::vector<LatencyPoint> points{{1, us(131), us(131)},
                                         {7, ns(629'125), ns(629'125)},
                                         {11, ns(730'436), ns(730'436)},
                                         {14, ns(996'097), ns(996'097)}};
  EXPECT_EQ(LatencyProfile(points, 12).rows_worth(12, 0.0), 11);
}

TEST(LatencyProfile, RemembersTheLongestOfTheWindow) {
  LatencyProfile profile = loaded();
  EXPECT_EQ(profile.longest(1), us(120)) << "as loaded";
  profile.record(1, us(900), at_us(1));
  EXPECT_EQ(profile.longest(1), us(900));
  EXPECT_EQ(profile.longest(4), us(900)) << "a larger batch is taken to be no faster";
  EXPECT_EQ(profile.p99(1), us(120));
  for (int i = 0; i < SlidingQuantiles::kCapacity; ++i) profile.record(1, us(50), at_us(i));
  EXPECT_EQ(profile.longest(1), us(50));
}

TEST(LatencyProfile, ExportsWhatItKnowsAndFromHowMany) {
  LatencyProfile profile = loaded();
  for (int i = 0; i < 300; ++i) profile.record(4, us(500), at_us(i));
  const std::vector<ProfilePoint> points = profile.exported();
  ASSERT_EQ(points.size(), 2U);
  EXPECT_EQ(points[0].executions, 0);
  EXPECT_EQ(points[0].p99, us(120));
  EXPECT_EQ(points[1].batch, 4);
  EXPECT_EQ(points[1].executions, 300);
  EXPECT_EQ(points[1].p50, us(500));
  EXPECT_EQ(points[1].longest, us(500));
}

TEST(LatencyProfile, BeginsAgainWithWhatWasExported) {
  LatencyProfile before = loaded();
  for (int i = 0; i < 300; ++i) before.record(4, us(500), at_us(i));
  for (int i = 0; i < 20; ++i) before.record(1, us(700), at_us(i));
  const std::vector<LatencyPoint> measured{{1, us(100), us(120)}, {8, us(600), us(600)}};
  const LatencyProfile after(merge_profile(measured, before.exported()), 16);
  EXPECT_EQ(after.p99(1), us(120)) << "20 executions say less than a measurement";
  EXPECT_EQ(after.p99(4), us(700)) << "as it was exported, with the floor of smaller sizes";
  EXPECT_EQ(after.p99(8), us(700));
}

TEST(LatencyProfile, LeavesOutStoredPointsThatMakeNoSense) {
  const std::vector<ProfilePoint> stored{
      {.batch = 0, .p50 = us(1), .p99 = us(1), .executions = 999},
      {.batch = 2, .p50 = us(9), .p99 = us(1), .executions = 999},
      {.batch = 4, .executions = 999}};
  EXPECT_TRUE(merge_profile({}, stored).empty());
}

TEST(LatencyProfile, ExportsItsExecutionsOnceTheWindowIsFullOfThem) {
  LatencyProfile profile = loaded();
  for (int i = 0; i < SlidingQuantiles::kCapacity - 1; ++i) profile.record(1, us(i), at_us(i));
  EXPECT_TRUE(profile.exported()[0].window.empty()) << "some of it is what was loaded";
  profile.record(1, us(1000), at_us(300));
  const std::vector<Duration> window = profile.exported()[0].window;
  ASSERT_EQ(window.size(), 256U);
  EXPECT_TRUE(std::ranges::is_sorted(window));
  EXPECT_EQ(window.back(), us(1000));
}

TEST(LatencyProfile, ForgettingReturnsToWhatWasLoaded) {
  LatencyProfile profile = loaded();
  for (int i = 0; i < 10; ++i) profile.record(2, us(5000), at_us(i));
  EXPECT_TRUE(profile.learned());
  EXPECT_EQ(profile.p99(4), us(5000));
  profile.forget();
  EXPECT_FALSE(profile.learned());
  EXPECT_EQ(profile.p99(2), us(180));
  EXPECT_EQ(profile.p99(4), us(300));
}

RC_GTEST_PROP(SlidingQuantiles, AgreeWithSortingTheLast256, ()) {
  SlidingQuantiles window;
  std::vector<std::int64_t> all;
  const auto values =
      *rc::gen::resize(400, rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 1000)));
  for (const int value : values) {
    window.add(Duration(value));
    all.push_back(value);
    const auto count = std::min<std::size_t>(all.size(), SlidingQuantiles::kCapacity);
    std::vector<std::int64_t> last(all.end() - static_cast<std::ptrdiff_t>(count), all.end());
    std::ranges::sort(last);
    RC_ASSERT(window.count() == static_cast<int>(count));
    RC_ASSERT(window.p50().count() == last[(count - 1) / 2]);
    const std::size_t excused = count == SlidingQuantiles::kCapacity ? 2 : 1;
    RC_ASSERT(window.p99().count() == last[count - 1 - std::min(excused, count - 1)]);
  }
}

// Admission rests on this: no split of the rows into batches is faster than least_work says.
RC_GTEST_PROP(LatencyProfile, LeastWorkIsBelowEverySplitIntoBatches, ()) {
  const int batch_max = *rc::gen::inRange(1, 12);
  std::vector<LatencyPoint> points;
  Duration p99 = us(*rc::gen::inRange(1, 500));
  for (int batch = 1; batch <= batch_max + 3; batch += *rc::gen::inRange(1, 5)) {
    points.push_back({batch, p99, p99});
    p99 += Duration(*rc::gen::inRange(0, 700'000));
  }
  const LatencyProfile profile(points, batch_max);
  std::vector<Duration> best{Duration{}};  // the fastest split of each number of rows
  for (int rows = 1; rows <= 40; ++rows) {
    Duration fastest = Duration::max();
    for (int batch = 1; batch <= std::min(rows, batch_max); ++batch) {
      fastest =
          std::min(fastest, best[static_cast<std::size_t>(rows - batch)] + profile.p99(batch));
    }
    best.push_back(fastest);
    RC_ASSERT(profile.least_work(rows) <= fastest);
  }
  RC_ASSERT(profile.least_work(1) == profile.p99(1) ||
            profile.least_work(1) >= profile.p99(1) - Duration(1));
}

RC_GTEST_PROP(LatencyProfile, RowsWorthAreTheFewestThatAreCheapEnough, ()) {
  const int rows_max = *rc::gen::inRange(1, 40);
  std::vector<LatencyPoint> points;
  Duration p50 = us(*rc::gen::inRange(1, 500));
  for (int batch = *rc::gen::inRange(1, 3); batch <= 40; batch += *rc::gen::inRange(1, 9)) {
    points.push_back({batch, p50, p50});
    p50 += Duration(*rc::gen::inRange(0, 700'000));
  }
  const LatencyProfile profile(points, rows_max);
  const double gain = *rc::gen::inRange(0, 30) / 100.0;
  const auto a_row = [&](int rows) {
    return static_cast<double>(profile.p50(rows).count()) / static_cast<double>(rows);
  };
  double least = a_row(1);
  for (int rows = 2; rows <= rows_max; ++rows) least = std::min(least, a_row(rows));
  const int worth = profile.rows_worth(rows_max, gain);
  // p50() rounds up to nanoseconds.
  RC_ASSERT(a_row(worth) <= least * (1 + gain) + 1);
  for (int rows = 1; rows < worth; ++rows) RC_ASSERT(a_row(rows) >= least * (1 + gain) - 1);
}

}  // namespace
}  // namespace takt::scheduler
