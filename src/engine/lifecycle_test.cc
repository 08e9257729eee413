// SPDX-License-Identifier: Apache-2.0
// Models come and go, the engine stops, instances hang: every request is answered all the same.
#include "engine/engine_fixture.h"

#include <atomic>
#include <thread>

namespace takt::engine_test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

EngineOptions impatient() {
  EngineOptions options;
  options.batch_end_wait_max = milliseconds(1);
  return options;
}

// An instance that a test looks after itself, because an abandoned one is never destroyed.
class LentInstance final : public Instance {
 public:
  explicit LentInstance(std::shared_ptr<Stage> stage) : stage_(std::move(stage)) {}
  ~LentInstance() override { *destroyed = true; }
  Result<void> submit(BatchView batch, BatchCompletion done) override {
    return stage_->take(batch, std::move(done));
  }
  std::shared_ptr<bool> destroyed = std::make_shared<bool>(false);

 private:
  const std::shared_ptr<Stage> stage_;
};

// Finding models ----------------------------------------------------------------------------------

TEST_F(EngineTest, FindGivesTheHighestServingVersion) {
  start();
  for (const int version : {2, 10, 3}) {
    ModelRuntime runtime = model_runtime("detector", version, 8);
    runtime.instances.push_back(std::make_unique<InstantInstance>());
    runtime.profile = {{1, milliseconds(1), milliseconds(2)}};
    add(std::move(runtime));
  }
  const Result<ModelInfo> highest = engine_->find("detector");
  ASSERT_TRUE(highest);
  EXPECT_EQ(highest->version, 10);
  EXPECT_EQ(highest->signature.inputs[0].name, "x");
  const std::vector<ReplicaInfo> replicas = engine_->replicas(highest->id);
  ASSERT_EQ(replicas.size(), 1U);
  EXPECT_EQ(replicas[0].backend, "test");
  EXPECT_EQ(replicas[0].profile[0].p99, milliseconds(2));
  EXPECT_EQ(replicas[0].instances, 1);
  EXPECT_EQ(engine_->find("detector", 2)->version, 2);
  ASSERT_TRUE(engine_->remove_model(highest->id, seconds(1)));
  EXPECT_EQ(engine_->find("detector")->version, 3);
  EXPECT_EQ(engine_->models().size(), 2);
}

TEST_F(EngineTest, AMistypedModelIsAnsweredWithTheNearestName) {
  start();
  add(staged_model(stage_));
  const Result<ModelInfo> found = engine_->find("detectr");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::unavailable);
  EXPECT_NE(found.error().message.find("did you mean 'detector'"), std::string::npos);
  const Result<ModelInfo> version = engine_->find("detector", 7);
  ASSERT_FALSE(version);
  EXPECT_NE(version.error().message.find("has no version 7 loaded; expected one of 1"),
            std::string::npos)
      << version.error().message;
}

TEST_F(EngineTest, ARuntimeThatMakesNoSenseIsRefusedAndDestroyed) {
  start();
  const auto refused = [&](const std::function<void(ModelRuntime&)>& spoil) {
    ModelRuntime runtime = staged_model(stage_);
    spoil(runtime);
    const Result<ModelId> added = engine_->add_model(std::move(runtime));
    return added ? ErrorKind::internal : added.error().kind;
  };
  const auto kInvalid = ErrorKind::invalid_input;
  EXPECT_EQ(refused([](ModelRuntime& r) { r.name.clear(); }), kInvalid);
  EXPECT_EQ(refused([](ModelRuntime& r) { r.device = "gpu"; }), kInvalid);
  EXPECT_EQ(refused([](ModelRuntime& r) { r.instances.clear(); }), kInvalid);
  EXPECT_EQ(refused([](ModelRuntime& r) { r.instances.push_back(nullptr); }), kInvalid);
  EXPECT_EQ(refused([](ModelRuntime& r) { r.signature.inputs.clear(); }), kInvalid);
  EXPECT_EQ(refused([](ModelRuntime& r) { r.signature.batch_max = -1; }), kInvalid);
  EXPECT_EQ(refused([](ModelRuntime& r) { r.output_bytes_max.clear(); }), kInvalid);
  EXPECT_EQ(refused([](ModelRuntime& r) { r.output_bytes_max = {0}; }), kInvalid);
  EXPECT_EQ(refused([](ModelRuntime& r) { r.output_bytes_max = {SIZE_MAX}; }), kInvalid);
  EXPECT_EQ(refused([](ModelRuntime& r) { r.profile = {{1, milliseconds(2), milliseconds(1)}}; }),
            kInvalid);
  EXPECT_EQ(refused([](ModelRuntime& r) { r.output_bytes_max = {std::size_t{1} << 40}; }),
            ErrorKind::out_of_memory);
  EXPECT_EQ(stage_->instances(), 0);
  EXPECT_TRUE(engine_->models().empty());
  add(staged_model(stage_));
  EXPECT_EQ(refused([](ModelRuntime&) {}), kInvalid) << "the same version twice";
  EXPECT_EQ(stage_->instances(), 1);
}

