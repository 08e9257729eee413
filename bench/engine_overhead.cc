// SPDX-License-Identifier: Apache-2.0
// What the engine adds to a request at idle, beside what two threads cost anyway. One client sends
// one request at a time, with a pause between. Four ways, taken in turns:
//   condvar  bare round trip to another thread and back through a mutex and condition variables
//   eventfd  the same through two eventfds
//   direct   client -> instance -> client: the backend's own time
//   engine   client -> engine -> instance -> client
// From every time the execution itself (exec_start to exec_end) is subtracted. The engine's added
// time is engine minus direct, percentile by percentile. Goals: 150 us at p50, 400 us at p99.
// Method and numbers: bench/README.md.
#include "engine/engine.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace takt {
namespace {

const SystemClock kClock;

struct Settings {
  int rounds = 10;     // A B C D, A B C D, ...
  int requests = 300;  // a way and round
  Duration execution = std::chrono::milliseconds(1);
  Duration pause = std::chrono::milliseconds(1);
  bool sleep = false;  // the execution sleeps (like a GPU) instead of using a core
};

void spend(Duration time, bool sleep) {
  if (sleep) return std::this_thread::sleep_for(time);
  const TimePoint end = kClock.now() + time;
  while (kClock.now() < end) {
  }
}

// A flag to wait for.
class Signal {
 public:
  void raise() {
    {
      const std::scoped_lock lock(mutex_);
      raised_ = true;
    }
    changed_.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return raised_; });
    raised_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool raised_ = false;
};

class EventFd {
 public:
  EventFd() : descriptor_(::eventfd(0, EFD_CLOEXEC)) {
    if (descriptor_ < 0) {
      std::perror("eventfd");
      std::exit(1);
    }
  }
  ~EventFd() { ::close(descriptor_); }
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;
  void raise() const {
    const std::uint64_t one = 1;
    if (::write(descriptor_, &one, sizeof one) != sizeof one) std::abort();
  }
  void wait() const {
    std::uint64_t count = 0;
    if (::read(descriptor_, &count, sizeof count) != sizeof count) std::abort();
  }

 private:
  int descriptor_;
};

// A thread that executes for the stated time whenever it is asked, and says how long it took.
template <typename Event>
class Echo {
 public:
  explicit Echo(const Settings& settings) : thread_([this, settings] { serve(settings); }) {}
  ~Echo() {
    stopping_ = true;
    ask_.raise();
    thread_.join();
  }
  // Everything but the execution.
  Duration measure() {
    const TimePoint begin = kClock.now();
    ask_.raise();
    answer_.wait();
    return kClock.now() - begin - execution_;
  }

 private:
  void serve(const Settings& settings) {
    while (true) {
      ask_.wait();
      if (stopping_) return;
      const TimePoint begin = kClock.now();
      spend(settings.execution, settings.sleep);
      execution_ = kClock.now() - begin;
      answer_.raise();
    }
  }
  Event ask_;
  Event answer_;
  std::atomic<bool> stopping_{false};
  Duration execution_{};  // written before answer_, read after it
  std::thread thread_;
};

class TimedInstance final : public Instance {
 public:
  explicit TimedInstance(const Settings& settings)
      : settings_(settings), thread_([this] { serve(); }) {}
  ~TimedInstance() override {
    stopping_ = true;
    asked_.raise();
    thread_.join();
  }
  Result<void> submit(BatchView batch, BatchCompletion done) override {
    batch_ = batch;
    done_ = std::move(done);
    asked_.raise();
    return {};
  }

 private:
  void serve() {
    while (true) {
      asked_.wait();
      if (stopping_) return;
      BatchTimes times;
      times.exec_start = times.compute_start = kClock.now();
      spend(settings_.execution, settings_.sleep);
      for (const Sample& sample : batch_) {
        sample.outputs[0].shape = {1, 4};
        sample.outputs[0].bytes_used = 16;
        std::memset(sample.outputs[0].room.data(), 0, 16);
      }
      times.compute_end = times.exec_end = kClock.now();
      std::exchange(done_, nullptr)({{}, times});
    }
  }
  const Settings settings_;
  Signal asked_;
  BatchView batch_;
  BatchCompletion done_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

constexpr std::array<float, 4> kInput{1, 2, 3, 4};

InputData input() {
  return TensorView{DataType::fp32, {1, 4}, std::as_bytes(std::span(kInput))};
}

class Direct {
 public:
  explicit Direct(const Settings& settings) : instance_(settings) {}
  Duration measure() {
    const TimePoint begin = kClock.now();
    std::array<std::byte, 64> room{};
    const std::array inputs{input()};
    std::array<OutputBuffer, 1> outputs{OutputBuffer{room, DataType::fp32, {}, 0}};
    const std::array samples{Sample{inputs, outputs, 1}};
    Duration execution{};
    const Result<void> taken = instance_.submit(samples, [&](const BatchOutcome& outcome) {
      execution = outcome.times.exec_end - outcome.times.exec_start;
      answered_.raise();
    });
    if (!taken) std::abort();
    answered_.wait();
    return kClock.now() - begin - execution;
  }

