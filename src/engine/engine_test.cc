// SPDX-License-Identifier: Apache-2.0
// How requests are answered: results, order, deadlines, withdrawals, limits.
#include "engine/engine.h"

#include "engine/engine_fixture.h"

namespace takt::engine_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(EngineTest, ARequestIsAnsweredWithItsOwnOutput) {
  start();
  const ModelId model = add(staged_model(stage_));
  Answer answer;
  submit(answer, request(model, 3));
  next_run()->finish();
  Result<InferResult>& result = answer.wait();
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->outputs.size(), 1);
  EXPECT_EQ(result->outputs[0].type, DataType::fp32);
  EXPECT_EQ(result->outputs[0].shape, (Shape{1, 4}));
  EXPECT_EQ(answer.value(), 7);
  result->hold.reset();
  engine_->stop(seconds(5));
  expect_all_answered();
}

TEST_F(EngineTest, OutputsStayWhileTheResultIsHeld) {
  start();
  const ModelId model = add(staged_model(stage_));
  Answer first;
  submit(first, request(model, 1));
  next_run()->finish();
  EXPECT_EQ(first.value(), 3);
  Answer second;
  submit(second, request(model, 2));
  next_run()->finish();
  EXPECT_EQ(second.value(), 5);
  EXPECT_EQ(first.value(), 3) << "a held output was overwritten";
  EXPECT_EQ(engine_->stats().slots_in_use, 2);
  first.wait()->hold.reset();
  second.wait()->hold.reset();
  EXPECT_EQ(engine_->stats().slots_in_use, 0);
}

TEST_F(EngineTest, InputsAreReleasedBeforeTheAnswerIsGiven) {
  start();
  const ModelId model = add(staged_model(stage_));
  std::promise<std::uint32_t> in_use;
  engine_->submit(request(model, 1),
                  [&](const Result<InferResult>&) { in_use.set_value(inputs_->in_use()); });
  next_run()->finish();
  EXPECT_EQ(in_use.get_future().get(), 0);
}

TEST_F(EngineTest, RequestsThatWaitTogetherRunTogether) {
  start();
  const ModelId model = add(staged_model(stage_));
  std::array<Answer, 4> answers;
  submit(answers[0], request(model, 0));
  auto first = next_run();
  for (std::size_t i = 1; i < answers.size(); ++i)
    submit(answers[i], request(model, static_cast<float>(i)));
  ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == 3; }));
  first->finish();
  auto second = next_run();
  EXPECT_EQ(second->batch.size(), 3);
  second->finish();
  for (std::size_t i = 0; i < answers.size(); ++i)
    EXPECT_EQ(answers[i].value(), 2 * static_cast<float>(i) + 1);
  EXPECT_EQ(answers[2].wait()->timings.batch_size, 3);
  EXPECT_EQ(engine_->stats().batches, 2);
  EXPECT_EQ(engine_->stats().rows, 4);
}

TEST_F(EngineTest, WhatWaitsStartsBeforeTheAnswersAreGivenAndOtherwiseTheAnswersComeFirst) {
  start();
  const ModelId model = add(staged_model(stage_));
  std::array<std::promise<std::size_t>, 2> running;
  const auto ask = [&](std::size_t i) {
    engine_->submit(request(model, static_cast<float>(i)), [&, i](const Result<InferResult>&) {
      running[i].set_value(engine_->stats().batches);
    });
  };
  ask(0);
  auto first = next_run();
  ask(1);
  ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == 1; }));
  first->finish();
  EXPECT_EQ(running[0].get_future().get(), 2) << "the second batch was started first";
  auto second = next_run();
  EXPECT_EQ(engine_->stats().batches_running, 1);
  second->finish();
  EXPECT_EQ(running[1].get_future().get(), 2);
  EXPECT_TRUE(wait_until([&] { return engine_->stats().batches_running == 0; }));
}

TEST_F(EngineTest, ARequestOfSeveralRowsIsNotSplit) {
  start();
  const ModelId model = add(staged_model(stage_, 1, 4));
  Answer running;
  Answer three;
  Answer two;
  submit(running, request(model, 0));
  auto run = next_run();
  submit(three, request(model, 1, 3));
  submit(two, request(model, 2, 2));
  ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == 2; }));
  run->finish();
  auto second = next_run();
  EXPECT_EQ(second->rows(), 3) << "2 more rows would be 5 of at most 4";
  second->finish();
  next_run()->finish();
  EXPECT_EQ(three.wait()->outputs[0].shape, (Shape{3, 4}));
  EXPECT_EQ(two.value(), 5);
}

