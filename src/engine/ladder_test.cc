// SPDX-License-Identifier: Apache-2.0
// Steps on the ladder of degradation as the engine counts and tells them.
#include "engine/engine_fixture.h"

#include <gmock/gmock.h>

#include <string>

namespace takt::engine_test {
namespace {

using engine::Event;
using engine::EventKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kQuiet = std::chrono::seconds(5);

class LadderTest : public EngineTest {
 protected:
  // One request of value 100 runs; those of value 0, 1, ... wait and will make up the next batch.
  void queue_behind_a_running_one(std::size_t count, ModelService service = {}) {
    EngineOptions options;
    options.devices = {{.name = "cpu", .lanes = 1, .memory_quiet = kQuiet}};
    options.observer = [this](const Event& event) {
      const std::scoped_lock lock(mutex_);
      events_.push_back(event);
    };
    start(std::move(options));
    model_ = add(staged_model(stage_), service);
    submit(running_, request(model_, 100));
    blocker_ = next_run();
    answers_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      InferRequest made = request(model_, static_cast<float>(i));
      made.priority = PriorityClass::background;
      submit(answers_[i], std::move(made));
    }
    ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == count; }));
  }
  void TearDown() override {
    for (Answer* answer : {&running_, &late_}) {
      if (answer->given() && answer->wait()) answer->wait()->hold.reset();
    }
    for (Answer& answer : answers_) {
      if (answer.wait()) answer.wait()->hold.reset();
    }
    engine_->stop(std::chrono::seconds(5));
    expect_all_answered();
  }
  std::vector<Event> events() {
    const std::scoped_lock lock(mutex_);
    return events_;
  }
  // The batch limits that were told, in their order.
  std::vector<int> limits() {
    std::vector<int> rows;
    for (const Event& event : events()) rows.push_back(event.rows);
    return rows;
  }
  std::uint64_t counted(EventKind kind) {
    return engine_->stats().events[static_cast<std::size_t>(kind)];
  }

  ModelId model_;
  Answer running_;
  Answer late_;
  std::vector<Answer> answers_;
  std::optional<Stage::Run> blocker_;
  std::mutex mutex_;
  std::vector<Event> events_;  // guarded by mutex_
};

TEST_F(LadderTest, WhatRanOutOfMemoryIsHalvedUntilItSuffices) {
  queue_behind_a_running_one(4);
  blocker_->finish();
  next_run()->fail(ErrorKind::out_of_memory);
  next_run()->fail(ErrorKind::out_of_memory);           // the first half
  for (const float first : {0.0F, 1.0F, 2.0F, 3.0F}) {  // the second one isn't tried as it is
    auto run = next_run();
    EXPECT_EQ(run->firsts, std::vector<float>{first});
    run->finish();
  }
  for (Answer& answer : answers_) EXPECT_EQ(answer.kind(), std::nullopt);
  EXPECT_THAT(limits(), ElementsAre(2, 1));
  EXPECT_EQ(counted(EventKind::batch_limit_lowered), 2U);
}

TEST_F(LadderTest, ALoweredLimitIsSeenAndRisesAfterQuietTimes) {
  queue_behind_a_running_one(8);
  blocker_->finish();
  next_run()->fail(ErrorKind::out_of_memory);
  for (int i = 0; i < 2; ++i) {
    auto half = next_run();
    EXPECT_EQ(half->firsts.size(), 4U);
    half->finish();
  }
  settle();
  const EngineStats lowered = engine_->stats();
  ASSERT_EQ(lowered.batch_limits.size(), 1U);
  EXPECT_EQ(lowered.batch_limits[0].model, "detector 1");
  EXPECT_EQ(lowered.batch_limits[0].rows, 4);
  EXPECT_EQ(lowered.batch_limits[0].rows_max, 8);
  clock_.advance(kQuiet);
  engine_->clock_moved();
  settle();
  EXPECT_THAT(engine_->stats().batch_limits, IsEmpty());
  EXPECT_THAT(limits(), ElementsAre(4, 8));
  const std::vector<Event> told = events();
  EXPECT_EQ(told[0].kind, EventKind::batch_limit_lowered);
  EXPECT_EQ(told[0].name, "detector 1");
  EXPECT_EQ(told[0].device, "cpu");
  EXPECT_THAT(told[0].text, HasSubstr("at most 4 of 8 rows"));
  EXPECT_EQ(told[1].kind, EventKind::batch_limit_raised);
  EXPECT_EQ(told[1].at - told[0].at, kQuiet);
}

TEST_F(LadderTest, ASingleRequestThatRunsOutOfMemoryIsAnErrorForItsFallback) {
  queue_behind_a_running_one(1);
  blocker_->finish();
  next_run()->fail(ErrorKind::out_of_memory);
  EXPECT_EQ(answers_[0].kind(), ErrorKind::out_of_memory);
  settle();
  EXPECT_THAT(limits(), ElementsAre(1));
}

TEST_F(LadderTest, AFullQueueShedsTheLowerClassAndSaysSoOnce) {
  queue_behind_a_running_one(2, {.queue_depth_max = 2});
  InferRequest urgent = request(model_, 50);
  urgent.priority = PriorityClass::critical;
  submit(late_, std::move(urgent));
  EXPECT_EQ(answers_[1].kind(), ErrorKind::overloaded);
  EXPECT_THAT(answers_[1].wait().error().message,
              HasSubstr("detector 1: gave way to a more urgent request"));
  blocker_->finish();
  next_run()->finish();
  EXPECT_EQ(late_.value(), 101);
  EXPECT_EQ(answers_[0].value(), 1);
  settle();
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.shed_by_class[static_cast<std::size_t>(PriorityClass::background)], 1U);
  EXPECT_EQ(stats.refused, 0U) << "it had been accepted";
  EXPECT_EQ(counted(EventKind::requests_shed), 1U);
  ASSERT_EQ(events().size(), 1U);
  EXPECT_EQ(events()[0].count, 1U);
  EXPECT_THAT(events()[0].text, HasSubstr("1 of class background gave way"));
}

TEST(Events, HaveStableNames) {
  std::vector<std::string> names;
  for (int i = 0; i < engine::kEventKindCount; ++i)
    names.emplace_back(to_string(static_cast<EventKind>(i)));
  EXPECT_THAT(names, ElementsAre("worker_lost", "worker_back", "circuit_opened", "circuit_closed",
                                 "device_restarted", "batch_limit_lowered", "batch_limit_raised",
                                 "requests_shed", "lane_reserved"));
}

TEST(Events, AreCountedWithAndWithoutAnObserver) {
  engine::Events events({});
  events.tell({.kind = EventKind::requests_shed, .count = 5});
  events.tell({.kind = EventKind::worker_lost, .count = 5});
  events.count(EventKind::lane_reserved);
  EXPECT_THAT(events.counts(), ElementsAre(1, 0, 0, 0, 0, 0, 0, 5, 1));
}

}  // namespace
}  // namespace takt::engine_test
