// SPDX-License-Identifier: Apache-2.0
// An engine with one staged model, requests with known answers, and a record of what was answered.
// Thread-safe: Answer and Answers from any thread.
// Owns: the engine of a test; the inputs of its requests live in a pool as in production.
#pragma once

#include "engine/engine.h"
#include "engine/instance_fixture.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <future>
#include <string>

namespace takt::engine_test {

// One answer to wait for. A second one is a failure of the test.
class Answer {
 public:
  InferCompletion completion() {
    return [state = state_](Result<InferResult> result) {
      const std::scoped_lock lock(state->mutex);
      EXPECT_FALSE(state->result) << "answered twice";
      state->result = std::move(result);
      state->came.notify_all();
    };
  }
  [[nodiscard]] bool given() const {
    const std::scoped_lock lock(state_->mutex);
    return state_->result.has_value();
  }
  Result<InferResult>& wait() {
    std::unique_lock lock(state_->mutex);
    if (state_->came.wait_for(lock, kPatience, [this] { return state_->result.has_value(); }))
      return *state_->result;
    ADD_FAILURE() << "no answer came";
    return state_->none;
  }
  // The kind of the error; nullopt for a result.
  std::optional<ErrorKind> kind() {
    const Result<InferResult>& result = wait();
    return result ? std::nullopt : std::optional(result.error().kind);
  }
  // output[0] of the answer.
  float value() {
    Result<InferResult>& result = wait();
    if (!result) {
      ADD_FAILURE() << result.error().message;
      return 0;
    }
    return result->outputs[0].as<float>()[0];
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable came;
    std::optional<Result<InferResult>> result;
    Result<InferResult> none = fail(ErrorKind::internal, "no answer came");
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

inline bool wait_until(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() {
    const std::array classes{SizeClass{4096, 4096}};
    inputs_ = *SlotPool::create("test inputs", classes);
  }

  void start(EngineOptions options = {}) {
    options.clock = &clock_;
    Result<std::unique_ptr<Engine>> engine = Engine::create(std::move(options));
    ASSERT_TRUE(engine) << engine.error().message;
    engine_ = std::move(*engine);
  }
  ModelId add(ModelRuntime runtime, ModelService service = {}) {
    Result<ModelId> id = engine_->add_model(std::move(runtime), service);
    EXPECT_TRUE(id) << id.error().message;
    return id.value_or(ModelId{});
  }
  // x = first, first, first, first in each row; the answer is y = 2 * first + 1.
  InferRequest request(ModelId model, float first, std::int64_t rows = 1, bool batched = true) {
    Slot slot = *inputs_->acquire(1);
    const auto count = static_cast<std::size_t>(rows) * 4;
    for (std::size_t i = 0; i < count; ++i)
      std::memcpy(slot.bytes().data() + i * sizeof(float), &first, sizeof(float));
    const TensorView view{DataType::fp32, batched ? Shape{rows, 4} : Shape{4},
                          slot.bytes().first(count * sizeof(float))};
    InferRequest made;
    made.model = model;
    made.inputs.push_back(view);
    made.rows = rows;
    made.holds.push_back(std::move(slot));
    return made;
  }
  RequestId submit(Answer& answer, InferRequest request) {
    return engine_->submit(std::move(request), answer.completion());
  }
  std::optional<Stage::Run> next_run() {
    std::optional<Stage::Run> run = stage_->next();
    EXPECT_TRUE(run) << "no batch came";
    return run;
  }
  // Returns when the dispatcher has dealt with everything that was posted before, timers included.
  void settle(const std::string& device = "cpu") {
    ModelRuntime runtime = model_runtime("settle", 1, 0);
    runtime.device = device;
    runtime.instances.push_back(std::make_unique<InstantInstance>());
    EXPECT_TRUE(engine_->remove_model(add(std::move(runtime)), kPatience));
  }
  void expect_all_answered() {
    const EngineStats stats = engine_->stats();
    EXPECT_EQ(stats.submitted, stats.answered);
    EXPECT_EQ(stats.slots_in_use, 0);
    EXPECT_EQ(inputs_->in_use(), 0);
  }

  ManualClock clock_{TimePoint(std::chrono::seconds(1000))};
  std::shared_ptr<SlotPool> inputs_;
  std::shared_ptr<Stage> stage_ = std::make_shared<Stage>();
  std::unique_ptr<Engine> engine_;
};

}  // namespace takt::engine_test
