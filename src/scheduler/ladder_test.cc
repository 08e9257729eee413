// SPDX-License-Identifier: Apache-2.0
// What the scheduler gives up, and takes back, when memory or queues run out.
#include "scheduler/line_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace takt::scheduler {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t kQuietUs = 1000;

// One model of up to eight rows, whose instance runs request 0.
class MemoryLadder : public ::testing::Test {
 protected:
  MemoryLadder() {
    line_.add(0, {0}, {.batch_max = 8}, {{1, us(100), us(100)}, {8, us(100), us(100)}});
    line_.arrive(0, 0);
    running_ = line_.only_started();
  }
  // The rows of the model's limit before and after, in the order in which they changed.
  void run_out(int rows) { line_.apply(RanOutOfMemory{InstanceId{0}, rows}); }
  std::vector<int> changes() {
    std::vector<int> rows;
    for (const BatchLimitChanged& change : line_.all<BatchLimitChanged>()) {
      rows.push_back(change.rows_before);
      rows.push_back(change.rows);
      EXPECT_EQ(change.rows_max, 8);
    }
    return rows;
  }
  void wait_until(std::int64_t at) {
    line_.now_us = at;
    line_.apply(TimerFired{});
  }
  std::size_t next_batch_size(std::uint64_t first_id, int waiting) {
    for (int i = 0; i < waiting; ++i) line_.arrive(first_id + static_cast<std::uint64_t>(i), 0);
    line_.complete(running_, 100);
    running_ = line_.only_started();
    return running_.requests.size();
  }

  Line line_{SchedulerOptions{.devices = {{.lanes = 1, .memory_quiet = us(kQuietUs)}}}};
  Started running_;
};

TEST_F(MemoryLadder, HalfOfWhatWasTooMuchIsTheLimit) {
  run_out(8);
  EXPECT_THAT(changes(), ElementsAre(8, 4));
  EXPECT_EQ(line_.scheduler().batch_limit(ModelId{0}, DeviceId{0}), 4);
  EXPECT_EQ(next_batch_size(1, 8), 4U);
  run_out(3);
  EXPECT_THAT(changes(), ElementsAre(4, 2)) << "the larger half of three";
  EXPECT_EQ(next_batch_size(20, 8), 2U);
  EXPECT_EQ(line_.scheduler().statistics().memory_steps_down, 2U);
}

TEST_F(MemoryLadder, RunsThatFailTogetherAreOneStep) {
  run_out(8);
  run_out(8);
  EXPECT_THAT(changes(), IsEmpty());
  EXPECT_EQ(line_.scheduler().batch_limit(ModelId{0}, DeviceId{0}), 4);
}

TEST_F(MemoryLadder, BelowOneRowThereIsNothing) {
  for (const int rows : {8, 4, 2, 1, 1}) run_out(rows);
  EXPECT_EQ(line_.scheduler().batch_limit(ModelId{0}, DeviceId{0}), 1);
  EXPECT_EQ(line_.scheduler().statistics().memory_steps_down, 3U);
}

TEST_F(MemoryLadder, TheLimitDoublesAfterEachQuietTime) {
  run_out(8);
  run_out(4);
  EXPECT_EQ(line_.all<ArmTimer>().size(), 0U) << "the timer of the first one is still right";
  wait_until(kQuietUs - 1);
  EXPECT_THAT(changes(), IsEmpty());
  wait_until(kQuietUs);
  EXPECT_THAT(changes(), ElementsAre(2, 4));
  ASSERT_EQ(line_.all<ArmTimer>().size(), 1U);
  EXPECT_EQ(line_.all<ArmTimer>()[0].at, at_us(2 * kQuietUs));
  wait_until(2 * kQuietUs);
  EXPECT_THAT(changes(), ElementsAre(4, 8));
  EXPECT_THAT(line_.all<ArmTimer>(), IsEmpty()) << "all is as it was";
  EXPECT_EQ(line_.scheduler().statistics().memory_steps_up, 2U);
  EXPECT_EQ(next_batch_size(1, 8), 8U);
}