TEST_F(EngineTest, AModelWithoutBatchDimensionRunsRequestsAlone) {
  start();
  const ModelId model = add(staged_model(stage_, 1, 0));
  Answer first;
  Answer second;
  submit(first, request(model, 1, 1, false));
  submit(second, request(model, 2, 1, false));
  auto run = next_run();
  ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == 1; }));
  EXPECT_EQ(run->batch.size(), 1);
  run->finish();
  run = next_run();
  EXPECT_EQ(run->batch.size(), 1);
  run->finish();
  EXPECT_EQ(first.value(), 3);
  EXPECT_EQ(second.value(), 5);
}

TEST_F(EngineTest, ALaneIsKeptForCriticalRequestsThatWereAnnounced) {
  start();
  ModelRuntime slow = staged_model(stage_);
  slow.name = "logger";
  slow.profile = {{1, milliseconds(10), milliseconds(10)}};
  const ModelId background = add(std::move(slow));
  ModelRuntime quick = staged_model(stage_);
  quick.profile = {{1, milliseconds(1), milliseconds(1)}};
  const ModelId critical = add(std::move(quick));
  engine_->expect_arrivals(critical, FlowId{1}, milliseconds(20), milliseconds(3), 1);
  const auto urgent = [&](float first) {
    InferRequest made = request(critical, first);
    made.priority = PriorityClass::critical;
    made.flow = FlowId{1};
    made.deadline = clock_.now() + milliseconds(3);
    return made;
  };
  Answer first;
  submit(first, urgent(1));
  next_run()->finish();
  EXPECT_EQ(first.kind(), std::nullopt);
  // It would end 5 ms after the next critical request, which can't wait so long.
  clock_.advance(milliseconds(15));
  Answer logged;
  InferRequest log = request(background, 2);
  log.priority = PriorityClass::background;
  submit(logged, std::move(log));
  settle();
  EXPECT_TRUE(stage_->idle()) << "the lane is kept";
  clock_.advance(milliseconds(5));
  Answer second;
  submit(second, urgent(3));
  auto run = next_run();
  EXPECT_EQ(run->firsts, std::vector{3.0F});
  run->finish();
  EXPECT_EQ(second.kind(), std::nullopt);
  next_run()->finish();
  EXPECT_EQ(logged.kind(), std::nullopt);
}

TEST_F(EngineTest, CriticalRequestsRunBeforeThoseThatCameEarlier) {
  start();
  const ModelId model = add(staged_model(stage_, 1, 0));
  std::array<Answer, 3> answers;
  submit(answers[0], request(model, 0, 1, false));
  auto run = next_run();
  submit(answers[1], request(model, 1, 1, false));
  InferRequest critical = request(model, 2, 1, false);
  critical.priority = PriorityClass::critical;
  submit(answers[2], std::move(critical));
  ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == 2; }));
  run->finish();
  run = next_run();
  EXPECT_EQ(run->firsts, std::vector<float>{2});
  run->finish();
  run = next_run();
  EXPECT_EQ(run->firsts, std::vector<float>{1});
  run->finish();
}

TEST_F(EngineTest, LanesBoundHowManyBatchesOfADeviceRunAtOnce) {
  EngineOptions options;
  options.devices = {{"cpu", 1}};
  start(options);
  const ModelId model = add(staged_model(stage_, 2, 0));
  Answer first;
  Answer second;
  submit(first, request(model, 1, 1, false));
  submit(second, request(model, 2, 1, false));
  auto run = next_run();
  ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == 1; }));
  EXPECT_TRUE(stage_->idle()) << "two instances, but one lane";
  run->finish();
  next_run()->finish();
  EXPECT_EQ(second.value(), 5);
}

TEST_F(EngineTest, TimingsFollowTheInjectedClock) {
  start();
  const ModelId model = add(staged_model(stage_, 1, 0));
  Answer running;
  Answer waiting;
  const TimePoint begin = clock_.now();
  submit(running, request(model, 1, 1, false));
  auto run = next_run();
  submit(waiting, request(model, 2, 1, false));
  ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == 1; }));
  clock_.advance(milliseconds(5));
  run->finish();
  run = next_run();
  const BatchTimes times{begin + milliseconds(6), begin + milliseconds(7), begin + milliseconds(8),
                         begin + milliseconds(9)};
  run->finish(times);
  const InferTimings& timings = waiting.wait()->timings;
  EXPECT_EQ(timings.submitted, begin);
  EXPECT_EQ(timings.dispatched, begin + milliseconds(5));
  EXPECT_EQ(timings.batch.exec_start, times.exec_start);
  EXPECT_EQ(timings.batch.exec_end, times.exec_end);
  EXPECT_EQ(timings.batch_size, 1);
}

