// SPDX-License-Identifier: Apache-2.0
// What is counted of a model: each answer once, by its outcome, with its times.
#include "engine/engine_fixture.h"

#include <gmock/gmock.h>

namespace takt::engine_test {
namespace {

using engine::ModelStatistics;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Parts of 1, 10 and 2 ms.
BatchTimes times_from(TimePoint start) {
  return {.exec_start = start,
          .compute_start = start + milliseconds(1),
          .compute_end = start + milliseconds(11),
          .exec_end = start + milliseconds(13)};
}

class StatisticsTest : public EngineTest {
 protected:
  ModelStatistics statistics() {
    const auto read = engine_->statistics(model_);
    EXPECT_TRUE(read);
    return read.value_or(ModelStatistics{});
  }
  void start_model(ModelService service = {}) {
    start();
    model_ = add(staged_model(stage_), service);
  }
  // Requests wait while the first one runs.
  std::optional<Stage::Run> block() {
    submit(blocking_, request(model_, 100));
    return next_run();
  }
  void wait_queued(std::size_t count) {
    ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == count; }));
  }

  ModelId model_;
  Answer blocking_;
};

TEST_F(StatisticsTest, ARequestAddsTheTimesOfItsParts) {
  start_model();
  EXPECT_EQ(statistics().last_inference, milliseconds(0));
  auto blocker = block();
  Answer answer;
  submit(answer, request(model_, 1));
  wait_queued(1);
  clock_.advance(milliseconds(5));
  blocker->finish(times_from(clock_.now()));
  auto run = next_run();
  const TimePoint started = clock_.now();
  clock_.advance(milliseconds(20));
  run->finish(times_from(started));
  ASSERT_EQ(answer.kind(), std::nullopt);
  const ModelStatistics all = statistics();
  EXPECT_EQ(all.success.count, 2);
  EXPECT_EQ(all.success.total, milliseconds(5 + 25));
  EXPECT_EQ(all.queue.count, 2);
  EXPECT_EQ(all.queue.total, milliseconds(0 + 5));
  EXPECT_EQ(all.compute_input.total, milliseconds(2));
  EXPECT_EQ(all.compute_infer.total, milliseconds(20));
  EXPECT_EQ(all.compute_output.total, milliseconds(4));
  EXPECT_EQ(all.compute_output.count, 2);
  EXPECT_EQ(all.last_inference, milliseconds(clock_.wall_time_us() / 1000));
}

// The index of the bucket that has a value.
std::size_t bucket_of(Duration value) {
  std::size_t bucket = 0;
  while (bucket < engine::kDurationBounds.size() && value > engine::kDurationBounds[bucket]) {
    ++bucket;
  }
  return bucket;
}

TEST_F(StatisticsTest, TimesFallIntoTheBucketsWhoseBoundsHoldThem) {
  start_model();
  Answer answer;
  submit(answer, request(model_, 1));
  auto run = next_run();
  const TimePoint started = clock_.now();
  clock_.advance(seconds(11));  // beyond the last bound
  run->finish(times_from(started));
  ASSERT_EQ(answer.kind(), std::nullopt);
  const engine::DurationHistograms all = statistics().histograms;
  engine::DurationCounts expected{};
  expected.back() = 1;
  EXPECT_EQ(all.request, expected);
  expected = {};
  expected[bucket_of(milliseconds(1))] = 1;  // a bound belongs to its bucket
  EXPECT_EQ(all.compute_input, expected);
  expected = {};
  expected[bucket_of(milliseconds(10))] = 1;
  EXPECT_EQ(all.compute_infer, expected);
  expected = {};
  expected[0] = 1;
  EXPECT_EQ(all.queue, expected);
}

TEST_F(StatisticsTest, FailuresAreCountedByTheirKind) {
  start_model();
  auto blocker = block();
  blocker->fail(ErrorKind::corrupt_output);
  ASSERT_EQ(blocking_.kind(), ErrorKind::corrupt_output);
  const auto by_kind = statistics().failed_by_kind;
  EXPECT_EQ(by_kind[static_cast<std::size_t>(ErrorKind::corrupt_output)], 1);
  EXPECT_EQ(by_kind[static_cast<std::size_t>(ErrorKind::internal)], 0);
}

