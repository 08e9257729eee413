// SPDX-License-Identifier: Apache-2.0
// Models come and go while a server runs. This program is their gateway and, started with `worker`,
// the workers.
#include "app/served_models.h"

#include "app/supervision_fixture.h"
#include "backend/cpus.h"

#include <gmock/gmock.h>

#include <set>

namespace takt::app {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using server::ApiCode;
using server::ApiResult;
using server::IndexEntry;
using server::LoadOverrides;
using server::ModelCardPtr;
using supervision_test::child_processes;
using supervision_test::open_descriptors;
using supervision_test::shared_mappings;
using supervision_test::Supervision;
using supervision_test::Tally;
using supervision_test::wait_until;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string bytes_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

class ServedModelsTest : public Supervision {
 protected:
  ServedModelsTest() {
    config_.models.repository = folder_ / "models";
    fs::create_directories(config_.models.repository);
    fs::create_directories(temporary());
    ::setenv("TMPDIR", temporary().c_str(), 1);
    config_.devices = {{.name = "cpu", .lanes = 1, .pin = false}};
    serving_.backends = {"simulated"};
  }
  void TearDown() override { ::unsetenv("TMPDIR"); }

  [[nodiscard]] fs::path temporary() const { return folder_ / "tmp"; }
  [[nodiscard]] fs::path model_file(const std::string& name, int version = 1) const {
    return config_.models.repository / name / std::to_string(version) / "model.onnx";
  }
  void write(const std::string& name, const std::string& config = "max_batch_size: 4\n",
             int version = 1) const {
    fs::create_directories(model_file(name, version).parent_path());
    std::ofstream(model_file(name, version), std::ios::binary) << good();
    std::ofstream(config_.models.repository / name / "config.pbtxt") << config;
  }
  static std::string good() {
    return bytes_of(fs::path(TAKT_TEST_MODELS) / "repository" / "good" / "1" / "model.onnx");
  }
  void serve(std::span<const LoadedModel> loaded = {}) {
    config_.workers.supervisor = options_;
    if (!engine_) start();
    served_ = std::make_unique<ServedModels>(config_, places(), loaded, serving_);
  }
  ModelPlaces places() {
    return {.engine = *engine_,
            .supervisor = *supervisor_,
            .inputs = shared_,
            .profiles = nullptr,
            .profile_time_max = {},
            .cpus = cpus_};
  }
  void load(const std::string& name, const LoadOverrides& overrides = {}) {
    const ApiResult<void> loaded = served_->load(name, overrides);
    ASSERT_TRUE(loaded) << loaded.error().message;
  }
  void unload(const std::string& name) {
    const ApiResult<void> unloaded = served_->unload(name);
    ASSERT_TRUE(unloaded) << unloaded.error().message;
  }
  // Whoever asks sees nothing of the server's folders.
  std::string load_error(const std::string& name, ApiCode code,
                         const LoadOverrides& overrides = {}) {
    return error_of(served_->load(name, overrides), code);
  }
  template <typename T>
  std::string error_of(const ApiResult<T>& result, ApiCode code) const {
    if (result) return "no error";
    EXPECT_EQ(result.error().code, code) << result.error().message;
    EXPECT_THAT(result.error().message, Not(HasSubstr(folder_.string())));
    return result.error().message;
  }
  ModelCardPtr card(const std::string& name, const std::string& version = "") {
    const ApiResult<ModelCardPtr> found = served_->find(name, version);
    EXPECT_TRUE(found) << found.error().message;
    return found.value_or(std::make_shared<const server::ModelCard>());
  }
  // "NAME VERSION STATE REASON" of each line of the index.
  std::vector<std::string> index(bool ready_only = false) {
    std::vector<std::string> lines;
    for (const IndexEntry& entry : served_->index(ready_only)) {
      lines.push_back(entry.name + "|" + entry.version + "|" + entry.state + "|" + entry.reason);
    }
    return lines;
  }
  void expect_answers(const std::string& name, const std::string& version = "") {
    Tally tally;
    submit(tally, card(name, version)->info.id, 3);
    ASSERT_TRUE(tally.wait_for(3));
    EXPECT_EQ(tally.good(), 3U) << tally.last_error();
  }

