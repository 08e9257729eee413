// SPDX-License-Identifier: Apache-2.0
// What happens to requests when their batch fails.
#include "engine/engine_fixture.h"

namespace takt::engine_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class FailureTest : public EngineTest {
 protected:
  // One request of value 100 runs; those of value 0, 1, ... wait and will make up the next batch.
  void queue_behind_a_running_one(std::size_t count, TimePoint deadline = kNever) {
    start();
    model_ = add(staged_model(stage_));
    submit(running_, request(model_, 100));
    auto run = next_run();
    answers_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      InferRequest made = request(model_, static_cast<float>(i));
      made.deadline = deadline;
      submit(answers_[i], std::move(made));
    }
    ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == count; }));
    blocker_ = std::move(run);
  }
  void TearDown() override {
    running_.wait().value_or(InferResult{}).hold.reset();
    if (running_.wait()) running_.wait()->hold.reset();
    for (Answer& answer : answers_) {
      if (answer.wait()) answer.wait()->hold.reset();
    }
    engine_->stop(seconds(5));
    expect_all_answered();
  }

  ModelId model_;
  Answer running_;
  std::vector<Answer> answers_;
  std::optional<Stage::Run> blocker_;
};

TEST_F(FailureTest, AFailedBatchIsAnErrorForEachOfItsMembers) {
  queue_behind_a_running_one(3);
  blocker_->finish();
  next_run()->fail(ErrorKind::internal);
  for (Answer& answer : answers_) {
    EXPECT_EQ(answer.kind(), ErrorKind::internal);
    EXPECT_EQ(answer.wait().error().message, "detector 1: as the test says");
  }
  EXPECT_EQ(running_.value(), 201);
  settle();
  EXPECT_EQ(engine_->stats().batches_failed, 1);
}

TEST_F(FailureTest, ABatchThatTheInstanceDoesNotTakeIsAnErrorForEachOfItsMembers) {
  queue_behind_a_running_one(3);
  stage_->refuse_next(ErrorKind::device_poisoned);
  blocker_->finish();
  for (Answer& answer : answers_) EXPECT_EQ(answer.kind(), ErrorKind::device_poisoned);
}

TEST_F(FailureTest, TheInstanceIsUsedAgainAfterAFailure) {
  queue_behind_a_running_one(1);
  blocker_->fail(ErrorKind::internal);
  next_run()->finish();
  EXPECT_EQ(answers_[0].value(), 1);
  EXPECT_EQ(running_.kind(), ErrorKind::internal);
}

TEST_F(FailureTest, OutOfMemoryIsTriedAgainInTwoHalves) {
  queue_behind_a_running_one(5);
  blocker_->finish();
  next_run()->fail(ErrorKind::out_of_memory);
  auto first = next_run();
  EXPECT_EQ(first->firsts, (std::vector<float>{0, 1, 2}));
  first->finish();
  auto second = next_run();
  EXPECT_EQ(second->firsts, (std::vector<float>{3, 4}));
  second->finish();
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(answers_[i].value(), 2 * static_cast<float>(i) + 1);
  EXPECT_EQ(engine_->stats().retries_memory, 2);
}

TEST_F(FailureTest, OneThatIsOutOfMemoryAloneFailsAndTheOthersStillRun) {
  queue_behind_a_running_one(2);
  blocker_->finish();
  next_run()->fail(ErrorKind::out_of_memory);
  next_run()->fail(ErrorKind::out_of_memory);
  next_run()->finish();
  EXPECT_EQ(answers_[0].kind(), ErrorKind::out_of_memory);
  EXPECT_EQ(answers_[1].value(), 3);
  EXPECT_TRUE(stage_->idle());
}

TEST_F(FailureTest, OutOfMemoryAtSubmissionIsTriedAgainToo) {
  queue_behind_a_running_one(2);
  stage_->refuse_next(ErrorKind::out_of_memory);
  blocker_->finish();
  next_run()->finish();
  next_run()->finish();
  EXPECT_EQ(answers_[0].value(), 1);
  EXPECT_EQ(answers_[1].value(), 3);
}

