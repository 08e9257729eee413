// SPDX-License-Identifier: Apache-2.0
// Injected faults and modelled time, as the engine sees them.
#include "backend/simulated/simulated_backend.h"

#include "backend/conformance/conformance_fixture.h"
#include "core/string_tensor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

namespace takt {
namespace {

using namespace conformance;
using namespace std::chrono_literals;
using Pairs = std::vector<std::pair<std::string, std::string>>;

class Simulated : public testing::Test {
 protected:
  std::unique_ptr<Instance> open(Pairs parameters) {
    LoadOptions options = options_of(conv_net());
    options.parameters = std::move(parameters);
    model_ = backend_->load({"conv_net", 1, {}}, options).value();
    return model_->open_instance({"cpu", 0}).value();
  }
  BatchOutcome run_one(Instance& instance) {
    request_ = make_request(model_->signature(), 1);
    return run(instance, request_);
  }
  ErrorKind error_kind(Instance& instance) {
    const BatchOutcome outcome = run_one(instance);
    EXPECT_FALSE(outcome.status.has_value());
    return outcome.status ? ErrorKind::cancelled : outcome.status.error().kind;
  }

  ManualClock clock_{TimePoint(1s)};
  std::unique_ptr<Backend> backend_ = make_simulated_backend();
  std::shared_ptr<const LoadedModel> model_;
  Request request_;
};

TEST_F(Simulated, TakesItsSignatureFromParameters) {
  LoadOptions options;
  options.batch_max = 2;
  options.parameters = {{"simulated.input.x", "FP32[3]"}, {"simulated.output.y", "INT32[2]"}};
  const auto model = backend_->load({"plan", 1, {}}, options);
  ASSERT_TRUE(model.has_value()) << model.error().message;
  EXPECT_EQ((*model)->signature().inputs[0].name, "x");
  EXPECT_EQ((*model)->signature().outputs[0].type, DataType::int32);
}

TEST_F(Simulated, SpinsToTheSameEndAsItSleeps) {
  LoadOptions options = options_of(conv_net());
  options.parameters = {{"simulated.base_us", "2000"}};
  options.spin = 1ms;
  model_ = backend_->load({"conv_net", 1, {}}, options).value();
  const auto instance = model_->open_instance({"cpu", 0}).value();
  const BatchOutcome outcome = run_one(*instance);
  ASSERT_TRUE(outcome.status) << outcome.status.error().message;
  EXPECT_GE(outcome.times.exec_end - outcome.times.exec_start, 2ms);
}

TEST_F(Simulated, NeedsASignature) {
  const auto model = backend_->load({"plan", 4, {}}, {});
  ASSERT_FALSE(model.has_value());
  EXPECT_NE(model.error().message.find("simulated.input.NAME"), std::string::npos);
}

TEST_F(Simulated, FaultsHaveTheKindThatTheEngineActsOn) {
  const auto instance = open({{"simulated.faults", "out_of_memory@1,failure@2,device_poisoned@4"}});
  EXPECT_EQ(error_kind(*instance), ErrorKind::out_of_memory);
  EXPECT_EQ(error_kind(*instance), ErrorKind::internal);
  EXPECT_TRUE(run_one(*instance).status.has_value());
  EXPECT_EQ(error_kind(*instance), ErrorKind::device_poisoned);
}

TEST_F(Simulated, FaultsHaveABeginningAndAnEnd) {
  const auto instance = open({{"simulated.probability.failure", "1"},
                              {"simulated.faults_after", "1"},
                              {"simulated.faults_until", "2"}});
  EXPECT_TRUE(run_one(*instance).status.has_value());
  EXPECT_EQ(error_kind(*instance), ErrorKind::internal);
  EXPECT_TRUE(run_one(*instance).status.has_value());
}

TEST_F(Simulated, PoisonReachesEveryInstanceUntilANewLoad) {
  const auto first = open({{"simulated.faults", "device_poisoned@1"}});
  const auto second = model_->open_instance({"cpu", 1}).value();
  EXPECT_EQ(error_kind(*first), ErrorKind::device_poisoned);
  EXPECT_EQ(error_kind(*second), ErrorKind::device_poisoned);
  const auto fresh = open({});
  EXPECT_TRUE(run_one(*fresh).status.has_value());
}

TEST_F(Simulated, CorruptOutputIsNotANumber) {
  const auto instance = open({{"simulated.faults", "corrupt_output@1"}});
  ASSERT_TRUE(run_one(*instance).status.has_value());
  for (const float value : request_.floats(0)) ASSERT_TRUE(std::isnan(value));
  ASSERT_TRUE(run_one(*instance).status.has_value());
  for (const float value : request_.floats(0)) ASSERT_FALSE(std::isnan(value));
}

TEST_F(Simulated, CorruptStringsAreNone) {
  LoadOptions options = options_of(strings());
  options.parameters = {{"simulated.faults", "corrupt_output@1"}};
  model_ = backend_->load({"strings", 1, {}}, options).value();
  const auto instance = model_->open_instance({"cpu", 0}).value();
  ASSERT_TRUE(run_one(*instance).status.has_value());
  EXPECT_FALSE(check_strings(request_.outputs[0].view().bytes, 3));
  ASSERT_TRUE(run_one(*instance).status.has_value());
  EXPECT_TRUE(check_strings(request_.outputs[0].view().bytes, 3));
}

TEST_F(Simulated, MadeUpStringsThatHaveNoRoomSayWhatToRaise) {
  model_ = backend_->load({"strings", 1, {}}, options_of(strings())).value();
  const auto instance = model_->open_instance({"cpu", 0}).value();
  request_ = make_request(model_->signature(), 1);
  request_.outputs[0].room = request_.outputs[0].room.first(10);
  const BatchOutcome outcome = run(*instance, request_);
  ASSERT_FALSE(outcome.status.has_value());
  EXPECT_EQ(outcome.status.error().kind, ErrorKind::corrupt_output);
  EXPECT_NE(outcome.status.error().message.find("raise the parameter output_bytes_max"),
            std::string::npos);
}

class SimulatedComputing : public Simulated {
 protected:
  static LoadOptions computing(const TestModel& model, std::string rule) {
    LoadOptions options = options_of(model);
    options.parameters = {{"simulated.compute", std::move(rule)}};
    return options;
  }
};

TEST_F(SimulatedComputing, EachRequestOfABatchGetsItsOwnAnswer) {
  model_ = backend_->load({"strings", 1, {}}, computing(strings(), "identity")).value();
  const auto instance = model_->open_instance({"cpu", 0}).value();
  std::deque<Request> batch;
  for (const std::int64_t rows : {2, 1, 3}) {
    batch.push_back(make_request(model_->signature(), batch.size(), rows));
  }
  const BatchOutcome outcome = run(*instance, batch);
  ASSERT_TRUE(outcome.status) << outcome.status.error().message;
  for (const Request& request : batch) {
    const auto& input = std::get<TensorView>(request.inputs[0]);
    const TensorView output = request.outputs[0].view();
    EXPECT_EQ(output.shape, input.shape);
    EXPECT_TRUE(std::ranges::equal(output.bytes, input.bytes));
  }
}

TEST_F(SimulatedComputing, OpenDimensionsStayOpen) {
  TestModel model = unbatched();
  model.inputs[0].shape = model.outputs[0].shape = {-1, 4};
  model_ = backend_->load({"open", 1, {}}, computing(model, "identity")).value();
  EXPECT_EQ(model_->signature().outputs[0].shape, (Shape{-1, 4}));
  const auto instance = model_->open_instance({"cpu", 0}).value();
  Request request;
  add_tensor(request, {"x", DataType::fp32, {7, 4}}, false, 1);
  request.memory.emplace_back(200);
  request.outputs.push_back({.room = request.memory.back()});
  const BatchOutcome outcome = run(*instance, request);
  ASSERT_TRUE(outcome.status) << outcome.status.error().message;
  EXPECT_EQ(request.outputs[0].shape, (Shape{7, 4}));
  EXPECT_EQ(request.outputs[0].bytes_used, 28 * sizeof(float));
}

TEST_F(SimulatedComputing, LatencyAndFaultsAreAsEver) {
  backend_ = make_simulated_backend(clock_);
  LoadOptions options = computing(unbatched(), "identity");
  options.parameters.emplace_back("simulated.base_us", "300");
  options.parameters.emplace_back("simulated.faults", "failure@1,corrupt_output@2");
  model_ = backend_->load({"identity", 1, {}}, options).value();
  const auto instance = model_->open_instance({"cpu", 0}).value();
  EXPECT_EQ(error_kind(*instance), ErrorKind::internal);
  std::jthread mover([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      clock_.advance(10us);
      std::this_thread::yield();
    }
  });
  const BatchOutcome outcome = run_one(*instance);
  ASSERT_TRUE(outcome.status.has_value());
  EXPECT_GE(outcome.times.exec_end - outcome.times.exec_start, 300us);
  for (const float value : request_.floats(0)) ASSERT_TRUE(std::isnan(value));
}

TEST_F(SimulatedComputing, AModelThatCannotIsRefusedAtLoad) {
  const auto model = backend_->load({"conv_net", 1, {}}, computing(conv_net(), "add_sub"));
  ASSERT_FALSE(model.has_value());
  EXPECT_EQ(model.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(model.error().message.find("expected two inputs and two outputs"), std::string::npos);
}

TEST_F(Simulated, BatchTakesTheModelledTime) {
  backend_ = make_simulated_backend(clock_);
  const auto instance = open({{"simulated.base_us", "300"}, {"simulated.row_us", "50"}});
  std::deque<Request> batch;
  batch.push_back(make_request(model_->signature(), 1, 2));
  Running running(*instance, batch);
  std::jthread mover([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      clock_.advance(10us);
      std::this_thread::yield();
    }
  });
  const BatchOutcome outcome = running.outcome();
  ASSERT_TRUE(outcome.status.has_value());
  EXPECT_GE(outcome.times.exec_end - outcome.times.exec_start, 400us);
}

TEST_F(Simulated, BatchDoesNotEndBeforeItsTime) {
  backend_ = make_simulated_backend(clock_);
  auto instance = open({{"simulated.base_us", "300"}});
  Request request = make_request(model_->signature(), 1);
  const std::vector<Sample> samples{request.sample()};
  std::atomic<bool> completed{false};
  ASSERT_TRUE(instance->submit(samples, [&](const BatchOutcome&) { completed = true; }));
  const Result<void> second = instance->submit(samples, [](const BatchOutcome&) {});
  EXPECT_FALSE(second.has_value());
  EXPECT_FALSE(completed);
  instance.reset();
  EXPECT_TRUE(completed);
}

TEST_F(Simulated, HangEndsWithAnErrorAfterItsTime) {
  const auto instance = open({{"simulated.faults", "hang@1"}, {"simulated.hang_us", "1000"}});
  EXPECT_EQ(error_kind(*instance), ErrorKind::internal);
  EXPECT_TRUE(run_one(*instance).status.has_value());
}

TEST_F(Simulated, DestructorEndsAHang) {
  auto instance = open({{"simulated.faults", "hang@1"}});
  Request request = make_request(model_->signature(), 1);
  const std::vector<Sample> samples{request.sample()};
  Result<void> status;
  int completed = 0;
  ASSERT_TRUE(instance->submit(samples, [&](BatchOutcome outcome) {
    status = std::move(outcome.status);
    ++completed;
  }));
  instance.reset();
  EXPECT_EQ(completed, 1);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().kind, ErrorKind::unavailable);
}

using SimulatedDeathTest = Simulated;

TEST_F(SimulatedDeathTest, CrashEndsTheProcessWhenAllowed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        const auto instance =
            open({{"simulated.faults", "crash@1"}, {"simulated.crash_allowed", "true"}});
        static_cast<void>(run_one(*instance));
      },
      "");
}

}  // namespace
}  // namespace takt
