// SPDX-License-Identifier: Apache-2.0
#include "app/model_loading.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace takt::app {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const Signature kTwoInputs{
    .inputs = {{.name = "board", .type = DataType::fp32, .shape = {1, 8, 8}},
               {.name = "golden", .type = DataType::fp32, .shape = {1, 8, 8}}},
    .outputs = {},
    .batch_max = 4};

TaskSpec task_with(std::vector<TaskInput> inputs) {
  TaskSpec task;
  task.model = "matcher";
  task.inputs = std::move(inputs);
  return task;
}

TEST(InputPlans, FollowTheModelsInputsByName) {
  const auto plans = input_plans(
      task_with({{.tensor = "golden", .images = {"g"}}, {.tensor = "board", .images = {"b"}}}),
      kTwoInputs);
  ASSERT_TRUE(plans) << plans.error().message;
  EXPECT_EQ(plans->at(0).name, "golden");
  EXPECT_TRUE(plans->at(1).image.has_value());
}

TEST(InputPlans, AnInputThatNobodyFeedsIsNamed) {
  const auto plans = input_plans(task_with({{.tensor = "", .images = {"b"}}}), kTwoInputs);
  ASSERT_FALSE(plans);
  EXPECT_NE(plans.error().message.find("feeds 1 of the 2 inputs"), std::string::npos);
}

TEST(InputPlans, AnInputThatTheModelDoesNotHaveIsToldTheNearestOne) {
  const auto plans = input_plans(
      task_with({{.tensor = "board", .images = {"b"}}, {.tensor = "goldn", .images = {"g"}}}),
      kTwoInputs);
  ASSERT_FALSE(plans);
  EXPECT_NE(plans.error().message.find("did you mean 'golden'?"), std::string::npos);
}

TEST(InputPlans, ImagesThatDontFillTheChannelsAreRefusedBeforeTheFirstFrame) {
  const Signature stack{.inputs = {{.name = "images", .type = DataType::fp32, .shape = {2, 8, 8}}},
                        .outputs = {},
                        .batch_max = 4};
  EXPECT_TRUE(input_plans(task_with({{.tensor = "", .images = {"board", "golden"}}}), stack));
  const auto plans = input_plans(task_with({{.tensor = "", .images = {"board"}}}), stack);
  ASSERT_FALSE(plans);
  EXPECT_NE(plans.error().message.find("has 2 channels, which takes 2 images of color gray8"),
            std::string::npos)
      << plans.error().message;
}

TEST(ServiceOf, OnlyBatchesOfTensorsWaitForCompanyAsTheModelSays) {
  repository::ModelConfig config;
  config.dynamic_batching = {.preferred_batch_size = {},
                             .max_queue_delay = std::chrono::microseconds(250)};
  TaskSpec task = task_with({});
  task.queue_depth_max = 7;
  EXPECT_EQ(service_of(task, config).batch_delay_max, std::chrono::microseconds(250));
  EXPECT_EQ(service_of(task, config).queue_depth_max, 7);
  task = task_with({{.tensor = "", .images = {"board"}}});
  EXPECT_EQ(service_of(task, config).batch_delay_max, Duration{});
}

// Loads one task on threads of the test, on the simulated backend.
class LoadModels : public ::testing::Test {
 protected:
  LoadModels() {
    std::string pattern = (fs::temp_directory_path() / "takt-loading-XXXXXX").string();
    config_.models.repository = ::mkdtemp(pattern.data());
    fs::create_directories(model().parent_path());
    fs::copy_file(fs::path(TAKT_TEST_MODELS) / "conv_net.onnx", model());
    TaskSpec& task = config_.tasks.emplace_back();
    task = task_with({{.tensor = "", .images = {"board", "golden"}}});
    task.name = "defects";
    task.isolation = Isolation::thread;
    task.backends = {"simulated"};
  }
  ~LoadModels() override {
    std::error_code ignored;
    fs::remove_all(config_.models.repository, ignored);
  }
  [[nodiscard]] fs::path model() const {
    return config_.models.repository / "matcher" / "1" / "model.onnx";
  }
  Result<std::vector<LoadedModel>> load(const std::function<void(const std::string&)>& report) {
    engine_ = std::move(*Engine::create(engine_options(config_)));
    supervisor_ = std::make_unique<Supervisor>(config_.workers.supervisor, *engine_);
    return load_further("defects", report);
  }
  // Beside what the engine has already.
  Result<std::vector<LoadedModel>> load_further(
      const std::string& task, const std::function<void(const std::string&)>& report) {
    return load_models(config_, {task},
                       {.engine = *engine_,
                        .supervisor = *supervisor_,
                        .inputs = std::make_shared<engine::SharedInputs>(),
                        .profile_time_max = {},
                        .serving = serving_,
                        .progress_every = {}},
                       report);
  }

  config::Config config_;
  bool serving_ = false;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Supervisor> supervisor_;
};