TEST(EngineOptionsTest, OptionsThatMakeNoSenseAreRefused) {
  const auto refused = [](const std::function<void(EngineOptions&)>& spoil) {
    EngineOptions options;
    spoil(options);
    const auto engine = Engine::create(options);
    return engine ? ErrorKind::internal : engine.error().kind;
  };
  const auto kInvalid = ErrorKind::invalid_input;
  EXPECT_EQ(refused([](EngineOptions& o) { o.devices.clear(); }), kInvalid);
  EXPECT_EQ(refused([](EngineOptions& o) { o.devices = {{"cpu", 0}}; }), kInvalid);
  EXPECT_EQ(refused([](EngineOptions& o) { o.devices = {{"cpu", 1}, {"cpu", 1}}; }), kInvalid);
  EXPECT_EQ(refused([](EngineOptions& o) { o.inbox_depth_max = 0; }), kInvalid);
  EXPECT_EQ(refused([](EngineOptions& o) { o.results_held_max = 0; }), kInvalid);
  EXPECT_EQ(refused([](EngineOptions& o) { o.batch_end_wait_max = Duration(-1); }), kInvalid);
}

// Removing a model --------------------------------------------------------------------------------

TEST_F(EngineTest, RemovingAModelRunsWhatWaitsAndThenDestroysItsInstances) {
  start();
  const ModelId model = add(staged_model(stage_, 1, 0));
  Answer running;
  Answer waiting;
  submit(running, request(model, 1, 1, false));
  submit(waiting, request(model, 2, 1, false));
  auto run = next_run();
  std::thread remover([&] { EXPECT_TRUE(engine_->remove_model(model, hours(1))); });
  ASSERT_TRUE(wait_until([&] { return !engine_->find("detector"); }));
  Answer refused;
  submit(refused, request(model, 3, 1, false));
  EXPECT_EQ(refused.kind(), ErrorKind::unavailable);
  EXPECT_EQ(stage_->instances(), 1);
  run->finish();
  next_run()->finish();
  remover.join();
  EXPECT_EQ(stage_->instances(), 0);
  EXPECT_EQ(running.value(), 3);
  EXPECT_EQ(waiting.value(), 5);
  EXPECT_EQ(engine_->remove_model(model, seconds(1)).error().kind, ErrorKind::unavailable);
}

TEST_F(EngineTest, WhatStillWaitsWhenTheDrainTimeIsOverIsRefused) {
  start();
  const ModelId model = add(staged_model(stage_, 1, 0));
  Answer running;
  Answer waiting;
  submit(running, request(model, 1, 1, false));
  submit(waiting, request(model, 2, 1, false));
  auto run = next_run();
  std::thread remover([&] { EXPECT_TRUE(engine_->remove_model(model, Duration{})); });
  EXPECT_EQ(waiting.kind(), ErrorKind::unavailable);
  EXPECT_FALSE(running.given());
  run->finish();
  remover.join();
  EXPECT_EQ(running.value(), 3);
}