// Deadlines ---------------------------------------------------------------------------------------

ModelRuntime profiled(const std::shared_ptr<Stage>& stage) {
  ModelRuntime runtime = staged_model(stage, 1, 0);
  runtime.profile = {{1, milliseconds(10), milliseconds(12)}};
  return runtime;
}

TEST_F(EngineTest, ARequestThatCannotBeInTimeIsRefusedAtOnce) {
  start();
  const ModelId model = add(profiled(stage_));
  Answer answer;
  InferRequest late = request(model, 1, 1, false);
  late.deadline = clock_.now() + milliseconds(11);
  submit(answer, std::move(late));
  EXPECT_EQ(answer.kind(), ErrorKind::deadline_exceeded);
  EXPECT_NE(answer.wait().error().message.find("detector 1"), std::string::npos);
  EXPECT_TRUE(stage_->idle());
  EXPECT_EQ(engine_->stats().refused, 1);
}

TEST_F(EngineTest, AWaitingRequestExpiresWhenItsTimeHasRunOut) {
  start();
  const ModelId model = add(staged_model(stage_, 1, 0));
  Answer running;
  Answer waiting;
  submit(running, request(model, 1, 1, false));
  auto run = next_run();
  InferRequest timed = request(model, 2, 1, false);
  timed.deadline = clock_.now() + milliseconds(30);
  submit(waiting, std::move(timed));
  ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == 1; }));
  clock_.advance(milliseconds(29));
  engine_->clock_moved();
  settle();
  EXPECT_FALSE(waiting.given());
  clock_.advance(milliseconds(2));
  engine_->clock_moved();
  EXPECT_EQ(waiting.kind(), ErrorKind::deadline_exceeded);
  EXPECT_EQ(engine_->stats().expired, 1);
  run->finish();
  EXPECT_EQ(running.value(), 3);
}

// The one test on the system's clock: the dispatcher wakes by itself.
TEST(EngineOnSystemClock, AWaitingRequestExpiresWithoutAnyOtherEvent) {
  const auto stage = std::make_shared<Stage>();
  std::unique_ptr<Engine> engine = *Engine::create({});
  const ModelId model = *engine->add_model(staged_model(stage, 1, 0));
  const std::array<float, 4> x{1, 2, 3, 4};
  InferRequest request;
  request.model = model;
  request.inputs.push_back(TensorView{DataType::fp32, {4}, std::as_bytes(std::span(x))});
  Answer running;
  Answer waiting;
  engine->submit(request, running.completion());
  auto run = stage->next();
  ASSERT_TRUE(run);
  request.deadline = SystemClock().now() + milliseconds(20);
  engine->submit(request, waiting.completion());
  EXPECT_EQ(waiting.kind(), ErrorKind::deadline_exceeded);
  EXPECT_GE(SystemClock().now(), request.deadline);
  run->finish();
  EXPECT_EQ(running.value(), 3);
}

TEST_F(EngineTest, ARunningRequestIsNotAnsweredEarlyWhenItsDeadlinePasses) {
  start();
  const ModelId model = add(staged_model(stage_, 1, 0));
  Answer answer;
  InferRequest timed = request(model, 4, 1, false);
  timed.deadline = clock_.now() + milliseconds(10);
  submit(answer, std::move(timed));
  auto run = next_run();
  clock_.advance(seconds(1));
  engine_->clock_moved();
  settle();
  EXPECT_FALSE(answer.given());
  run->finish();
  EXPECT_EQ(answer.value(), 9);
}

TEST_F(EngineTest, TheExpectedP99StartsWithTheProfileAndFollowsWhatIsExecuted) {
  start();
  ModelRuntime runtime = profiled(stage_);
  const ModelId model = add(std::move(runtime));
  EXPECT_EQ(engine_->expected_p99(model, 1), milliseconds(12));
  for (int i = 0; i < 320; ++i) {
    Answer answer;
    submit(answer, request(model, 1, 1, false));
    const TimePoint begin = clock_.now();
    next_run()->finish({begin, begin, begin + milliseconds(40), begin + milliseconds(40)});
    answer.wait();
  }
  EXPECT_EQ(engine_->expected_p99(model, 1), milliseconds(40));
  EXPECT_EQ(engine_->expected_p99(ModelId{99}, 1), Duration{}) << "unknown";
}

// Withdrawals -------------------------------------------------------------------------------------