TEST_F(MemoryLadder, EveryFailureBeginsTheQuietTimeAnew) {
  run_out(2);
  line_.now_us = kQuietUs / 2;
  run_out(1);
  wait_until(kQuietUs);
  EXPECT_THAT(changes(), IsEmpty());
  wait_until(kQuietUs + kQuietUs / 2);
  EXPECT_THAT(changes(), ElementsAre(1, 2));
}

TEST_F(MemoryLadder, ARequestThatIsLargerThanTheLimitRunsAlone) {
  run_out(8);
  line_.arrive(1, 0, {}, PriorityClass::normal, 6);
  line_.arrive(2, 0);
  line_.complete(running_, 100);
  EXPECT_THAT(line_.only_started().requests, ElementsAre(1));
}

TEST_F(MemoryLadder, ALimitBelongsToOneModelOnOneDevice) {
  line_.add(1, {1}, {.batch_max = 8}, {{1, us(100), us(100)}});
  run_out(8);
  EXPECT_EQ(line_.scheduler().batch_limit(ModelId{1}, DeviceId{0}), 8);
}

TEST_F(MemoryLadder, AModelThatGoesTakesItsLimitAlong) {
  run_out(8);
  line_.apply(ModelRemoved{ModelId{0}});
  line_.complete(running_, 100);
  wait_until(kQuietUs);
  EXPECT_THAT(line_.all<BatchLimitChanged>(), IsEmpty());
  run_out(8);  // of an instance that nobody knows any more
  EXPECT_THAT(line_.all<BatchLimitChanged>(), IsEmpty());
}

TEST(MemoryOptions, AQuietTimeOfNothingIsRefused) {
  const auto made = Scheduler::create({.devices = {{.lanes = 1, .memory_quiet = Duration{}}}});
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("devices[0].memory_quiet"), std::string::npos);
}

// Overload -----------------------------------------------------------------------------------------

// One model whose instance is busy and whose queue takes three requests, or 300 bytes.
class Overload : public ::testing::Test {
 protected:
  explicit Overload(ModelLimits limits = {.batch_max = 1, .queue_depth_max = 3}) {
    line_.add(0, {0}, limits, {{1, us(100), us(100)}});
    line_.arrive(0, 0, {}, PriorityClass::critical);
  }
  void arrive(std::uint64_t id, PriorityClass priority, std::int64_t bytes = 100,
              TimePoint deadline = kNever) {
    line_.apply(RequestArrived{RequestId{id}, ModelId{0}, priority, deadline, 1, bytes});
  }
  // Who was refused at the last event, and why.
  std::vector<std::pair<std::uint64_t, RefusalReason>> refused() {
    std::vector<std::pair<std::uint64_t, RefusalReason>> all;
    for (const Refuse& refusal : line_.all<Refuse>()) {
      EXPECT_EQ(refusal.kind == ErrorKind::overloaded,
                refusal.reason != RefusalReason::cannot_meet_deadline);
      all.emplace_back(refusal.request.value, refusal.reason);
    }
    return all;
  }
  std::uint64_t shed(PriorityClass priority) {
    return line_.scheduler().statistics().shed[static_cast<std::size_t>(priority)];
  }

  Line line_;
};

TEST_F(Overload, TheLeastUrgentRequestOfTheLowestClassGivesWay) {
  arrive(1, PriorityClass::background);
  arrive(2, PriorityClass::background);
  arrive(3, PriorityClass::normal);
  arrive(4, PriorityClass::critical);
  EXPECT_THAT(refused(), ElementsAre(std::pair(2, RefusalReason::shed))) << "the newest";
  arrive(5, PriorityClass::high);
  EXPECT_THAT(refused(), ElementsAre(std::pair(1, RefusalReason::shed)));
  arrive(6, PriorityClass::high);
  EXPECT_THAT(refused(), ElementsAre(std::pair(3, RefusalReason::shed))) << "then normal";
  EXPECT_EQ(shed(PriorityClass::background), 2U);
  EXPECT_EQ(shed(PriorityClass::normal), 1U);
}