TEST_F(LoadModels, LoadsATaskOnAllItsDevices) {
  config_.devices = {{.name = "a", .lanes = 1}, {.name = "b", .lanes = 2}};
  const auto loaded = load([](const std::string& /*said*/) {});
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_EQ(loaded->size(), 1U);
  EXPECT_EQ(engine_->replicas(loaded->front().id).size(), 2U);
}

// 512 bytes an instance, one for each lane: 16 KiB there, 1 KiB here.
TEST_F(LoadModels, OfUnequalDevicesATaskBeginsWhereItsInstancesFit) {
  config_.devices = {{.name = "many", .lanes = 32, .memory_bytes_max = 10'000},
                     {.name = "few", .lanes = 2, .memory_bytes_max = 2'000}};
  std::vector<std::string> said;
  const auto loaded = load([&](const std::string& line) { said.push_back(line); });
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_EQ(loaded->front().replicas.size(), 1U);
  EXPECT_EQ(loaded->front().replicas[0].device, "few");
  EXPECT_EQ(said.back(),
            "defects runs on few; not on many: it takes 16384 bytes there, and 10000 "
            "bytes of 10000 bytes are left");
}

TEST_F(LoadModels, WhatTheBackendNotesIsReported) {
  config_.devices = {{.name = "a", .lanes = 1}};
  std::ofstream(config_.models.repository / "matcher" / "config.pbtxt")
      << R"(parameters { key: "simulated.note" value: { string_value: "the cache is full" } })";
  std::vector<std::string> said;
  const auto loaded = load([&](const std::string& line) { said.push_back(line); });
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(std::ranges::count(said, "warning: defects: the cache is full"), 1);
}

TEST_F(LoadModels, ALoadThatTakesLongSaysWhatItIsAt) {
  config_.devices = {{.name = "a", .lanes = 1}};
  std::ofstream(config_.models.repository / "matcher" / "config.pbtxt")
      << R"(parameters { key: "simulated.load_us" value: { string_value: "1000" } })";
  std::vector<std::string> said;
  const auto loaded = load([&](const std::string& line) { said.push_back(line); });
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(std::ranges::count(said, "loading matcher: passing time, 0 of 10"), 1);
  EXPECT_EQ(std::ranges::count(said, "loading matcher: passing time, 9 of 10"), 1);
}

// Clock ticks that the thread of this name has computed; none where there is no such thread.
std::optional<long> ticks_of_thread(const std::string& name) {
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream stat(task.path() / "stat");
    std::string text;
    if (!std::getline(stat, text) || !text.contains("(" + name + ")")) continue;
    std::istringstream fields(text.substr(text.rfind(')') + 1));
    std::vector<std::string> all{std::istream_iterator<std::string>(fields), {}};
    return std::stol(all.at(11)) + std::stol(all.at(12));  // utime and stime, proc(5)
  }
  return std::nullopt;
}

TEST_F(LoadModels, InstancesOfThisProcessLookForWorkAsLongAsTheConfigurationSays) {
  config_.devices = {{.name = "a", .lanes = 1}};
  config_.workers.spin = std::chrono::hours(1);
  ASSERT_TRUE(load([](const std::string& /*said*/) {}));
  // One that sleeps until there is work never computes so much.
  const TimePoint last = SystemClock().now() + std::chrono::seconds(20);
  while (ticks_of_thread("takt-sim-0").value_or(0) < 10 && SystemClock().now() < last) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_GE(ticks_of_thread("takt-sim-0").value_or(0), 10);
}

TEST_F(LoadModels, TheConfigurationIsCompletedByWhatServes) {
  config_.devices = {{.name = "a", .lanes = 1}};
  config_.tasks[0].batch_max = 2;
  const auto loaded = load([](const std::string& /*said*/) {});
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->front().config.name, "matcher");
  EXPECT_EQ(loaded->front().config.max_batch_size, 2);
  EXPECT_EQ(loaded->front().config.inputs.at(0).dims, (Shape{2, 16, 16}));
}

// 512 bytes an instance.
TEST_F(LoadModels, WhatAnEarlierLoadTookIsNotLeftForALaterOne) {
  config_.devices = {{.name = "a", .lanes = 1, .memory_bytes_max = 1'000}};
  fs::copy(config_.models.repository / "matcher", config_.models.repository / "other",
           fs::copy_options::recursive);
  TaskSpec other = config_.tasks[0];
  other.name = other.model = "other";
  config_.tasks.push_back(other);
  const auto silent = [](const std::string& /*said*/) {};
  ASSERT_TRUE(load(silent));
  const auto refused = load_further("other", silent);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::out_of_memory);
  EXPECT_THAT(refused.error().message, HasSubstr("488 bytes of 1000 bytes are left"));
  for (const ModelInfo& model : engine_->models()) {
    ASSERT_TRUE(engine_->remove_model(model.id, Duration{}));
  }
  EXPECT_TRUE(load_further("other", silent)) << "once it is gone";
}

TEST_F(LoadModels, ATaskWithoutInputsIsFedTensors) {
  config_.devices = {{.name = "a", .lanes = 1}};
  config_.tasks[0].inputs.clear();
  const auto loaded = load([](const std::string& /*said*/) {});
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(engine_->replicas(loaded->front().id).front().memory.instance_bytes, 0U)
      << "no image is staged";
}

TEST_F(LoadModels, AFurtherReplicaRunsOnTheFirstOnesBackendOrNotAtAll) {
  config_.devices = {{.name = "a", .lanes = 1}, {.name = "b", .lanes = 1}};
  config_.tasks[0].backends = {"simulated", "nonsense"};
  std::vector<std::string> said;
  const auto loaded = load([&](const std::string& line) {
    said.push_back(line);
    if (line.ends_with("on simulated for device b")) fs::remove(model());
  });
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error().message, StartsWith("tasks.defects: on device 'b': "));
  EXPECT_THAT(said, Not(Contains(HasSubstr("nonsense"))));
}

const config::DeviceConfig kGpu{.name = "gpu", .kind = config::DeviceKind::cuda, .index = 1000};

TEST_F(LoadModels, ATaskRunsOnAGpuWithABackendThatDoes) {
  config_.devices = {{.name = "cpu", .lanes = 1}, kGpu};
  config_.tasks[0].devices = {"gpu"};
  const auto loaded = load([](const std::string& /*said*/) {});
  ASSERT_TRUE(loaded) << loaded.error().message;
  const auto replicas = engine_->replicas(loaded->front().id);
  ASSERT_EQ(replicas.size(), 1U);
  EXPECT_EQ(replicas[0].device, "gpu");
  EXPECT_EQ(replicas[0].instances, 2) << "one computes while the other copies";
}

// No machine has a GPU of that index.
TEST_F(LoadModels, WhatAGpuRefusesRunsOnTheCpuVisibly) {
  config_.devices = {kGpu, {.name = "left", .lanes = 1}, {.name = "right", .lanes = 1}};
  config_.tasks[0].devices = {"gpu"};
  config_.tasks[0].backends = {"cuda", "openvino"};
  std::vector<std::string> said;
  const auto loaded = load([&](const std::string& line) { said.push_back(line); });
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_EQ(loaded->front().replicas.size(), 1U) << "on one CPU device, and not on more";
  EXPECT_EQ(loaded->front().replicas[0].device, "left");
  EXPECT_EQ(engine_->replicas(loaded->front().id).front().backend, "openvino");
  EXPECT_THAT(said, Contains(AllOf(StartsWith("warning: tasks.defects: cuda: on device 'gpu': "),
                                   HasSubstr("takt doctor shows"),
                                   HasSubstr("trying the next backend, openvino, on device "
                                             "'left'"))));
  EXPECT_THAT(said, Contains("loading matcher version 1 on openvino for device left"));
  EXPECT_EQ(said.back(), "defects runs on left");
}

TEST_F(LoadModels, ATaskForGpusAloneFailsWithAWayOut) {
  config_.devices = {kGpu};
  config_.tasks[0].backends = {"cuda"};
  const auto loaded = load([](const std::string& /*said*/) {});
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error().message, StartsWith("tasks.defects: "));
  EXPECT_THAT(loaded.error().message, HasSubstr("takt doctor shows"));
}