TEST_F(EngineTest, AWithdrawnRequestThatWaitsIsAnsweredWithCancelled) {
  start();
  const ModelId model = add(staged_model(stage_, 1, 0));
  Answer running;
  Answer waiting;
  submit(running, request(model, 1, 1, false));
  auto run = next_run();
  const RequestId id = submit(waiting, request(model, 2, 1, false));
  engine_->cancel(id);
  EXPECT_EQ(waiting.kind(), ErrorKind::cancelled);
  run->finish();
  EXPECT_EQ(running.value(), 3);
  EXPECT_TRUE(stage_->idle());
  EXPECT_EQ(engine_->stats().cancelled, 1);
}

TEST_F(EngineTest, ARunningRequestIsNotWithdrawn) {
  start();
  const ModelId model = add(staged_model(stage_));
  Answer answer;
  const RequestId id = submit(answer, request(model, 1));
  auto run = next_run();
  engine_->cancel(id);
  engine_->cancel(RequestId{123456});
  settle();
  EXPECT_FALSE(answer.given());
  run->finish();
  EXPECT_EQ(answer.value(), 3);
  engine_->cancel(id);  // long answered
  settle();
  EXPECT_EQ(engine_->stats().cancelled, 0);
}

TEST_F(EngineTest, ACompletionMaySubmitTheNextRequest) {
  start();
  const ModelId model = add(staged_model(stage_));
  Answer last;
  engine_->submit(request(model, 1), [&](const Result<InferResult>& result) {
    const float value = result->outputs[0].as<float>()[0];
    engine_->submit(request(model, value), last.completion());
  });
  next_run()->finish();
  next_run()->finish();
  EXPECT_EQ(last.value(), 7);
}

TEST_F(EngineTest, ACompletionThatThrowsHurtsNobodyElse) {
  start();
  const ModelId model = add(staged_model(stage_));
  Answer second;
  engine_->submit(request(model, 1),
                  [](const Result<InferResult>&) { throw std::runtime_error("defect"); });
  submit(second, request(model, 2));
  for (int done = 0; done < 2;) {
    auto run = next_run();
    done += static_cast<int>(run->batch.size());
    run->finish();
  }
  EXPECT_EQ(second.value(), 5);
  second.wait()->hold.reset();
  engine_->stop(seconds(5));
  EXPECT_EQ(engine_->stats().completions_threw, 1);
  expect_all_answered();
}

// Limits ------------------------------------------------------------------------------------------

TEST_F(EngineTest, AFullQueueRefusesAndNamesTheModelAndItsLimit) {
  start();
  const ModelId model = add(staged_model(stage_, 1, 0), {.queue_depth_max = 2});
  std::array<Answer, 4> answers;
  submit(answers[0], request(model, 0, 1, false));
  auto run = next_run();
  for (std::size_t i = 1; i < 4; ++i) submit(answers[i], request(model, 1, 1, false));
  EXPECT_EQ(answers[3].kind(), ErrorKind::overloaded);
  EXPECT_NE(answers[3].wait().error().message.find("detector 1"), std::string::npos);
  EXPECT_NE(answers[3].wait().error().message.find("queue_depth_max 2"), std::string::npos);
  for (int i = 0; i < 3; ++i) {
    run->finish();
    if (i < 2) run = next_run();
  }
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(answers[i].kind(), std::nullopt);
}

TEST_F(EngineTest, AFullInboxRefusesOnTheCallingThread) {
  EngineOptions options;
  options.inbox_depth_max = 2;
  start(options);
  const ModelId model = add(staged_model(stage_));
  Answer running;
  submit(running, request(model, 1));
  auto run = next_run();
  // Whoever decides is held up by a completion, so that nothing empties the inbox.
  std::promise<void> entered;
  std::promise<void> release;
  InferRequest late = request(model, 1);
  late.deadline = clock_.now();
  std::thread deciding([&] {
    engine_->submit(std::move(late), [&](const Result<InferResult>&) {
      entered.set_value();
      release.get_future().wait();
    });
  });
  entered.get_future().wait();
  std::array<Answer, 3> answers;
  std::array<RequestId, 3> ids;
  for (std::size_t i = 0; i < 3; ++i) ids[i] = submit(answers[i], request(model, 1));
  EXPECT_TRUE(answers[2].given()) << "refused before submit returned";
  EXPECT_EQ(answers[2].kind(), ErrorKind::overloaded);
  EXPECT_NE(answers[2].wait().error().message.find("inbox_depth_max 2"), std::string::npos);
  for (int i = 0; i < 3; ++i) engine_->cancel(ids[0]);
  EXPECT_EQ(engine_->stats().cancels_dropped, 1) << "withdrawals are bounded by twice as many";
  release.set_value();
  deciding.join();
  EXPECT_EQ(answers[0].kind(), ErrorKind::cancelled);
  run->finish();
  next_run()->finish();
  EXPECT_EQ(answers[1].kind(), std::nullopt);
}

