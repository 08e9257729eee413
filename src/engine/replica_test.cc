// SPDX-License-Identifier: Apache-2.0
// A model with instances on two devices: one queue, and everything else per device.
#include "engine/engine_fixture.h"

#include <gmock/gmock.h>

#include <deque>
#include <string>
#include <thread>

namespace takt::engine_test {
namespace {

using engine::Event;
using engine::EventKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// `stage_` is what device a runs, `other_` what device b runs.
class ReplicaTest : public EngineTest {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.devices = {{.name = "a", .lanes = 1}, {.name = "b", .lanes = 1}};
    options.observer = [this](const Event& event) {
      const std::scoped_lock lock(mutex_);
      events_.push_back(event);
    };
    start(std::move(options));
    model_ = add(on("a", stage_));
    const Result<void> added = engine_->add_replica(model_, on("b", other_));
    ASSERT_TRUE(added) << added.error().message;
  }
  void TearDown() override {
    for (Answer& answer : answers_) {
      if (answer.wait()) answer.wait()->hold.reset();
    }
    engine_->stop(std::chrono::seconds(5));
    expect_all_answered();
  }
  static ModelRuntime on(const std::string& device, const std::shared_ptr<Stage>& stage,
                         Duration exec = std::chrono::milliseconds(1)) {
    ModelRuntime runtime = staged_model(stage);
    runtime.device = device;
    runtime.profile = {{1, exec, exec}, {8, exec, exec}};
    return runtime;
  }
  Answer& ask(float first) {
    answers_.emplace_back();
    submit(answers_.back(), request(model_, first));
    return answers_.back();
  }
  void settle() { EngineTest::settle("a"); }
  std::vector<Event> events() {
    const std::scoped_lock lock(mutex_);
    return events_;
  }

