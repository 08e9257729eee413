// SPDX-License-Identifier: Apache-2.0
// How many rows a batch takes when more wait than are worth it.
#include "scheduler/line_fixture.h"
#include "scheduler/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

namespace takt::scheduler {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

SchedulerOptions five_percent() {
  return {.devices = {{.lanes = 1, .batch_gain_min = 0.05}}};
}
// 100 us a row alone, 62.5 at four, 60 at eight.
std::vector<LatencyPoint> little_gain_beyond_four() {
  return {{1, us(100), us(100)}, {4, us(250), us(250)}, {8, us(480), us(480)}};
}

TEST(BatchWorth, ABatchGrowsOnlyWhileThatGainsEnough) {
  Line line(five_percent());
  line.add(0, {0}, limits(8, 32), little_gain_beyond_four());
  line.arrive(1, 0);
  const Started first = line.only_started();
  for (std::uint64_t id = 2; id < 12; ++id) line.arrive(id, 0);
  line.complete(first, 100);
  EXPECT_THAT(line.only_started().requests, ElementsAre(2, 3, 4, 5));
}

struct Load {
  std::size_t waiting = 16;  // requests, always
  std::size_t rows = 1;      // of each
};
// Requests of each of so many batches one behind the other; a batch takes `exec_us` of its rows.
std::vector<std::size_t> sizes_of_batches(Line& line, int count, Load load,
                                          const std::function<std::int64_t(std::size_t)>& exec_us) {
  std::vector<std::size_t> sizes;
  std::uint64_t id = 1;
  const auto arrive = [&] {
    line.arrive(id++, 0, {}, PriorityClass::normal, static_cast<int>(load.rows));
  };
  arrive();
  Started running = line.only_started();
  for (std::size_t waiting = 0; std::ssize(sizes) < count; waiting -= running.requests.size()) {
    for (; waiting < load.waiting; ++waiting) arrive();
    const std::int64_t exec = exec_us(running.requests.size() * load.rows);
    line.now_us += exec;
    line.complete(running, exec);
    running = line.only_started();
    sizes.push_back(running.requests.size());
  }
  return sizes;
}

std::int64_t ten_us_a_row(std::size_t rows) {
  return 100 + 10 * static_cast<std::int64_t>(rows);
}
// As if eight had been measured on a busy machine.
std::vector<LatencyPoint> eight_look_slow() {
  return {{1, us(110), us(110)}, {8, us(4000), us(4000)}};
}

TEST(BatchWorth, ALargeBatchThatOnceLookedSlowIsTriedAgain) {
  Line line(five_percent());
  line.add(0, {0}, limits(8, 32), eight_look_slow());
  const auto sizes = sizes_of_batches(line, 20'000, {}, ten_us_a_row);
  EXPECT_EQ(sizes.front(), 1U);
  EXPECT_EQ(sizes.back(), 8U);
}

TEST(BatchWorth, LargerBatchesAreTriedOnlyWhenSoMuchWaits) {
  Line line(five_percent());
  line.add(0, {0}, limits(8, 32), eight_look_slow());
  const auto sizes = sizes_of_batches(line, 10'000, {.waiting = 3}, ten_us_a_row);
  EXPECT_EQ(std::ranges::count(sizes, 3U), 0) << "a size that hardly comes again";
  EXPECT_EQ(sizes.back(), 2U);
}

TEST(BatchWorth, RequestsOfSeveralRowsAreTriedTogether) {
  Line line(five_percent());
  line.add(0, {0}, limits(8, 64), eight_look_slow());
  const auto sizes = sizes_of_batches(line, 10'000, {.rows = 4}, ten_us_a_row);
  EXPECT_EQ(sizes.front(), 1U);
  EXPECT_EQ(sizes.back(), 2U);
}

TEST(BatchWorth, LargerBatchesThatAreNotWorthItStayRare) {
  Line line(five_percent());
  line.add(0, {0}, limits(8, 32), little_gain_beyond_four());
  const auto sizes = sizes_of_batches(line, 640, {}, [](std::size_t rows) {
    return rows > 4 ? 480 : 50 + 50 * static_cast<std::int64_t>(rows);
  });
  EXPECT_EQ(std::ranges::count(sizes, 8U), 640 / 32);
  EXPECT_EQ(std::ranges::count(sizes, 4U), 640 - 640 / 32);
}

TEST(BatchWorth, TheLargestLimitIsNotDoubled) {
  Line line(five_percent());
  line.add(0, {0}, limits(std::numeric_limits<int>::max(), 64), {});
  const auto sizes = sizes_of_batches(line, 2, {}, ten_us_a_row);
  EXPECT_THAT(sizes, ElementsAre(16, 16));
}

TEST(BatchWorth, WhatABatchTakesAroundItsRunCountsAsGain) {
  Line line(five_percent());
  line.add(0, {0}, limits(8, 32), {{1, us(100), us(100)}, {8, us(800), us(800)}});
  std::uint64_t id = 0;
  for (int i = 0; i < 100; ++i) {  // each takes its lane for 60 us more than it runs
    line.arrive(++id, 0);
    const Started run = line.only_started();
    line.now_us += 160;
    line.complete(run, 100);
  }
  line.arrive(++id, 0);
  const Started first = line.only_started();
  for (int i = 0; i < 10; ++i) line.arrive(++id, 0);
  line.now_us += 160;
  line.complete(first, 100);
  EXPECT_THAT(line.only_started().requests, SizeIs(5));
}

TEST(BatchWorth, ARequestOfMoreRowsThanAreWorthItRunsAlone) {
  Line line(five_percent());
  line.add(0, {0}, limits(8, 32), little_gain_beyond_four());
  line.arrive(1, 0, {}, PriorityClass::normal, 6);
  EXPECT_THAT(line.only_started().requests, ElementsAre(1));
}

TEST(BatchWorth, ABatchDelayEndsWhenTheBatchIsWorthIt) {
  Line line(five_percent());
  line.add(0, {0}, limits(8, 32, us(500)), little_gain_beyond_four());
  for (std::uint64_t id = 1; id < 4; ++id) line.arrive(id, 0);
  EXPECT_TRUE(line.started().empty());
  line.arrive(4, 0);
  EXPECT_THAT(line.only_started().requests, ElementsAre(1, 2, 3, 4));
}

}  // namespace
}  // namespace takt::scheduler
