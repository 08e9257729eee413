// SPDX-License-Identifier: Apache-2.0
// Many requests from several clients through worker processes that crash, hang, run out of memory
// and are killed: every request is answered once, and nothing is left behind.
//   TAKT_SOAK_REQUESTS  how many; left out: what a unit test has time for
//   TAKT_SOAK_REPORT    a file for counts and samples, as JSON (bench/soak.py)
#include "engine/supervisor.h"
#include "process_watch.h"
#include "worker/worker_process.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

namespace takt::soak {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

#ifdef TAKT_SANITIZED
constexpr std::size_t kRequests = 20'000;
#else
constexpr std::size_t kRequests = 100'000;
#endif
constexpr std::size_t kModels = 2;           // a worker each
constexpr int kInstances = 2;                // of each worker
constexpr std::size_t kClients = 2;          // threads
constexpr std::ptrdiff_t kInFlightMax = 64;  // of one client: full batches for every instance
constexpr int kBatchMax = 8;
constexpr auto kSampleInterval = 1s;
constexpr auto kPatience = 60s;

// All that a device can do, often enough that a short run sees each but the rarest.
constexpr const char* kModelConfig = R"(max_batch_size: 8
parameters { key: "simulated.base_us" value { string_value: "0" } }
parameters { key: "simulated.crash_allowed" value { string_value: "true" } }
parameters { key: "simulated.faults_after" value { string_value: "500" } }
parameters { key: "simulated.probability.out_of_memory" value { string_value: "0.001" } }
parameters { key: "simulated.probability.failure" value { string_value: "0.001" } }
parameters { key: "simulated.probability.corrupt_output" value { string_value: "0.001" } }
parameters { key: "simulated.probability.crash" value { string_value: "0.0001" } }
parameters { key: "simulated.probability.hang" value { string_value: "0.00002" } }
parameters { key: "simulated.probability.device_poisoned" value { string_value: "0.00002" } }
)";

std::size_t requests_wanted() {
  const char* const text = std::getenv("TAKT_SOAK_REQUESTS");
  return text == nullptr ? kRequests : static_cast<std::size_t>(std::atoll(text));
}

// What the run can't go on without.
template <typename T>
T needed(Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "soak: %s\n", result.error().message.c_str());
  std::abort();
}

bool wait_until(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// How often each request was answered, and with what.
class Answers {
 public:
  explicit Answers(std::size_t requests) : times_(requests) {}

  void add(std::size_t request, const Result<InferResult>& result) {
    ++times_[request];
    ++by_kind_[result ? kErrorKindCount : static_cast<int>(result.error().kind)];
    ++total_;
  }
  [[nodiscard]] std::size_t total() const { return total_; }
  [[nodiscard]] std::size_t good() const { return by_kind_[kErrorKindCount]; }
  [[nodiscard]] std::size_t not_once() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(times_, [](const auto& times) { return times != 1; }));
  }
  [[nodiscard]] nlohmann::json by_kind() const {
    nlohmann::json out{{"good", good()}};
    for (int i = 0; i < kErrorKindCount; ++i) {
      if (by_kind_[i] > 0)
        out[std::string(to_string(static_cast<ErrorKind>(i)))] = by_kind_[i].load();
    }
    return out;
  }

 private:
  std::vector<std::atomic<std::uint8_t>> times_;
  std::array<std::atomic<std::size_t>, kErrorKindCount + 1> by_kind_{};
  std::atomic<std::size_t> total_{0};
};