TEST_F(StatisticsTest, ABatchOfThreeIsThreeInferencesAndOneExecution) {
  start_model();
  auto blocker = block();
  std::array<Answer, 3> answers;
  for (Answer& answer : answers) submit(answer, request(model_, 1));
  wait_queued(3);
  blocker->finish(times_from(clock_.now()));
  next_run()->finish(times_from(clock_.now()));
  for (Answer& answer : answers) ASSERT_EQ(answer.kind(), std::nullopt);
  const ModelStatistics all = statistics();
  EXPECT_EQ(all.inferences, 1 + 3);
  EXPECT_EQ(all.executions, 2);
  EXPECT_EQ(all.compute_infer.total, milliseconds(4 * 10)) << "a request each";
  ASSERT_EQ(all.batches.size(), 2) << "sizes that never ran are left out";
  EXPECT_EQ(all.batches[0].rows, 1);
  EXPECT_EQ(all.batches[1].rows, 3);
  EXPECT_EQ(all.batches[1].compute_input.count, 1);
  EXPECT_EQ(all.batches[1].compute_input.total, milliseconds(1));
  EXPECT_EQ(all.batches[1].compute_infer.total, milliseconds(10)) << "the batch once";
  EXPECT_EQ(all.batches[1].compute_output.total, milliseconds(2));
}

TEST_F(StatisticsTest, TheRowsOfARequestAreItsInferences) {
  start_model();
  Answer answer;
  submit(answer, request(model_, 1, 8));
  next_run()->finish(times_from(clock_.now()));
  ASSERT_EQ(answer.kind(), std::nullopt);
  EXPECT_EQ(statistics().success.count, 1);
  EXPECT_EQ(statistics().inferences, 8);
  EXPECT_EQ(statistics().batches.at(0).rows, 8) << "the largest there can be";
}

TEST_F(StatisticsTest, AnAnswerIsCountedBeforeItIsGiven) {
  start_model();
  std::promise<std::pair<std::uint64_t, std::uint64_t>> seen;
  engine_->submit(request(model_, 1), [&](const Result<InferResult>&) {
    seen.set_value({statistics().success.count, statistics().executions});
  });
  next_run()->finish(times_from(clock_.now()));
  EXPECT_EQ(seen.get_future().get(), std::pair(std::uint64_t{1}, std::uint64_t{1}));
}

TEST_F(StatisticsTest, AFailedBatchIsAFailureForEachMemberAndNoExecution) {
  start_model();
  auto blocker = block();
  std::array<Answer, 2> answers;
  for (Answer& answer : answers) submit(answer, request(model_, 1));
  wait_queued(2);
  blocker->finish(times_from(clock_.now()));
  auto run = next_run();
  clock_.advance(milliseconds(3));
  run->fail(ErrorKind::internal);
  for (Answer& answer : answers) ASSERT_EQ(answer.kind(), ErrorKind::internal);
  EXPECT_EQ(statistics().fail.count, 2);
  EXPECT_EQ(statistics().fail.total, milliseconds(6));
  EXPECT_EQ(statistics().success.count, 1);
  EXPECT_EQ(statistics().executions, 1);
  EXPECT_EQ(statistics().inferences, 1);
}

TEST_F(StatisticsTest, AnOutputThatCannotBeBelievedIsAFailureOfAnExecution) {
  start_model();
  Answer answer;
  submit(answer, request(model_, 1));
  auto run = next_run();
  std::exchange(run->done, nullptr)({{}, times_from(clock_.now())});  // it wrote nothing
  ASSERT_EQ(answer.kind(), ErrorKind::corrupt_output);
  EXPECT_EQ(statistics().executions, 1);
  EXPECT_EQ(statistics().inferences, 0);
  EXPECT_EQ(statistics().fail.count, 1);
  EXPECT_EQ(statistics().compute_infer.count, 0);
  EXPECT_EQ(statistics().compute_infer.total, Duration{});
}

