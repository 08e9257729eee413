// SPDX-License-Identifier: Apache-2.0
// An engine whose workers are processes of the test's own program, and models for them on the
// simulated backend. Thread-safe: Tally from any thread; the fixture is the test's.
// Owns: the repository of a test, its engine and its workers.
#pragma once

#include "engine/supervisor.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <thread>

namespace takt::supervision_test {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

inline constexpr auto kPatience = 60s;

inline bool wait_until(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// Process 0 would be this whole group of processes, the test runner included.
inline void send_signal(pid_t pid, int signal) {
  ASSERT_GT(pid, 0) << "no worker runs";
  ::kill(pid, signal);
}

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR* const folder = ::opendir("/proc/self/fd");
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

// Processes that this one has started and not yet reaped.
inline std::size_t child_processes() {
  std::size_t count = 0;
  for (const auto& process : fs::directory_iterator("/proc")) {
    std::ifstream file(process.path() / "stat");  // "PID (NAME) STATE PARENT ..."
    std::string line;
    std::getline(file, line);
    std::istringstream rest(line.substr(line.rfind(')') + 1));
    char state = 0;
    pid_t parent = 0;
    if (rest >> state >> parent && parent == ::getpid()) ++count;
  }
  return count;
}

// Mappings of shared memory that processes share through descriptors.
inline std::size_t shared_mappings() {
  std::size_t count = 0;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) count += line.contains("/memfd:") ? 1U : 0U;
  return count;
}

// Answers of many requests, by kind of error.
class Tally {
 public:
  InferCompletion completion() {
    return [this](const Result<InferResult>& result) {
      const std::scoped_lock lock(mutex_);
      ++answered_;
      if (result) {
        ++good_;
      } else {
        ++failed_[static_cast<std::size_t>(result.error().kind)];
        last_error_ = result.error().message;
      }
      changed_.notify_all();
    };
  }
  bool wait_for(std::size_t answers) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return answered_ >= answers; });
  }
  std::size_t answered() const { return locked(answered_); }
  std::size_t good() const { return locked(good_); }
  std::size_t failed(ErrorKind kind) const {
    return locked(failed_[static_cast<std::size_t>(kind)]);
  }
  std::string last_error() const {
    const std::scoped_lock lock(mutex_);
    return last_error_;
  }

 private:
  std::size_t locked(const std::size_t& count) const {
    const std::scoped_lock lock(mutex_);
    return count;
  }
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t answered_ = 0;
  std::size_t good_ = 0;
  std::array<std::size_t, kErrorKindCount> failed_{};
  std::string last_error_;
};