  config::Config config_;
  ServedModelsOptions serving_;
  std::vector<int> cpus_;
  std::unique_ptr<ServedModels> served_;
};

// Loading -----------------------------------------------------------------------------------------

TEST_F(ServedModelsTest, AModelOfTheRepositoryServesOnceItIsLoaded) {
  write("m", "max_batch_size: 4 parameters { key: \"k\" value { string_value: \"v\" } }");
  serve();
  EXPECT_TRUE(served_->serving().empty());
  load("m");
  const ModelCardPtr found = card("m");
  EXPECT_EQ(found->info.name, "m");
  EXPECT_EQ(found->info.version, 1);
  EXPECT_EQ(found->backend, "simulated");
  EXPECT_THAT(found->versions, ElementsAre("1"));
  EXPECT_EQ(found->config.name, "m");
  EXPECT_EQ(found->config.max_batch_size, 4);
  EXPECT_EQ(found->config.inputs.at(0).name, "image") << "completed from the model's file";
  EXPECT_EQ(found->config.inputs.at(0).dims, (Shape{2, 16, 16}));
  EXPECT_EQ(found->config.parameters.at(0).second, "v");
  EXPECT_EQ(served_->serving().size(), 1U);
  EXPECT_EQ(supervisor_->workers().size(), 1U);
  expect_answers("m");
  EXPECT_EQ(served_->statistics(found->info.id)->success.count, 3U);
}

TEST_F(ServedModelsTest, ItRunsOnThreadsWhereThatIsConfigured) {
  write("m");
  serving_.isolation = Isolation::thread;
  serve();
  load("m");
  EXPECT_TRUE(supervisor_->workers().empty());
  expect_answers("m");
  unload("m");
  EXPECT_TRUE(engine_->models().empty());
}

TEST_F(ServedModelsTest, TheModelsConfigurationSaysBackendAndInstances) {
  write("m", "backend: \"simulated\" instance_group { count: 2 } instance_group { count: 1 }");
  write("n", "backend: \"simulatd\"");
  serving_.backends = {"openvino"};
  serve();
  load("m");
  EXPECT_EQ(card("m")->backend, "simulated");
  EXPECT_EQ(engine_->replicas(card("m")->info.id).at(0).instances, 3);
  EXPECT_THAT(load_error("n", ApiCode::invalid_argument), HasSubstr("did you mean 'simulated'?"));
  write("n", "instance_group { count: 60 } instance_group { count: 5 }");
  EXPECT_EQ(load_error("n", ApiCode::invalid_argument),
            "failed to load 'n', instance_group: 65 instances; at most 64 are allowed");
}

TEST_F(ServedModelsTest, EachVersionOfThePolicyServes) {
  write("m", "version_policy { specific { versions: [ 3, 1 ] } }", 1);
  write("m", "version_policy { specific { versions: [ 3, 1 ] } }", 2);
  write("m", "version_policy { specific { versions: [ 3, 1 ] } }", 3);
  serve();
  load("m");
  EXPECT_EQ(card("m")->info.version, 3) << "the newest";
  EXPECT_EQ(card("m", "1")->info.version, 1);
  EXPECT_THAT(card("m", "1")->versions, ElementsAre("1", "3"));
  EXPECT_EQ(served_->serving().size(), 2U);
  EXPECT_EQ(error_of(served_->find("m", "2"), ApiCode::not_found),
            "Request for unknown model: 'm' version 2 is not found");
  expect_answers("m", "1");
  write("m", "version_policy { latest { num_versions: 1 } }", 4);
  load("m");
  EXPECT_EQ(card("m")->info.version, 4);
  EXPECT_FALSE(served_->find("m", "1"));
  EXPECT_EQ(supervisor_->workers().size(), 1U);
}

TEST_F(ServedModelsTest, AnotherLoadReplacesWhatServes) {
  write("m", "max_batch_size: 4");
  serve();
  load("m");
  const ModelCardPtr before = card("m");
  const pid_t worker = pid_of();
  write("m", "max_batch_size: 2");
  load("m");
  EXPECT_NE(card("m")->info.id, before->info.id);
  EXPECT_EQ(card("m")->config.max_batch_size, 2);
  EXPECT_EQ(before->config.max_batch_size, 4) << "a card stays valid";
  EXPECT_FALSE(served_->statistics(before->info.id));
  EXPECT_EQ(engine_->models().size(), 1U);
  EXPECT_NE(::kill(worker, 0), 0);
  expect_answers("m");
}

TEST_F(ServedModelsTest, WhatIsNotThereIsNamedInTritonsWords) {
  serve();
  EXPECT_EQ(load_error("x", ApiCode::not_found),
            "failed to load 'x', failed to poll from model repository");
  EXPECT_EQ(load_error("x", ApiCode::not_found, {.config_json = "{}", .files = {}}),
            "failed to load 'x', failed to poll from model repository");
  EXPECT_EQ(error_of(served_->find("x", ""), ApiCode::not_found),
            "Request for unknown model: 'x' is not found");
  EXPECT_EQ(error_of(served_->unload("x"), ApiCode::not_found),
            "failed to unload 'x', it is not loaded");
  write("model");
  load("model");
  EXPECT_EQ(error_of(served_->find("modl", "7"), ApiCode::not_found),
            "Request for unknown model: 'modl' is not found; did you mean 'model'?");
  EXPECT_EQ(error_of(served_->find("model", "7"), ApiCode::not_found),
            "Request for unknown model: 'model' version 7 is not found");
  for (const char* const version : {"0", "-1", "one", "1 ", "99999999999999999999"}) {
    EXPECT_THAT(error_of(served_->find("model", version), ApiCode::invalid_argument),
                HasSubstr("a version is a number from 1"))
        << version;
  }
}

TEST_F(ServedModelsTest, ANameIsCheckedBeforeItBecomesAPath) {
  write("m");
  config_.models.repository /= "m";  // so that "../m" is there
  serve();
  for (const std::string name : {"../m", "..", ".", "", "1/..", "a\\b", "a\nb"}) {
    EXPECT_THAT(load_error(name, ApiCode::invalid_argument), StartsWith("bad model name")) << name;
    EXPECT_THAT(load_error(name, ApiCode::invalid_argument,
                           {.config_json = "{}", .files = {{"file:1/model.onnx", good()}}}),
                StartsWith("bad model name"))
        << name;
    EXPECT_THAT(error_of(served_->find(name, ""), ApiCode::not_found), HasSubstr("bad model name"));
    EXPECT_FALSE(served_->unload(name));
  }
  EXPECT_TRUE(fs::is_empty(temporary()));
}

TEST_F(ServedModelsTest, AModelThatCannotBeLoadedIsUnavailableAndSaysWhy) {
  write("m");
  std::ofstream(model_file("m")) << "damaged";
  serve();
  const std::string error = load_error("m", ApiCode::invalid_argument);
  EXPECT_THAT(error, StartsWith("failed to load 'm', "));
  EXPECT_THAT(error, HasSubstr("m/1/model.onnx"));
  EXPECT_THAT(error, Not(HasSubstr("tasks.")));
  const std::string reason = error.substr(std::string("failed to load 'm', ").size());
  EXPECT_THAT(index(), ElementsAre("m|1|UNAVAILABLE|" + reason));
  EXPECT_EQ(error_of(served_->find("m", ""), ApiCode::not_found),
            "Request for unknown model: 'm' has no available versions");
  EXPECT_EQ(child_processes(), 0U);
  write("m");
  load("m");
  EXPECT_THAT(index(), ElementsAre("m|1|READY|"));
}

TEST_F(ServedModelsTest, OfSeveralVersionsAllServeOrNone) {
  write("m", "version_policy { all { } }", 1);
  write("m", "version_policy { all { } }", 2);
  serve();
  load("m");
  std::ofstream(model_file("m", 2)) << "damaged";
  EXPECT_THAT(load_error("m", ApiCode::invalid_argument), HasSubstr("m/2/model.onnx"));
  EXPECT_TRUE(served_->serving().empty());
  EXPECT_TRUE(engine_->models().empty());
  EXPECT_TRUE(supervisor_->workers().empty());
  EXPECT_EQ(child_processes(), 0U);
  EXPECT_THAT(index(), ElementsAre(StartsWith("m|1|UNAVAILABLE|"), StartsWith("m|2|UNAVAILABLE|")));
}

TEST_F(ServedModelsTest, AWorkerThatFailsAfterAnotherVersionServedLeavesNothing) {
  write("m", "version_policy { all { } }", 1);
  write("m", "version_policy { all { } }", 2);
  serving_.report = [&](const std::string& line) {
    if (line.contains("loading m version 2")) std::ofstream(model_file("m", 2)) << "damaged";
  };
  serve();
  EXPECT_THAT(load_error("m", ApiCode::invalid_argument), HasSubstr("m/2/model.onnx"));
  EXPECT_TRUE(engine_->models().empty()) << "the first version";
  EXPECT_TRUE(supervisor_->workers().empty());
  EXPECT_EQ(child_processes(), 0U);
}

TEST_F(ServedModelsTest, ARequestThatIsWrongLeavesWhatServes) {
  write("m");
  serve();
  load("m");
  const ModelId before = card("m")->info.id;
  write("m", "max_batch: 4");
  EXPECT_THAT(load_error("m", ApiCode::invalid_argument),
              HasSubstr("m/config.pbtxt:1:10: unknown field 'max_batch'"));
  EXPECT_THAT(load_error("m", ApiCode::invalid_argument, {.config_json = "[]", .files = {}}),
              HasSubstr("expected a JSON object"));
  EXPECT_EQ(card("m")->info.id, before);
  EXPECT_THAT(index(), ElementsAre("m|1|READY|"));
  unload("m");
  const std::string error = load_error("m", ApiCode::invalid_argument);
  EXPECT_THAT(index(), ElementsAre("m|1|UNAVAILABLE|" + error.substr(error.find(", ") + 2)));
}

// Unloading ---------------------------------------------------------------------------------------

TEST_F(ServedModelsTest, AnUnloadedModelIsGoneAndItsIndexSaysSo) {
  write("m");
  serve();
  load("m");
  const ModelId id = card("m")->info.id;
  unload("m");
  EXPECT_EQ(error_of(served_->find("m", ""), ApiCode::not_found),
            "Request for unknown model: 'm' has no available versions");
  EXPECT_FALSE(served_->statistics(id));
  EXPECT_TRUE(served_->serving().empty());
  EXPECT_TRUE(engine_->models().empty());
  EXPECT_TRUE(supervisor_->workers().empty());
  EXPECT_EQ(child_processes(), 0U);
  EXPECT_THAT(index(), ElementsAre("m|1|UNAVAILABLE|unloaded"));
  EXPECT_TRUE(served_->unload("m")) << "once more changes nothing";
  load("m");
  expect_answers("m");
}

TEST_F(ServedModelsTest, WhatWaitsIsAnsweredBeforeAModelGoes) {
  write("m",
        "max_batch_size: 4 parameters { key: \"simulated.base_us\" value { "
        "string_value: \"20000\" } }");
  serve();
  load("m");
  Tally tally;
  submit(tally, card("m")->info.id, 20);
  unload("m");
  EXPECT_EQ(tally.answered(), 20U);
  EXPECT_EQ(tally.good(), 20U) << tally.last_error();
}

// States ------------------------------------------------------------------------------------------

TEST_F(ServedModelsTest, TheIndexHasWhatIsThereAndWhatBecameOfIt) {
  write("broken", "max_batch: 4");
  write("never", "version_policy { all { } }", 1);
  write("never", "version_policy { all { } }", 2);
  write("ready");
  write("unloaded");
  serve();
  load("ready");
  load("unloaded");
  unload("unloaded");
  write("ready", "version_policy { all { } }", 2);  // since it was loaded
  EXPECT_THAT(index(), ElementsAre(StartsWith("broken||UNAVAILABLE|broken/config.pbtxt:1:10: "),
                                   "never|1||", "never|2||", "ready|1|READY|", "ready|2||",
                                   "unloaded|1|UNAVAILABLE|unloaded"));
  EXPECT_THAT(index(true), ElementsAre("ready|1|READY|"));
  fs::remove_all(config_.models.repository);
  EXPECT_THAT(index(), ElementsAre("ready|1|READY|", "unloaded|1|UNAVAILABLE|unloaded"));
}

TEST_F(ServedModelsTest, AModelUnderWayIsLoadingOrUnloadingAndNotFound) {
  write("m");
  std::vector<std::string> while_loading;
  std::string found_while_loading;
  serving_.report = [&](const std::string& /*line*/) {
    while_loading = index();
    found_while_loading = error_of(served_->find("m", ""), ApiCode::not_found);
  };
  serve();
  load("m");
  EXPECT_THAT(while_loading, ElementsAre("m|1|LOADING|"));
  EXPECT_THAT(found_while_loading, HasSubstr("'m' has no available versions"));
  // The request's answer waits for the unload to begin, which waits for the answer to end.
  std::promise<bool> seen;
  engine_->submit(request(card("m")->info.id), [&](const Result<InferResult>& /*result*/) {
    seen.set_value(wait_until([&] { return index().at(0) == "m|1|UNLOADING|"; }));
  });
  unload("m");
  EXPECT_TRUE(seen.get_future().get());
  EXPECT_THAT(index(), ElementsAre("m|1|UNAVAILABLE|unloaded"));
}

TEST_F(ServedModelsTest, ItIsReadyOnceEverythingConfiguredServes) {
  write("a");
  write("b");
  std::ofstream(model_file("b")) << "damaged";
  write("c");
  serving_.control = false;
  serve();
  EXPECT_FALSE(served_->ready());
  EXPECT_THAT(error_of(served_->load_configured({"a", "b", "c"}), ApiCode::invalid_argument),
              StartsWith("failed to load 'b', "));
  EXPECT_EQ(served_->serving().size(), 2U) << "the others are loaded all the same";
  EXPECT_FALSE(served_->ready());
  write("b");
  EXPECT_TRUE(served_->load_configured({"a", "b", "c"}));
  EXPECT_TRUE(served_->ready());
  EXPECT_THAT(load_error("a", ApiCode::unavailable), HasSubstr("clients may not load"));
  EXPECT_THAT(error_of(served_->unload("a"), ApiCode::unavailable), HasSubstr("may not"));
  EXPECT_EQ(served_->serving().size(), 3U);
}

TEST_F(ServedModelsTest, WithNothingConfiguredItIsReady) {
  serve();
  EXPECT_TRUE(served_->load_configured({}));
  EXPECT_TRUE(served_->ready());
}

TEST_F(ServedModelsTest, ALoadOfALaterTimeMakesItReadyAndAnUnloadDoesNotUndoThat) {
  write("a");
  std::ofstream(model_file("a")) << "damaged";
  serve();
  EXPECT_FALSE(served_->load_configured({"a"}));
  write("a");
  EXPECT_FALSE(served_->ready());
  load("a");
  EXPECT_TRUE(served_->ready());
  unload("a");
  EXPECT_TRUE(served_->ready());
}

// Models of lines ---------------------------------------------------------------------------------

TEST_F(ServedModelsTest, AModelThatALineNeedsServesAndStaysAsItIs) {
  write("m");
  TaskSpec& task = config_.tasks.emplace_back();
  task.name = "defects";
  task.model = "m";
  task.isolation = Isolation::thread;
  task.backends = {"simulated"};
  start();
  const auto loaded = load_models(config_, {"defects"}, places(), serving_.report);
  ASSERT_TRUE(loaded) << loaded.error().message;
  serve(*loaded);
  const ModelId id = card("m")->info.id;
  EXPECT_EQ(card("m")->config.max_batch_size, 4);
  EXPECT_EQ(card("m")->backend, "simulated");
  EXPECT_THAT(index(), ElementsAre("m|1|READY|"));
  EXPECT_THAT(load_error("m", ApiCode::permission_denied),
              StartsWith("failed to load 'm', task 'defects' of a line needs it as it is"));
  EXPECT_THAT(load_error("m", ApiCode::permission_denied,
                         {.config_json = "{}", .files = {{"file:1/model.onnx", good()}}}),
              HasSubstr("task 'defects'"));
  EXPECT_THAT(error_of(served_->unload("m"), ApiCode::permission_denied),
              StartsWith("failed to unload 'm', task 'defects' of a line needs it"));
  EXPECT_TRUE(served_->load_configured({"m"}));
  EXPECT_EQ(card("m")->info.id, id);
  expect_answers("m");
}

// Overrides ---------------------------------------------------------------------------------------

TEST_F(ServedModelsTest, AConfigurationOfTheRequestIsUsedInPlaceOfTheModels) {
  write("m", "max_batch_size: 4");
  serve();
  load("m",
       {.config_json = R"({"max_batch_size": 2, "instance_group": [{"count": 2}]})", .files = {}});
  EXPECT_EQ(card("m")->config.max_batch_size, 2);
  EXPECT_EQ(engine_->replicas(card("m")->info.id).at(0).instances, 2);
  expect_answers("m");
  load("m");
  EXPECT_EQ(card("m")->config.max_batch_size, 4) << "for that load alone";
  EXPECT_TRUE(fs::is_empty(temporary()));
}

TEST_F(ServedModelsTest, FilesOfTheRequestAreAModelThatTheRepositoryNeedNotHave) {
  serve();
  load("sent",
       {.config_json = R"({"max_batch_size": 4})", .files = {{"file:7/model.onnx", good()}}});
  EXPECT_EQ(card("sent")->info.version, 7);
  EXPECT_THAT(index(), ElementsAre("sent|7|READY|"));
  expect_answers("sent", "7");
  EXPECT_FALSE(fs::exists(config_.models.repository / "sent"));
  unload("sent");
  EXPECT_TRUE(fs::is_empty(temporary()));
}

TEST_F(ServedModelsTest, AWorkerThatIsReplacedFindsTheFilesOfTheRequest) {
  serve();
  load("sent",
       {.config_json = R"({"max_batch_size": 4})", .files = {{"file:1/model.onnx", good()}}});
  expect_answers("sent");
  const pid_t before = pid_of();
  supervision_test::send_signal(before, SIGKILL);
  ASSERT_TRUE(served_again(before));
  expect_answers("sent");
}

TEST_F(ServedModelsTest, FilesThatAreNoModelAreRefusedAndLeaveNothing) {
  serve();
  EXPECT_THAT(load_error("sent", ApiCode::invalid_argument,
                         {.config_json = "{}", .files = {{"file:1/model.onnx", "damaged"}}}),
              HasSubstr("sent/1/model.onnx"));
  EXPECT_THAT(load_error("sent", ApiCode::invalid_argument,
                         {.config_json = "{}", .files = {{"file:1/../../x", "x"}}}),
              HasSubstr("expected file:VERSION/NAME"));
  EXPECT_THAT(load_error("sent", ApiCode::invalid_argument,
                         {.config_json = "", .files = {{"file:1/model.onnx", good()}}}),
              HasSubstr("files without a configuration"));
  EXPECT_TRUE(fs::is_empty(temporary()));
  EXPECT_EQ(child_processes(), 0U);
}

TEST_F(ServedModelsTest, ManyNamesThatFailedMakeRoomForOnesThatServe) {
  serving_.models_max = 2;
  serving_.isolation = Isolation::thread;
  serve();
  const LoadOverrides damaged{.config_json = "{}", .files = {{"file:1/model.onnx", "damaged"}}};
  const LoadOverrides sound{.config_json = "{}", .files = {{"file:1/model.onnx", good()}}};
  for (const char* const name : {"a", "b", "c", "d"}) {
    EXPECT_FALSE(served_->load(name, damaged));
    EXPECT_LE(index().size(), 2U);
  }
  load("e", sound);
  load("f", sound);
  EXPECT_THAT(load_error("g", ApiCode::resource_exhausted, sound),
              HasSubstr("2 models serve already"));
  load("e", sound);
  EXPECT_THAT(index(), ElementsAre("e|1|READY|", "f|1|READY|"));
}

// At length ---------------------------------------------------------------------------------------

TEST_F(ServedModelsTest, ComingAndGoingLeavesNothing) {
  write("m");
  serve();
  const LoadOverrides sent{.config_json = "{}", .files = {{"file:1/model.onnx", good()}}};
  std::optional<std::array<std::size_t, 3>> before;
  for (int i = 0; i < 12; ++i) {
    load("m", i % 3 == 0 ? sent : LoadOverrides{});
    if (i % 2 == 0) load("m");
    expect_answers("m");
    unload("m");
    const std::array now{open_descriptors(), shared_mappings(), child_processes()};
    if (!before) before = now;
    EXPECT_EQ(now, *before) << "descriptors, shared memory, processes after round " << i;
    EXPECT_TRUE(fs::is_empty(temporary()));
  }
  expect_nothing_left();
}

TEST_F(ServedModelsTest, ManyThatChangeModelsAtOnceTakeTurns) {
  write("a");
  write("b");
  serving_.isolation = Isolation::thread;
  serve();
  std::atomic<bool> go_on{true};
  std::thread reader([&] {
    while (go_on) {
      for (const char* const name : {"a", "b"}) {
        if (const auto found = served_->find(name, "")) {
          EXPECT_EQ((*found)->info.name, name);
          static_cast<void>(served_->statistics((*found)->info.id));
        }
      }
      EXPECT_EQ(served_->index(false).size(), 2U);
      static_cast<void>(served_->serving());
    }
  });
  std::vector<std::thread> changers;
  for (int i = 0; i < 3; ++i) {
    changers.emplace_back([&, i] {
      for (int round = 0; round < 15; ++round) {
        const std::string name = (round + i) % 2 == 0 ? "a" : "b";
        if ((round * 7 + i) % 3 == 0) {
          static_cast<void>(served_->unload(name));
        } else {
          EXPECT_TRUE(served_->load(name, {}));
        }
      }
    });
  }
  for (std::thread& changer : changers) changer.join();
  go_on = false;
  reader.join();
  EXPECT_EQ(engine_->models().size(), served_->serving().size());
  load("a");
  load("b");
  expect_answers("a");
  expect_answers("b");
}

// The lane's core is the last one; the gateway's threads keep to the others once it serves.
TEST_F(ServedModelsTest, ALaterModelRunsOnItsLaneThoughThisProcessLeavesLanesAlone) {
  cpus_ = usable_cpus();
  if (cpus_.size() < 2) GTEST_SKIP() << "needs two CPUs";
  config_.devices = {{.name = "cpu", .lanes = 1}};
  write("m");
  serve();
  leave_lanes_alone(config_);
  const std::vector<int> spare = usable_cpus();
  ASSERT_EQ(spare.size(), cpus_.size() - 1);
  load("m");
  EXPECT_EQ(usable_cpus(), spare) << "this thread is back where it was";
  std::set<int> used;
  for (const auto& task : fs::directory_iterator("/proc/" + std::to_string(pid_of()) + "/task")) {
    cpu_set_t set;
    CPU_ZERO(&set);
    ::sched_getaffinity(std::stoi(task.path().filename().string()), sizeof(set), &set);
    if (CPU_COUNT(&set) == 1 && CPU_ISSET(static_cast<std::size_t>(cpus_.back()), &set))
      used.insert(cpus_.back());
  }
  EXPECT_THAT(used, ElementsAre(cpus_.back())) << "an instance keeps to the lane's core";
  ASSERT_TRUE(use_cpus(::pthread_self(), cpus_));
}

}  // namespace
}  // namespace takt::app