 private:
  Signal answered_;
  TimedInstance instance_;
};

class ThroughEngine {
 public:
  explicit ThroughEngine(const Settings& settings) : engine_(*Engine::create({})) {
    ModelRuntime runtime;
    runtime.name = "timed";
    runtime.version = 1;
    runtime.backend = "timed";
    runtime.device = "cpu";
    runtime.signature = {.inputs = {{"x", DataType::fp32, {4}}},
                         .outputs = {{"y", DataType::fp32, {4}}},
                         .batch_max = 8};
    runtime.output_bytes_max = {16};
    runtime.profile = {{1, settings.execution, settings.execution * 2}};
    runtime.instances.push_back(std::make_unique<TimedInstance>(settings));
    model_ = *engine_->add_model(std::move(runtime));
  }
  Duration measure() {
    const TimePoint begin = kClock.now();
    InferRequest request;
    request.model = model_;
    request.deadline = begin + std::chrono::seconds(10);
    request.inputs.push_back(input());
    Duration execution{};
    engine_->submit(std::move(request), [&](const Result<InferResult>& result) {
      if (!result) {
        std::fprintf(stderr, "engine: %s\n", result.error().message.c_str());
        std::exit(1);
      }
      execution = result->timings.batch.exec_end - result->timings.batch.exec_start;
      answered_.raise();
    });
    answered_.wait();
    return kClock.now() - begin - execution;
  }

 private:
  Signal answered_;
  std::unique_ptr<Engine> engine_;
  ModelId model_;
};

struct Way {
  const char* name;
  std::function<Duration()> measure;
  std::vector<double> us{};         // every request
  std::vector<double> round_p50{};  // for the spread
};

double quantile(std::vector<double> values, double q) {
  std::ranges::sort(values);
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
}

void run_round(Way& way, const Settings& settings, bool keep) {
  std::vector<double> us;
  for (int i = 0; i < settings.requests; ++i) {
    us.push_back(std::chrono::duration<double, std::micro>(way.measure()).count());
    std::this_thread::sleep_for(settings.pause);
  }
  if (!keep) return;
  way.round_p50.push_back(quantile(us, 0.5));
  way.us.insert(way.us.end(), us.begin(), us.end());
}

void print_machine() {
  std::string model = "unknown CPU";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  }
  std::array<double, 1> load{};
  if (::getloadavg(load.data(), 1) != 1) load[0] = -1;
  std::printf("%s, %u cores, load %.1f\n", model.c_str(), std::thread::hardware_concurrency(),
              load[0]);
}

int run(const Settings& settings) {
  print_machine();
  std::printf("%d x %d requests a way, %lld us of %s each, then %lld us pause\n", settings.rounds,
              settings.requests, static_cast<long long>(to_us(settings.execution)),
              settings.sleep ? "sleep" : "computing",
              static_cast<long long>(to_us(settings.pause)));
  Echo<Signal> condvar(settings);
  Echo<EventFd> eventfd(settings);
  Direct direct(settings);
  ThroughEngine engine(settings);
  std::array<Way, 4> ways{Way{"condvar", [&] { return condvar.measure(); }},
                          Way{"eventfd", [&] { return eventfd.measure(); }},
                          Way{"direct", [&] { return direct.measure(); }},
                          Way{"engine", [&] { return engine.measure(); }}};
  for (int round = 0; round <= settings.rounds; ++round) {
    for (Way& way : ways) run_round(way, settings, round > 0);  // round 0 warms up
  }
  std::printf("%-8s %9s %9s %9s   %s\n", "us", "p50", "p99", "max", "p50 of the rounds, min..max");
  for (const Way& way : ways) {
    std::printf("%-8s %9.1f %9.1f %9.1f   %.1f..%.1f\n", way.name, quantile(way.us, 0.5),
                quantile(way.us, 0.99), quantile(way.us, 1), quantile(way.round_p50, 0),
                quantile(way.round_p50, 1));
  }
  const double floor_p50 = std::min(quantile(ways[0].us, 0.5), quantile(ways[1].us, 0.5));
  const double added_p50 = quantile(ways[3].us, 0.5) - quantile(ways[2].us, 0.5);
  const double added_p99 = quantile(ways[3].us, 0.99) - quantile(ways[2].us, 0.99);
  std::printf("added by the engine: p50 %.1f us (goal 150), p99 %.1f us (goal 400)\n", added_p50,
              added_p99);
  std::printf("ratio %.2f (engine to the cheaper bare round trip, p50; goal 2.6)\n",
              quantile(ways[3].us, 0.5) / floor_p50);
  std::string missed;
  if (added_p50 > 150) missed += " p50";
  if (added_p99 > 400) missed += " p99";
  if (quantile(ways[3].us, 0.5) > 2.6 * floor_p50) missed += " ratio";
  std::printf("%s%s\n", missed.empty() ? "goals met" : "goals missed:", missed.c_str());
  return missed.empty() ? 0 : 1;
}

int usage() {
  std::fprintf(stderr,
               "takt-bench-engine [--rounds N] [--requests N] [--execution-us N] [--pause-us N] "
               "[--sleep]\n");
  return 2;
}

Result<Settings> parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--sleep") {
      settings.sleep = true;
      continue;
    }
    const long value = i + 1 < argc ? std::strtol(argv[i + 1], nullptr, 10) : -1;
    ++i;
    if (value < 0 || value > 10'000'000)
      return fail(ErrorKind::invalid_input, name + " needs a number up to 10000000");
    if (name == "--rounds" && value > 0) {
      settings.rounds = static_cast<int>(value);
    } else if (name == "--requests" && value > 0) {
      settings.requests = static_cast<int>(value);
    } else if (name == "--execution-us") {
      settings.execution = std::chrono::microseconds(value);
    } else if (name == "--pause-us") {
      settings.pause = std::chrono::microseconds(value);
    } else {
      return fail(ErrorKind::invalid_input, "unknown option or value: " + name);
    }
  }
  return settings;
}

}  // namespace
}  // namespace takt

int main(int argc, char** argv) {
  const takt::Result<takt::Settings> settings = takt::parse(argc, argv);
  if (settings) return takt::run(*settings);
  std::fprintf(stderr, "%s\n", settings.error().message.c_str());
  return takt::usage();
}