TEST_F(LoadModels, ABackendWithoutADeviceIsTold) {
  config_.devices = {{.name = "cpu", .lanes = 1}};
  config_.tasks[0].backends = {"cuda"};
  const auto loaded = load([](const std::string& /*said*/) {});
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().kind, ErrorKind::invalid_input);
  EXPECT_EQ(loaded.error().message,
            "tasks.defects: the backend cuda runs on none of its devices; add one of kind cuda to "
            "devices of takt.yaml, such as gpu: {kind: cuda}");
}

// It would disturb what serves there.
TEST_F(LoadModels, OnlyADeviceWithoutModelsIsTunedWhileRequestsCome) {
  config_.devices = {kGpu};
  fs::copy(config_.models.repository / "matcher", config_.models.repository / "other",
           fs::copy_options::recursive);
  TaskSpec other = config_.tasks[0];
  other.name = other.model = "other";
  other.backends = {"cuda"};
  config_.tasks.push_back(other);
  std::vector<std::string> said;
  const auto report = [&](const std::string& line) { said.push_back(line); };
  ASSERT_TRUE(load(report));
  EXPECT_FALSE(load_further("other", report));
  EXPECT_THAT(said, Contains(HasSubstr("it is tuned first")));
  said.clear();
  serving_ = true;
  EXPECT_FALSE(load_further("other", report));
  EXPECT_THAT(said, Not(Contains(HasSubstr("it is tuned first"))));
  config_.tasks[0].backends = {"cuda"};
  EXPECT_FALSE(load(report)) << "on a GPU that has no model yet";
  EXPECT_THAT(said, Contains(HasSubstr("it is tuned first")));
}

TEST_F(LoadModels, ThreadsGoToTheNodeOfAnOnlyDeviceToo) {
  config_.devices = {{.name = "a", .lanes = 1, .numa = {.automatic = false, .node = 4095}}};
  const auto loaded = load([](const std::string& /*said*/) {});
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error().message, HasSubstr("no NUMA node 4095"));
}

}  // namespace
}  // namespace takt::app