  ModelId model_;
  std::shared_ptr<Stage> other_ = std::make_shared<Stage>();
  std::deque<Answer> answers_;
  std::mutex mutex_;
  std::vector<Event> events_;  // guarded by mutex_
};

TEST_F(ReplicaTest, TwoRequestsRunOnTwoDevicesAtOnce) {
  Answer& first = ask(1);
  Answer& second = ask(2);
  auto here = next_run();
  auto there = other_->next();
  ASSERT_TRUE(there);
  here->finish();
  there->finish();
  EXPECT_EQ(first.value(), 3);
  EXPECT_EQ(second.value(), 5);
}

TEST_F(ReplicaTest, EachDeviceHasRoomForItsOwnOutputs) {
  const EngineStats both = engine_->stats();
  ASSERT_TRUE(engine_->remove_model(model_, kPatience));
  model_ = add(on("a", stage_));
  EXPECT_EQ(both.slots, 2 * engine_->stats().slots);
}

TEST_F(ReplicaTest, WhatWaitsForALostDeviceGoesToTheOther) {
  engine_->lose_instances(model_, "a", true);
  settle();
  Answer& first = ask(1);
  auto there = other_->next();
  ASSERT_TRUE(there);
  Answer& second = ask(2);
  settle();
  EXPECT_TRUE(stage_->idle());
  engine_->restore_instances(model_, "a");
  next_run()->finish();
  there->finish();
  EXPECT_EQ(first.value(), 3);
  EXPECT_EQ(second.value(), 5) << "back on the first device";
}

TEST_F(ReplicaTest, IsRefusedAtOnceOnlyWhenItsLastDeviceHasGone) {
  engine_->lose_instances(model_, "a", true);
  engine_->lose_instances(model_, "b", false);
  Answer& waits = ask(1);
  settle();
  EXPECT_FALSE(waits.given()) << "b will be back soon";
  engine_->lose_instances(model_, "b", true);
  EXPECT_EQ(waits.kind(), ErrorKind::unavailable);
  EXPECT_EQ(ask(2).kind(), ErrorKind::unavailable);
  engine_->restore_instances(model_, "b");
  Answer& served = ask(3);
  other_->next()->finish();
  EXPECT_EQ(served.value(), 7);
  engine_->lose_instances(model_, "b", true);
  EXPECT_EQ(ask(4).kind(), ErrorKind::unavailable) << "a has not come back";
}

TEST_F(ReplicaTest, AShortageOfMemoryIsOfItsDeviceAlone) {
  engine_->lose_instances(model_, "a", false);
  settle();
  ask(100);
  auto blocker = other_->next();
  for (const float first : {0.0F, 1.0F, 2.0F, 3.0F}) ask(first);
  settle();
  blocker->finish();
  other_->next()->fail(ErrorKind::out_of_memory);
  for (int i = 0; i < 2; ++i) other_->next()->finish();
  settle();
  const EngineStats stats = engine_->stats();
  ASSERT_EQ(stats.batch_limits.size(), 1U);
  EXPECT_EQ(stats.batch_limits[0].device, "b");
  EXPECT_EQ(stats.batch_limits[0].rows, 2);
  ASSERT_EQ(events().size(), 1U);
  EXPECT_EQ(events()[0].kind, EventKind::batch_limit_lowered);
  EXPECT_EQ(events()[0].device, "b");
}

TEST_F(ReplicaTest, EachDeviceHasItsOwnProfile) {
  ASSERT_TRUE(engine_->remove_model(model_, kPatience));
  model_ = add(on("a", stage_, std::chrono::milliseconds(4)));
  const scheduler::ProfilePoint learned{.batch = 1,
                                        .p50 = std::chrono::milliseconds(2),
                                        .p99 = std::chrono::milliseconds(2),
                                        .longest = std::chrono::milliseconds(2),
                                        .executions = 1000};
  ASSERT_TRUE(
      engine_->add_replica(model_, on("b", other_, std::chrono::milliseconds(9)), {learned}));
  EXPECT_EQ(engine_->profile(model_, "a").at(0).p50, std::chrono::milliseconds(4));
  EXPECT_EQ(engine_->profile(model_, "b").at(0).p50, std::chrono::milliseconds(2));
  EXPECT_TRUE(engine_->profile(model_, "c").empty());
  EXPECT_EQ(engine_->expected_p99(model_, 1), std::chrono::milliseconds(2)) << "where it is least";
  const std::vector<ReplicaInfo> replicas = engine_->replicas(model_);
  ASSERT_EQ(replicas.size(), 2U);
  EXPECT_EQ(replicas[0].device, "a");
  EXPECT_EQ(replicas[1].profile.at(0).p50, std::chrono::milliseconds(9)) << "as measured at load";
}

TEST_F(ReplicaTest, WhatIsExpectedFollowsTheDevicesThatServe) {
  ASSERT_TRUE(engine_->remove_model(model_, kPatience));
  model_ = add(on("a", stage_, std::chrono::milliseconds(4)));
  ASSERT_TRUE(engine_->add_replica(model_, on("b", other_, std::chrono::milliseconds(9))));
  EXPECT_EQ(engine_->expected_p99(model_, 1), std::chrono::milliseconds(4));
  engine_->lose_instances(model_, "a", false);
  settle();
  EXPECT_EQ(engine_->expected_p99(model_, 1), std::chrono::milliseconds(9)) << "on b alone";
  engine_->restore_instances(model_, "a");
  settle();
  EXPECT_EQ(engine_->expected_p99(model_, 1), std::chrono::milliseconds(4)) << "on a again";
}

TEST_F(ReplicaTest, OneThatMakesNoSenseIsRefusedAndDestroyed) {
  const auto why = [this](ModelId model, ModelRuntime runtime) {
    const Result<void> added = engine_->add_replica(model, std::move(runtime));
    return added ? std::string("taken") : added.error().message;
  };
  EXPECT_THAT(why(ModelId{77}, on("b", other_)), HasSubstr("add the model before its replicas"));
  EXPECT_THAT(why(model_, on("b", other_)), HasSubstr("is on device 'b' already"));
  ASSERT_TRUE(engine_->remove_model(model_, kPatience));
  model_ = add(on("a", stage_));
  EXPECT_THAT(why(model_, on("bb", other_)), HasSubstr("no device 'bb'; did you mean 'b'?"));
  ModelRuntime smaller = on("b", other_);
  smaller.signature.batch_max = 4;
  EXPECT_THAT(why(model_, std::move(smaller)), HasSubstr("with the same backend and batch_max"));
  ModelRuntime nonsense = on("b", other_);
  nonsense.profile = {{0, {}, {}}};
  EXPECT_THAT(why(model_, std::move(nonsense)), HasSubstr("profile at batch 0"));
  EXPECT_EQ(other_->instances(), 0);
  ASSERT_TRUE(engine_->add_replica(model_, on("b", other_))) << "nothing was left behind";
}

TEST_F(ReplicaTest, RemovingTheModelRemovesItFromEveryDevice) {
  Answer& first = ask(1);
  Answer& second = ask(2);
  auto here = next_run();
  auto there = other_->next();
  std::thread remover([&] { EXPECT_TRUE(engine_->remove_model(model_, kPatience)); });
  here->finish();
  there->finish();
  remover.join();
  EXPECT_EQ(first.value(), 3);
  EXPECT_EQ(second.value(), 5);
  EXPECT_EQ(stage_->instances(), 0);
  EXPECT_EQ(other_->instances(), 0);
}

TEST_F(ReplicaTest, AFullQueueIsToldOfAllItsDevices) {
  ASSERT_TRUE(engine_->remove_model(model_, kPatience));
  model_ = add(on("a", stage_), {.queue_depth_max = 1});
  ASSERT_TRUE(engine_->add_replica(model_, on("b", other_)));
  ask(1);
  ask(2);
  auto here = next_run();
  auto there = other_->next();
  answers_.emplace_back();
  InferRequest waits = request(model_, 3);
  waits.priority = PriorityClass::background;
  submit(answers_.back(), std::move(waits));
  settle();
  Answer& urgent = ask(4);
  here->finish();
  there->finish();
  settle();
  ASSERT_EQ(events().size(), 1U);
  EXPECT_EQ(events()[0].kind, EventKind::requests_shed);
  EXPECT_EQ(events()[0].device, "a, b");
  (stage_->idle() ? other_ : stage_)->next()->finish();
  EXPECT_EQ(urgent.value(), 9);
}

}  // namespace
}  // namespace takt::engine_test