class Gateway {
 public:
  Gateway() {
    std::string pattern = (fs::temp_directory_path() / "takt-soak-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    const std::array classes{SizeClass{4096, static_cast<std::uint32_t>(kClients * kInFlightMax)}};
    inputs_ = needed(SlotPool::create("soak inputs", classes));
    shared_->add(inputs_);
    engine::SupervisorOptions options;
    options.watchdog = 500ms;
    options.delay_min = 1ms;
    options.probe_interval = 50ms;
    engine_ = needed(Engine::create({}));
    supervisor_ = std::make_unique<Supervisor>(options, *engine_);
    for (std::size_t i = 0; i < kModels; ++i) add_model("m" + std::to_string(i));
    const ModelInfo info = engine_->models().front();
    shape_ = info.signature.inputs.at(0).shape;
    shape_.insert(shape_.begin(), 1);
    type_ = info.signature.inputs[0].type;
    bytes_ = needed(byte_size(type_, shape_));
  }
  ~Gateway() {
    engine_->stop(1s);
    supervisor_.reset();
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  [[nodiscard]] InferRequest request(std::size_t number) {
    InferRequest made;
    made.model = models_[number % kModels];
    Slot slot = input_slot();
    made.inputs.emplace_back(TensorView{type_, shape_, slot.bytes().first(bytes_)});
    made.holds.push_back(std::move(slot));
    // Some are in a hurry, and may be refused or too late.
    if (number % 8 == 0) made.deadline = SystemClock().now() + 100ms;
    return made;
  }
  [[nodiscard]] Engine& engine() { return *engine_; }
  [[nodiscard]] Supervisor& supervisor() { return *supervisor_; }
  [[nodiscard]] std::uint32_t inputs_in_use() const { return inputs_->in_use(); }

 private:
  // A request that was answered before its batch came to an end, because its time was over, keeps its
  // slot until then: there may be none for a moment.
  Slot input_slot() {
    Result<Slot> slot = inputs_->acquire(bytes_);
    if (!slot) wait_until([&] { return (slot = inputs_->acquire(bytes_)).has_value(); });
    return needed(std::move(slot));
  }

  void add_model(const std::string& name) {
    fs::create_directories(folder_ / name / "1");
    fs::copy_file(fs::path(TAKT_TEST_MODELS) / "repository" / "good" / "1" / "model.onnx",
                  folder_ / name / "1" / "model.onnx");
    std::ofstream(folder_ / name / "config.pbtxt") << kModelConfig;
    engine::WorkerSpec spec;
    spec.name = name;
    spec.load.model = {.repository = folder_, .model = name, .version = 1};
    spec.load.backend = "simulated";
    spec.load.instances = kInstances;
    spec.load.batch_max = kBatchMax;
    spec.load.profile_time_max = Duration{};
    spec.inputs = shared_;
    models_.push_back(needed(supervisor_->add_worker(std::move(spec))));
  }

  fs::path folder_;
  std::shared_ptr<SlotPool> inputs_;
  std::shared_ptr<engine::SharedInputs> shared_ = std::make_shared<engine::SharedInputs>();
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Supervisor> supervisor_;
  std::vector<ModelId> models_;
  Shape shape_;
  DataType type_ = DataType::fp32;
  std::size_t bytes_ = 0;
};

// Sends every kClients-th request, as many at once as it may.
void run_client(Gateway& gateway, Answers& answers, std::size_t first, std::size_t requests) {
  // Shared with the completions, which may outlive this function.
  auto room = std::make_shared<std::counting_semaphore<kInFlightMax>>(kInFlightMax);
  for (std::size_t number = first; number < requests; number += kClients) {
    room->acquire();
    gateway.engine().submit(gateway.request(number),
                            [room, &answers, number](Result<InferResult> result) {
                              answers.add(number, result);
                              room->release();
                            });
  }
  // Before the answers may go: every one is in.
  for (std::ptrdiff_t i = 0; i < kInFlightMax; ++i) room->acquire();
}

// Kills or stops a worker, any, from time to time until the run is over.
std::size_t disturb(Supervisor& supervisor, const std::atomic<bool>& over, Duration every) {
  std::mt19937 random(20261124);
  std::size_t signals = 0;
  while (!over) {
    const auto pause = every / 2 + Duration(static_cast<Duration::rep>(random()) % every.count());
    const auto until = std::chrono::steady_clock::now() + pause;
    while (!over && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(5ms);
    const std::vector<engine::WorkerStatus> workers = supervisor.workers();
    const pid_t pid = workers[random() % workers.size()].pid;
    // Process 0 would be this whole group of processes, the test runner included.
    if (over || pid <= 0) continue;
    ::kill(pid, signals++ % 4 == 3 ? SIGSTOP : SIGKILL);
  }
  return signals;
}

struct Outcome {
  std::size_t signals = 0;
  double seconds = 0;
  std::vector<Holdings> samples;
};

Outcome run(Gateway& gateway, Answers& answers, std::size_t requests) {
  Outcome outcome;
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::vector<std::thread> clients;
  clients.reserve(kClients);
  for (std::size_t i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] { run_client(gateway, answers, i, requests); });
  }
  std::atomic<bool> over{false};
  // A short run sees some kills too.
  const Duration every = requests > kRequests ? Duration(1s) : Duration(300ms);
  std::thread disturber([&] { outcome.signals = disturb(gateway.supervisor(), over, every); });
  std::thread watcher([&] {
    auto next = start;
    while (!over) {
      Holdings seen = look();
      seen.seconds = elapsed();
      seen.answered = answers.total();
      outcome.samples.push_back(seen);
      next += kSampleInterval;
      while (!over && std::chrono::steady_clock::now() < next) std::this_thread::sleep_for(20ms);
    }
  });
  for (std::thread& client : clients) client.join();
  outcome.seconds = elapsed();
  over = true;
  disturber.join();
  watcher.join();
  return outcome;
}

void write_report(const fs::path& file, std::size_t requests, const Outcome& outcome,
                  const Answers& answers, const EngineStats& engine,
                  const std::vector<engine::WorkerStatus>& workers) {
  nlohmann::json report{
      {"requests", requests},
      {"seconds", outcome.seconds},
      {"requests_per_second", static_cast<double>(requests) / outcome.seconds},
      {"answers", answers.by_kind()},
      {"batches", engine.batches},
      {"rows_per_batch", static_cast<double>(engine.rows) / static_cast<double>(engine.batches)},
      {"signals", outcome.signals},
      {"workers", nlohmann::json::array()},
      {"rss_growth_bytes",
       growth(outcome.samples,
              [](const Holdings& seen) { return static_cast<double>(seen.rss_bytes); })},
      {"descriptors_growth",
       growth(outcome.samples,
              [](const Holdings& seen) { return static_cast<double>(seen.descriptors); })},
      {"samples", nlohmann::json::array()}};
  for (const engine::WorkerStatus& worker : workers) {
    report["workers"].push_back({{"restarts", worker.restarts},
                                 {"hangs", worker.hangs},
                                 {"circuits_opened", worker.circuits_opened}});
  }
  for (const Holdings& seen : outcome.samples) {
    report["samples"].push_back(
        {seen.seconds, seen.rss_bytes, seen.descriptors, seen.memfds, seen.answered});
  }
  std::ofstream(file) << report.dump(1) << '\n';
}

TEST(Soak, EveryRequestIsAnsweredOnceAndNothingIsLeft) {
  const std::size_t requests = requests_wanted();
  // Before what is counted, so that their own memory doesn't look like growth.
  Answers answers(requests);
  const Holdings before = look();
  {
    Gateway gateway;
    const Outcome outcome = run(gateway, answers, requests);
    EXPECT_EQ(answers.total(), requests);
    EXPECT_GT(answers.good(), requests / 2);
    EXPECT_GT(outcome.signals, 0U);
    EXPECT_TRUE(wait_until([&] {
      const EngineStats stats = gateway.engine().stats();
      return stats.submitted == requests && stats.answered == requests && stats.slots_in_use == 0;
    })) << gateway.engine().stats().submitted
        << " submitted, " << gateway.engine().stats().answered << " answered";
    EXPECT_EQ(gateway.inputs_in_use(), 0U);
    const std::vector<engine::WorkerStatus> workers = gateway.supervisor().workers();
    std::uint64_t restarts = 0;
    for (const engine::WorkerStatus& worker : workers) restarts += worker.restarts;
    EXPECT_GT(restarts, 0U);
    if (const char* const file = std::getenv("TAKT_SOAK_REPORT")) {
      write_report(file, requests, outcome, answers, gateway.engine().stats(), workers);
    }
  }
  EXPECT_EQ(answers.total(), requests);
  EXPECT_EQ(answers.not_once(), 0U) << "requests that were answered never or twice";
  EXPECT_TRUE(children().empty()) << "a worker is left";
  const Holdings after = look();
  EXPECT_EQ(after.descriptors, before.descriptors);
  EXPECT_EQ(after.memfds, before.memfds);
}

Holdings holding(double seconds, std::size_t bytes) {
  Holdings seen;
  seen.seconds = seconds;
  seen.rss_bytes = bytes;
  return seen;
}

TEST(Growth, IsTheSlopeAfterTheWarmUp) {
  const auto rss = [](const Holdings& seen) { return static_cast<double>(seen.rss_bytes); };
  std::vector<Holdings> samples(100);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    samples[i] = holding(static_cast<double>(i), i < 20 ? 1000 : 5000);
  }
  EXPECT_NEAR(growth(samples, rss), 0, 1e-6) << "what the warm-up takes is no growth";
  for (std::size_t i = 20; i < samples.size(); ++i) samples[i].rss_bytes += 10 * i;
  EXPECT_NEAR(growth(samples, rss), 790, 1);
}

}  // namespace
}  // namespace takt::soak

int main(int argc, char** argv) {
  if (const auto code = takt::worker::run_if_worker(argc, argv)) return *code;
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