TEST_F(Overload, NothingGivesWayToItsOwnOrALowerClass) {
  for (std::uint64_t id = 1; id <= 3; ++id) arrive(id, PriorityClass::normal);
  arrive(4, PriorityClass::normal);
  EXPECT_THAT(refused(), ElementsAre(std::pair(4, RefusalReason::queue_full)));
  arrive(5, PriorityClass::background);
  EXPECT_THAT(refused(), ElementsAre(std::pair(5, RefusalReason::queue_full)));
}

TEST_F(Overload, NothingGivesWayToWhatWouldBeLateAnyway) {
  for (std::uint64_t id = 1; id <= 3; ++id) arrive(id, PriorityClass::background);
  arrive(4, PriorityClass::critical, 100, at_us(50));
  EXPECT_THAT(refused(), ElementsAre(std::pair(4, RefusalReason::cannot_meet_deadline)));
}

TEST_F(Overload, WhatGaveWaySaysSo) {
  for (std::uint64_t id = 1; id <= 3; ++id) arrive(id, PriorityClass::background);
  arrive(4, PriorityClass::critical);
  const Error error = describe(line_.all<Refuse>().at(0));
  EXPECT_NE(error.message.find("gave way to a more urgent request"), std::string::npos);
  EXPECT_EQ(to_string(RefusalReason::shed), "shed");
}

// Eight places, of which each class leaves two to the next.
class OverloadWithRoom : public Overload {
 protected:
  OverloadWithRoom() : Overload({.batch_max = 1, .queue_depth_max = 8, .class_room = 2}) {}
  void arrive_all(std::uint64_t first, std::uint64_t last, PriorityClass priority) {
    for (std::uint64_t id = first; id <= last; ++id) arrive(id, priority, 1);
  }
};

TEST_F(OverloadWithRoom, ThoseThatCanWaitAreRefusedBeforeTheyWouldGiveWay) {
  arrive_all(1, 3, PriorityClass::background);
  EXPECT_THAT(refused(), ElementsAre(std::pair(3, RefusalReason::queue_full)));
  arrive_all(4, 6, PriorityClass::normal);
  EXPECT_THAT(refused(), ElementsAre(std::pair(2, RefusalReason::shed)));
}

TEST_F(OverloadWithRoom, TheMostUrgentFindTheirPlacesFree) {
  arrive_all(1, 5, PriorityClass::normal);
  EXPECT_THAT(refused(), ElementsAre(std::pair(5, RefusalReason::queue_full)));
  arrive_all(6, 9, PriorityClass::critical);
  EXPECT_THAT(refused(), IsEmpty());
  arrive(10, PriorityClass::normal, 1);
  EXPECT_THAT(refused(), ElementsAre(std::pair(10, RefusalReason::queue_full)))
      << "though the queue is full beyond its share, nothing gives way to its own class";
  arrive(11, PriorityClass::critical, 1);
  EXPECT_THAT(refused(), ElementsAre(std::pair(4, RefusalReason::shed)));
}

class OverloadInBytes : public Overload {
 protected:
  OverloadInBytes() : Overload({.batch_max = 1, .queue_depth_max = 100, .queue_bytes_max = 300}) {}
};

TEST_F(OverloadInBytes, AsManyGiveWayAsNeeded) {
  arrive(1, PriorityClass::normal, 100);
  arrive(2, PriorityClass::background, 100);
  arrive(3, PriorityClass::background, 100);
  arrive(4, PriorityClass::critical, 150);
  EXPECT_THAT(refused(),
              ElementsAre(std::pair(3, RefusalReason::shed), std::pair(2, RefusalReason::shed)));
}

TEST_F(OverloadInBytes, NothingGivesWayInVain) {
  arrive(1, PriorityClass::high, 200);
  arrive(2, PriorityClass::background, 100);
  arrive(3, PriorityClass::high, 101);
  EXPECT_THAT(refused(), ElementsAre(std::pair(3, RefusalReason::queue_bytes_full)));
}

}  // namespace
}  // namespace takt::scheduler