TEST_F(EngineTest, WithoutRoomForItsOutputsARequestIsOutOfMemoryAndOthersRunOn) {
  EngineOptions options;
  options.results_held_max = 1;
  start(options);
  // Room for outputs: 1 that runs + 1 that is held.
  const ModelId model = add(staged_model(stage_, 1, 0));
  std::array<Answer, 3> held;
  for (std::size_t i = 0; i < 2; ++i) {
    submit(held[i], request(model, 1, 1, false));
    next_run()->finish();
    EXPECT_EQ(held[i].kind(), std::nullopt);
  }
  submit(held[2], request(model, 1, 1, false));
  EXPECT_EQ(held[2].kind(), ErrorKind::out_of_memory);
  EXPECT_NE(held[2].wait().error().message.find("detector 1"), std::string::npos);
  EXPECT_EQ(engine_->stats().outputs_exhausted, 1);
  held[0].wait()->hold.reset();
  Answer again;
  submit(again, request(model, 5, 1, false));
  next_run()->finish();
  EXPECT_EQ(again.value(), 11) << "a result that was let go makes room";
}

TEST_F(EngineTest, WhatItLearnedOfAModelIsTheNextEnginesToBeginWith) {
  start();
  ModelRuntime runtime = model_runtime("instant", 1, 8);
  runtime.profile = {{1, std::chrono::milliseconds(5), std::chrono::milliseconds(6)}};
  runtime.instances.push_back(std::make_unique<InstantInstance>());
  const ModelId model = add(std::move(runtime));
  for (int i = 0; i < scheduler::SlidingQuantiles::kCapacity; ++i) {
    Answer answer;
    submit(answer, request(model, 1));
    answer.wait();
  }
  settle();
  std::vector<scheduler::ProfilePoint> learned = engine_->profile(model, "cpu");
  ASSERT_EQ(learned.size(), 1U);
  EXPECT_EQ(learned[0].executions, scheduler::SlidingQuantiles::kCapacity);
  EXPECT_EQ(learned[0].p99, Duration{}) << "it answers at once";
  EXPECT_TRUE(engine_->profile(ModelId{77}, "cpu").empty());
  engine_->stop(kPatience);
  EXPECT_TRUE(engine_->profile(model, "cpu").empty()) << "the engine has stopped";

  learned[0].p50 = learned[0].p99 = std::chrono::milliseconds(2);
  start();
  ModelRuntime again = model_runtime("instant", 1, 8);
  again.profile = {{1, std::chrono::milliseconds(5), std::chrono::milliseconds(6)}};
  again.instances.push_back(std::make_unique<InstantInstance>());
  EXPECT_EQ(engine_->expected_p99(add(std::move(again), {.learned = learned}), 1),
            std::chrono::milliseconds(2));
}

TEST_F(EngineTest, ARequestThatDoesNotFitIsRefusedOnTheCallingThread) {
  start();
  const ModelId model = add(staged_model(stage_));
  Answer rows;
  submit(rows, request(model, 1, 9));
  EXPECT_TRUE(rows.given());
  EXPECT_EQ(rows.kind(), ErrorKind::invalid_input);
  Answer unknown;
  submit(unknown, request(ModelId{77}, 1));
  EXPECT_TRUE(unknown.given());
  EXPECT_EQ(unknown.kind(), ErrorKind::unavailable);
  EXPECT_EQ(engine_->stats().refused, 2);
  EXPECT_EQ(engine_->stats().failed_by_kind[static_cast<int>(ErrorKind::invalid_input)], 1);
}

TEST_F(EngineTest, AnInstanceThatCallsBackBeforeSubmitReturnsIsFine) {
  start();
  ModelRuntime runtime = model_runtime("instant", 1, 8);
  runtime.instances.push_back(std::make_unique<InstantInstance>());
  const ModelId model = add(std::move(runtime));
  for (int i = 0; i < 100; ++i) {
    Answer answer;
    submit(answer, request(model, static_cast<float>(i)));
    EXPECT_EQ(answer.value(), 2 * static_cast<float>(i) + 1);
  }
}

}  // namespace
}  // namespace takt::engine_test