TEST_F(EngineTest, AVersionCanComeBackAfterItsRemovalAndOthersAreNotTouched) {
  start();
  const auto other_stage = std::make_shared<Stage>();
  ModelRuntime other = staged_model(other_stage);
  other.name = "matcher";
  const ModelId other_id = add(std::move(other));
  for (int round = 0; round < 3; ++round) {
    const ModelId model = add(staged_model(stage_));
    Answer answer;
    submit(answer, request(model, 1));
    next_run()->finish();
    EXPECT_EQ(answer.value(), 3);
    ASSERT_TRUE(engine_->remove_model(model, seconds(1)));
    EXPECT_EQ(stage_->instances(), 0);
  }
  Answer answer;
  submit(answer, request(other_id, 2));
  other_stage->next()->finish();
  EXPECT_EQ(answer.value(), 5);
}

TEST_F(EngineTest, AModelWhoseInstanceHangsCanBeRemoved) {
  start(impatient());
  ModelRuntime runtime = model_runtime("detector", 1, 8);
  std::array<LentInstance*, 2> lent{};
  std::array<std::shared_ptr<bool>, 2> destroyed;
  for (std::size_t i = 0; i < 2; ++i) {
    lent[i] = new LentInstance(stage_);
    destroyed[i] = lent[i]->destroyed;
    runtime.instances.emplace_back(lent[i]);
  }
  const ModelId model = add(std::move(runtime));
  Answer answer;
  submit(answer, request(model, 1));
  auto run = next_run();
  EXPECT_TRUE(engine_->remove_model(model, Duration{}));
  EXPECT_EQ(answer.kind(), ErrorKind::unavailable);
  EXPECT_EQ(engine_->stats().instances_abandoned, 1);
  EXPECT_EQ(inputs_->in_use(), 1) << "the instance still looks into the input";
  run->finish();
  run.reset();
  EXPECT_EQ(inputs_->in_use(), 0);
  EXPECT_NE(*destroyed[0], *destroyed[1]) << "the idle one is destroyed, the other one kept";
  delete lent[*destroyed[0] ? 1 : 0];
}

// Stopping ----------------------------------------------------------------------------------------

TEST_F(EngineTest, StopDrainsAndThenRefuses) {
  start();
  const ModelId model = add(staged_model(stage_, 1, 0));
  Answer running;
  Answer waiting;
  submit(running, request(model, 1, 1, false));
  submit(waiting, request(model, 2, 1, false));
  auto run = next_run();
  std::thread stopper([&] { engine_->stop(hours(1)); });
  // It has begun once no model is taken any more.
  ASSERT_TRUE(wait_until([&] {
    ModelRuntime tried = staged_model(stage_);
    tried.version = 2;
    const Result<ModelId> added = engine_->add_model(std::move(tried));
    if (!added) return added.error().kind == ErrorKind::unavailable;
    EXPECT_TRUE(engine_->remove_model(*added, kPatience));
    return false;
  }));
  Answer late;
  submit(late, request(model, 3, 1, false));
  EXPECT_EQ(late.kind(), ErrorKind::unavailable);
  EXPECT_NE(late.wait().error().message.find("stopping"), std::string::npos);
  EXPECT_FALSE(running.given());
  run->finish();
  next_run()->finish();
  stopper.join();
  EXPECT_EQ(running.value(), 3);
  EXPECT_EQ(waiting.value(), 5);
  EXPECT_EQ(stage_->instances(), 0);
  EXPECT_EQ(engine_->add_model(staged_model(stage_, 1, 4)).error().kind, ErrorKind::invalid_input);
  engine_->stop(seconds(1));  // again: nothing to do
}

TEST_F(EngineTest, StopWithoutDrainTimeRefusesWhatWaitsAndAwaitsWhatRuns) {
  start();
  const ModelId model = add(staged_model(stage_, 1, 0));
  Answer running;
  Answer waiting;
  submit(running, request(model, 1, 1, false));
  submit(waiting, request(model, 2, 1, false));
  auto run = next_run();
  std::thread stopper([&] { engine_->stop(Duration{}); });
  EXPECT_EQ(waiting.kind(), ErrorKind::unavailable);
  EXPECT_FALSE(running.given());
  run->finish();
  stopper.join();
  EXPECT_EQ(running.value(), 3);
}