TEST_F(FailureTest, ASingleRequestThatIsOutOfMemoryCannotBeHalved) {
  queue_behind_a_running_one(1);
  blocker_->finish();
  next_run()->fail(ErrorKind::out_of_memory);
  EXPECT_EQ(answers_[0].kind(), ErrorKind::out_of_memory);
  EXPECT_EQ(engine_->stats().retries_memory, 0);
}

TEST_F(FailureTest, WhatIsTooLateByThenIsNotTriedAgain) {
  queue_behind_a_running_one(2, clock_.now() + milliseconds(50));
  blocker_->finish();
  auto run = next_run();
  clock_.advance(milliseconds(60));
  run->fail(ErrorKind::out_of_memory);
  EXPECT_EQ(answers_[0].kind(), ErrorKind::out_of_memory);
  EXPECT_EQ(answers_[1].kind(), ErrorKind::out_of_memory);
  EXPECT_NE(answers_[0].wait().error().message.find("no time was left"), std::string::npos);
  EXPECT_TRUE(stage_->idle());
}

TEST_F(FailureTest, OneInvalidMemberDoesNotFailTheOthers) {
  queue_behind_a_running_one(3);
  blocker_->finish();
  next_run()->fail(ErrorKind::invalid_input);
  for (std::size_t i = 0; i < 3; ++i) {
    auto alone = next_run();
    ASSERT_EQ(alone->firsts, std::vector<float>{static_cast<float>(i)});
    if (i == 1) {
      alone->fail(ErrorKind::invalid_input);
    } else {
      alone->finish();
    }
  }
  EXPECT_EQ(answers_[0].value(), 1);
  EXPECT_EQ(answers_[1].kind(), ErrorKind::invalid_input);
  EXPECT_EQ(answers_[2].value(), 5);
  EXPECT_EQ(engine_->stats().retries_alone, 3);
}

TEST_F(FailureTest, WaitingRequestsRunAfterTheRetriesNotBetweenThem) {
  queue_behind_a_running_one(2);
  blocker_->finish();
  auto run = next_run();
  Answer later;
  submit(later, request(model_, 50));
  ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == 1; }));
  run->fail(ErrorKind::out_of_memory);
  for (const float expected : {0.0F, 1.0F, 50.0F}) {
    auto next = next_run();
    EXPECT_EQ(next->firsts, std::vector<float>{expected});
    next->finish();
  }
  EXPECT_EQ(later.value(), 101);
  later.wait()->hold.reset();
}

// Outputs that can't be believed ------------------------------------------------------------------

using Spoil = void (*)(OutputBuffer&);

class CorruptOutputTest : public FailureTest, public ::testing::WithParamInterface<Spoil> {};

TEST_P(CorruptOutputTest, FailsItsRequestOnly) {
  queue_behind_a_running_one(2);
  blocker_->finish();
  auto run = next_run();
  compute(run->batch);
  GetParam()(run->batch[0].outputs[0]);
  std::exchange(run->done, nullptr)({{}, {}});
  EXPECT_EQ(answers_[0].kind(), ErrorKind::corrupt_output);
  EXPECT_NE(answers_[0].wait().error().message.find("detector 1: output 'y'"), std::string::npos);
  EXPECT_EQ(answers_[1].value(), 3);
}

INSTANTIATE_TEST_SUITE_P(
    Spoilt, CorruptOutputTest,
    ::testing::Values([](OutputBuffer& output) { output.bytes_used = output.room.size() + 1; },
                      [](OutputBuffer& output) { output.bytes_used = 0; },
                      [](OutputBuffer& output) { output.shape = {2, 4}; },
                      [](OutputBuffer& output) { output.shape = {4}; },
                      [](OutputBuffer& output) { output.shape.clear(); },
                      [](OutputBuffer& output) { output.type = DataType::int32; }));

}  // namespace
}  // namespace takt::engine_test