// y = f(x) with x, y FP32[4] on the simulated backend, in a worker.
class Supervision : public ::testing::Test {
 protected:
  Supervision() {
    std::string pattern = (fs::temp_directory_path() / "takt-supervision-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    const std::array classes{SizeClass{4096, 4096}};
    inputs_ = *SlotPool::create("test inputs", classes);
    shared_->add(inputs_);
    options_.watchdog_min = 300ms;
    options_.delay_min = 1ms;
    options_.probe_interval = 20ms;
  }
  ~Supervision() override {
    if (engine_) engine_->stop(1s);
    supervisor_.reset();
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

  // Devices of so many lanes each.
  void start(int lanes = 1, const std::vector<std::string>& devices = {"cpu"}) {
    EngineOptions engine_options;
    engine_options.devices.clear();
    for (const std::string& name : devices)
      engine_options.devices.push_back({.name = name, .lanes = lanes, .memory_quiet = 100ms});
    engine_options.observer = [this](const engine::Event& event) {
      const std::scoped_lock lock(events_mutex_);
      events_.push_back(event);
    };
    engine_ = std::move(*Engine::create(std::move(engine_options)));
    supervisor_ = std::make_unique<Supervisor>(options_, *engine_);
  }
  // The parameters of the simulated device, each "key: value".
  void write_model(const std::string& name, const std::vector<std::string>& parameters = {}) {
    write_model_to(folder_, name, parameters);
  }
  static void write_model_to(const fs::path& repository, const std::string& name,
                             const std::vector<std::string>& parameters) {
    fs::create_directories(repository / name / "1");
    fs::copy_file(fs::path(TAKT_TEST_MODELS) / "repository" / "good" / "1" / "model.onnx",
                  repository / name / "1" / "model.onnx", fs::copy_options::overwrite_existing);
    std::ofstream config(repository / name / "config.pbtxt");
    config << "max_batch_size: 4\n";
    for (const std::string& parameter : parameters) {
      const std::size_t colon = parameter.find(": ");
      config << "parameters { key: \"simulated." << parameter.substr(0, colon)
             << "\" value { string_value: \"" << parameter.substr(colon + 2) << "\" } }\n";
    }
  }
  engine::WorkerSpec spec(const std::string& name, int instances = 1) {
    engine::WorkerSpec spec;
    spec.name = name;
    spec.load.model = {.repository = folder_, .model = name, .version = 1};
    spec.load.backend = "simulated";
    spec.load.instances = instances;
    spec.load.profile_time_max = Duration{};
    spec.inputs = shared_;
    return spec;
  }
  // The batches that a load runs before it serves: so many must be spared.
  std::string warm_up_batches() {
    for (int spared = 0;; ++spared) {
      write_model("probe", {"probability.failure: 1", "faults_after: " + std::to_string(spared)});
      const auto probe = engine::WorkerKeeper::start(options_, spec("probe"));
      if (probe || spared == 100) return std::to_string(spared);
    }
  }
  ModelId add(const std::string& name, const std::vector<std::string>& parameters = {},
              int instances = 1) {
    write_model(name, parameters);
    Result<ModelId> model = supervisor_->add_worker(spec(name, instances));
    EXPECT_TRUE(model) << model.error().message;
    return model.value_or(ModelId{});
  }
  InferRequest request(ModelId model, Duration deadline = {}) {
    const ModelInfo info = engine_->models().front();
    const Shape shape = info.signature.inputs[0].shape;
    Shape batched{1};
    batched.insert(batched.end(), shape.begin(), shape.end());
    const std::size_t bytes = *byte_size(info.signature.inputs[0].type, batched);
    Slot slot = *inputs_->acquire(bytes);
    InferRequest made;
    made.model = model;
    made.inputs.emplace_back(
        TensorView{info.signature.inputs[0].type, batched, slot.bytes().first(bytes)});
    if (deadline > Duration{}) made.deadline = SystemClock().now() + deadline;
    made.holds.push_back(std::move(slot));
    return made;
  }
  void submit(Tally& tally, ModelId model, int count = 1, Duration deadline = {}) {
    for (int i = 0; i < count; ++i) engine_->submit(request(model, deadline), tally.completion());
  }
  pid_t pid_of(std::size_t worker = 0) { return supervisor_->workers()[worker].pid; }
  bool serves() { return supervisor_->workers()[0].state == engine::WorkerState::serving; }
  // Of the worker that serves after `before`.
  bool served_again(pid_t before, std::size_t worker = 0) {
    return wait_until([&] {
      const engine::WorkerStatus status = supervisor_->workers()[worker];
      return status.state == engine::WorkerState::serving && status.pid != before;
    });
  }
  std::vector<engine::Event> events() {
    const std::scoped_lock lock(events_mutex_);
    return events_;
  }
  bool is_limited_to_one_row() {
    return std::ranges::any_of(events(), [](const engine::Event& event) {
      return event.kind == engine::EventKind::batch_limit_lowered && event.rows == 1;
    });
  }
  // Their kinds, in the order in which they were told.
  std::vector<engine::EventKind> kinds() {
    std::vector<engine::EventKind> kinds;
    for (const engine::Event& event : events()) kinds.push_back(event.kind);
    return kinds;
  }
  std::uint64_t counted(engine::EventKind kind) {
    return engine_->stats().events[static_cast<std::size_t>(kind)];
  }
  void expect_nothing_left() {
    EXPECT_TRUE(wait_until([&] { return inputs_->in_use() == 0; })) << inputs_->in_use();
    EXPECT_TRUE(wait_until([&] {
      const EngineStats stats = engine_->stats();
      return stats.submitted == stats.answered;
    }));
  }

  fs::path folder_;
  std::shared_ptr<SlotPool> inputs_;
  std::shared_ptr<engine::SharedInputs> shared_ = std::make_shared<engine::SharedInputs>();
  engine::SupervisorOptions options_;
  std::mutex events_mutex_;
  std::vector<engine::Event> events_;  // guarded by events_mutex_
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Supervisor> supervisor_;
};

}  // namespace takt::supervision_test