// The dispatcher hears of a batch's end before its callers do, so it may be done before they are.
TEST_F(EngineTest, StopReturnsAfterTheLastCompletionHasReturned) {
  start();
  const ModelId model = add(staged_model(stage_));
  std::atomic<bool> returned{false};
  engine_->submit(request(model, 1), [&](const Result<InferResult>&) {
    EXPECT_TRUE(wait_until([&] {  // until the dispatcher is gone, as far as one can see
      Answer late;
      InferRequest hopeless = request(model, 2);
      hopeless.deadline = clock_.now();
      submit(late, std::move(hopeless));
      return late.wait().error().message.find("the engine is stopping") != std::string::npos;
    }));
    // Long enough for a stop that doesn't wait, far shorter than it would wait.
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    returned = true;
  });
  auto run = next_run();
  std::thread instance([&] { run->finish(); });
  engine_->stop(hours(1));
  EXPECT_TRUE(returned);
  instance.join();
  expect_all_answered();
}

TEST_F(EngineTest, StopIsBoundedWhenAnInstanceHangs) {
  start(impatient());
  ModelRuntime runtime = model_runtime("detector", 1, 8);
  auto hanging = std::make_unique<LentInstance>(stage_);
  LentInstance* const kept = hanging.get();
  const std::shared_ptr<bool> destroyed = kept->destroyed;
  runtime.instances.push_back(std::move(hanging));
  const ModelId model = add(std::move(runtime));
  Answer running;
  Answer waiting;
  submit(running, request(model, 1));
  auto run = next_run();
  submit(waiting, request(model, 2));
  engine_->stop(Duration{});
  EXPECT_EQ(running.kind(), ErrorKind::unavailable);
  EXPECT_NE(running.wait().error().message.find("given up"), std::string::npos);
  EXPECT_EQ(waiting.kind(), ErrorKind::unavailable);
  EXPECT_FALSE(*destroyed) << "destroying it would wait for the batch";
  EXPECT_EQ(engine_->stats().instances_abandoned, 1);
  engine_.reset();
  // The batch ends after the engine: its memory is still there and nobody is answered again.
  EXPECT_EQ(inputs_->in_use(), 1);
  run->finish();
  run.reset();
  EXPECT_EQ(inputs_->in_use(), 0);
  delete kept;
}

TEST_F(EngineTest, ABatchThatFailsDuringAStopIsNotTriedAgainOnceThePatienceIsOver) {
  start(impatient());
  ModelRuntime runtime = model_runtime("detector", 1, 8);
  auto* lent = new LentInstance(stage_);
  runtime.instances.emplace_back(lent);
  const ModelId model = add(std::move(runtime));
  std::array<Answer, 3> answers;
  submit(answers[0], request(model, 0));
  auto run = next_run();
  submit(answers[1], request(model, 1));
  submit(answers[2], request(model, 2));
  ASSERT_TRUE(wait_until([&] { return engine_->stats().queue_depth == 2; }));
  run->finish();
  run = next_run();  // the batch of two
  run->fail(ErrorKind::out_of_memory);
  auto half = next_run();  // its first half hangs
  engine_->stop(Duration{});
  EXPECT_EQ(answers[0].kind(), std::nullopt);
  EXPECT_EQ(answers[1].kind(), ErrorKind::unavailable);
  EXPECT_EQ(answers[2].kind(), ErrorKind::out_of_memory);
  half->finish();
  delete lent;
}

TEST_F(EngineTest, TheDestructorAnswersWhatIsLeft) {
  EngineOptions options;
  options.drain_on_destruction_max = Duration{};
  options.batch_end_wait_max = kPatience;
  start(options);
  const ModelId model = add(staged_model(stage_, 1, 0));
  Answer running;
  Answer waiting;
  submit(running, request(model, 1, 1, false));
  submit(waiting, request(model, 2, 1, false));
  auto run = next_run();
  std::thread finisher([&] {
    waiting.wait();
    run->finish();
  });
  engine_.reset();
  EXPECT_EQ(running.kind(), std::nullopt);
  EXPECT_EQ(waiting.kind(), ErrorKind::unavailable);
  finisher.join();
}

}  // namespace
}  // namespace takt::engine_test