TEST_F(StatisticsTest, OnlyTheRunsThatSucceededAreExecutions) {
  start_model();
  auto blocker = block();
  std::array<Answer, 2> answers;
  for (Answer& answer : answers) submit(answer, request(model_, 1));
  wait_queued(2);
  blocker->finish(times_from(clock_.now()));
  next_run()->fail(ErrorKind::out_of_memory);
  next_run()->finish(times_from(clock_.now()));
  next_run()->finish(times_from(clock_.now()));
  for (Answer& answer : answers) ASSERT_EQ(answer.kind(), std::nullopt);
  EXPECT_EQ(statistics().executions, 3) << "the first and two halves";
  EXPECT_EQ(statistics().batches.size(), 1);
  EXPECT_EQ(statistics().fail.count, 0);
}

TEST_F(StatisticsTest, AWithdrawnRequestIsCancelledAndNotFailed) {
  start_model();
  auto blocker = block();
  Answer answer;
  const RequestId id = submit(answer, request(model_, 1));
  wait_queued(1);
  clock_.advance(milliseconds(7));
  engine_->cancel(id);
  ASSERT_EQ(answer.kind(), ErrorKind::cancelled);
  EXPECT_EQ(statistics().cancelled.count, 1);
  EXPECT_EQ(statistics().cancelled.total, milliseconds(7));
  EXPECT_EQ(statistics().fail.count, 0);
  blocker->finish();
}

TEST_F(StatisticsTest, WhatIsNotAcceptedIsRefusedAndWhatExpiresFailed) {
  start_model({.queue_depth_max = 1});
  auto blocker = block();
  Answer expired;
  InferRequest soon = request(model_, 1);
  soon.deadline = clock_.now() + milliseconds(2);
  submit(expired, std::move(soon));
  wait_queued(1);
  Answer full;
  submit(full, request(model_, 2));
  ASSERT_EQ(full.kind(), ErrorKind::overloaded);
  Answer invalid;
  submit(invalid, request(model_, 3, 9));
  ASSERT_EQ(invalid.kind(), ErrorKind::invalid_input);
  EXPECT_EQ(statistics().refused.count, 2);
  EXPECT_EQ(statistics().refused.count, engine_->stats().refused);
  EXPECT_EQ(statistics().fail.count, 0);
  clock_.advance(milliseconds(3));
  engine_->clock_moved();
  ASSERT_EQ(expired.kind(), ErrorKind::deadline_exceeded);
  EXPECT_EQ(statistics().fail.count, 1);
  EXPECT_EQ(statistics().refused.count, 2);
  blocker->finish();
}

TEST_F(StatisticsTest, WhatGivesWayToAMoreUrgentRequestHasFailed) {
  start_model({.queue_depth_max = 1});
  auto blocker = block();
  Answer shed;
  submit(shed, request(model_, 1));
  wait_queued(1);
  Answer urgent;
  InferRequest critical = request(model_, 2);
  critical.priority = PriorityClass::critical;
  submit(urgent, std::move(critical));
  ASSERT_EQ(shed.kind(), ErrorKind::overloaded);
  EXPECT_EQ(statistics().fail.count, 1);
  EXPECT_EQ(statistics().refused.count, 0);
  blocker->finish();
  next_run()->finish();
}

TEST_F(StatisticsTest, ARequestToAModelThatIsNotThereCountsNowhere) {
  start_model();
  Answer answer;
  submit(answer, request(ModelId{77}, 1));
  ASSERT_EQ(answer.kind(), ErrorKind::unavailable);
  EXPECT_FALSE(engine_->statistics(ModelId{77}));
  EXPECT_EQ(statistics().refused.count, 0);
  ASSERT_TRUE(engine_->remove_model(model_, seconds(1)));
  EXPECT_FALSE(engine_->statistics(model_));
}

TEST_F(StatisticsTest, EachModelHasItsOwnAndANewOneBeginsAtZero) {
  start_model();
  ModelRuntime runtime = model_runtime("other", 1, 8);
  runtime.instances.push_back(std::make_unique<InstantInstance>());
  const ModelId other = add(std::move(runtime));
  Answer answer;
  submit(answer, request(other, 1));
  ASSERT_EQ(answer.kind(), std::nullopt);
  EXPECT_EQ(statistics().success.count, 0);
  EXPECT_EQ(engine_->statistics(other)->success.count, 1);
  ASSERT_TRUE(engine_->remove_model(model_, seconds(1)));
  model_ = add(staged_model(stage_));
  EXPECT_EQ(statistics().success.count, 0);
}

}  // namespace
}  // namespace takt::engine_test
