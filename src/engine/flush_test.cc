// SPDX-License-Identifier: Apache-2.0
// Requests that are decided on together, and batches that run on the thread that asked for it.
#include "engine/engine_fixture.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace takt::engine_test {
namespace {

using std::chrono::microseconds;

// Where the batches of a model ran.
struct Places {
  std::vector<std::thread::id> by_callers;
  std::atomic<int> by_submit{0};
  std::optional<ErrorKind> failure;  // of the next run() by a caller
};

class TwoWayInstance final : public Instance {
 public:
  explicit TwoWayInstance(Places& places) : places_(places) {}
  Result<void> submit(BatchView batch, BatchCompletion done) override {
    ++places_.by_submit;
    compute(batch);
    done({{}, {}});
    return {};
  }
  BatchOutcome run(BatchView batch) override {
    places_.by_callers.push_back(std::this_thread::get_id());
    if (const auto kind = std::exchange(places_.failure, std::nullopt)) {
      return {.status = fail(*kind, "as the test says"), .times = {}};
    }
    compute(batch);
    return {};
  }

 private:
  Places& places_;
};

class FlushTest : public EngineTest {
 protected:
  ModelId add_two_way(Duration usual, int batch_max = 8) {
    ModelRuntime runtime = model_runtime("detector", 1, batch_max);
    runtime.profile = {{1, usual, usual}, {8, usual, usual}};
    runtime.instances.push_back(std::make_unique<TwoWayInstance>(places_));
    return add(std::move(runtime));
  }
  // Submits and flushes until one of the batches has run here: the engine's own thread may be about to
  // end its turn, and decides then. There is time to spare even for what a busy machine measured meanwhile.
  std::vector<std::optional<ErrorKind>> flush_until_run_here(ModelId model, int requests) {
    for (int i = 0; i < 100'000; ++i) {
      std::vector<std::optional<ErrorKind>> kinds =
          flush(model, requests, std::chrono::seconds(10));
      if (engine_->stats().batches_by_callers > 0) return kinds;
    }
    ADD_FAILURE() << "none has run here";
    return {};
  }
  std::vector<std::optional<ErrorKind>> flush(ModelId model, int requests, Duration spare) {
    std::vector<Answer> answers(static_cast<std::size_t>(requests));
    float first = 0;
    for (Answer& answer : answers) {
      InferRequest made = request(model, ++first);
      made.more_come = true;
      submit(answer, std::move(made));
    }
    engine_->flush(spare);
    std::vector<std::optional<ErrorKind>> kinds;
    float expected = 0;
    for (Answer& answer : answers) {
      ++expected;
      kinds.push_back(answer.kind());
      if (!kinds.back()) {
        EXPECT_EQ(answer.value(), 2 * expected + 1);
      }
    }
    return kinds;
  }

  Places places_;
};

TEST_F(FlushTest, AShortBatchOfAllOfThemRunsOnTheThreadThatFlushes) {
  start();
  const ModelId model = add_two_way(microseconds(10));
  flush_until_run_here(model, 3);
  ASSERT_EQ(places_.by_callers.size(), 1U) << "one batch of three";
  EXPECT_EQ(places_.by_callers[0], std::this_thread::get_id());
  expect_all_answered();
}

TEST_F(FlushTest, ALongerBatchRunsElsewhere) {
  start();
  const ModelId model = add_two_way(microseconds(51));
  for (int i = 0; i < 100; ++i) flush(model, 2, microseconds(50));
  EXPECT_TRUE(places_.by_callers.empty());
  EXPECT_GE(places_.by_submit, 100);
  EXPECT_EQ(engine_->stats().batches_by_callers, 0U);
}

TEST_F(FlushTest, WithNothingToSpareNothingRunsHere) {
  start();
  const ModelId model = add_two_way(microseconds(10));
  for (int i = 0; i < 100; ++i) flush(model, 2, Duration{});
  EXPECT_TRUE(places_.by_callers.empty());
}

TEST_F(FlushTest, AFailureReachesItsRequests) {
  start();
  const ModelId model = add_two_way(microseconds(10));
  places_.failure = ErrorKind::internal;
  const auto kinds = flush_until_run_here(model, 2);
  EXPECT_EQ(kinds, (std::vector<std::optional<ErrorKind>>(2, ErrorKind::internal)));
  EXPECT_EQ(flush(model, 1, microseconds(50)), std::vector<std::optional<ErrorKind>>(1));
  expect_all_answered();
}

TEST_F(FlushTest, WhatRanOutOfMemoryIsTriedInHalves) {
  start();
  const ModelId model = add_two_way(microseconds(10));
  places_.failure = ErrorKind::out_of_memory;
  const auto kinds = flush_until_run_here(model, 4);
  EXPECT_EQ(kinds, std::vector<std::optional<ErrorKind>>(4)) << "all of them have results";
  EXPECT_EQ(engine_->stats().batches_failed, 1U);
  expect_all_answered();
}

TEST_F(FlushTest, ARequestOfAnotherKindTakesThemAlong) {
  start();
  const ModelId model = add_two_way(microseconds(10));
  Answer waiting;
  Answer other;
  InferRequest made = request(model, 1);
  made.more_come = true;
  submit(waiting, std::move(made));
  submit(other, request(model, 2));
  EXPECT_EQ(waiting.value(), 3);
  EXPECT_EQ(other.value(), 5);
}

}  // namespace
}  // namespace takt::engine_test
