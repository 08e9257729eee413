// SPDX-License-Identifier: Apache-2.0
// What the engine adds to a request, in this process and through a worker, beside the physical
// floor of the same machine: a bare eventfd round trip between two threads and two processes.
//   takt-bench-latency [--requests N] [--rounds N] [--spin-us N] [--anywhere 1]
#include "backend/cpus.h"
#include "engine/supervisor.h"
#include "repository/repository.h"
#include "worker/backends.h"
#include "worker/load_runtime.h"
#include "worker/worker_process.h"

#include <nlohmann/json.hpp>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace takt {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr auto kModelTime = 1ms;
constexpr auto kPeriod = 2 * kModelTime;  // 50 % load
constexpr double kThreadFloorsMax = 2.6;
constexpr double kProcessFloorsMax = 3.2;
constexpr double kProcessFloorsP99Max = 5.0;

struct Options {
  int requests = 2000;
  int rounds = 5;
  int spin_us = 0;
  int anywhere = 0;  // 1: threads run where the kernel puts them
};

// As takt places a device with one lane: the lane has the last CPU, all else the others; the floor's
// other side runs where the model would.
struct Places {
  std::vector<int> all;
  std::vector<std::vector<int>> lane;  // empty: anywhere
};

Places places(bool anywhere) {
  Places made{.all = usable_cpus(), .lane = {}};
  if (!anywhere && made.all.size() > 1) made.lane = {{made.all.back()}};
  return made;
}

void keep_to(std::span<const int> cpus) {
  if (const auto kept = use_cpus(::pthread_self(), cpus); !kept) std::abort();
}

struct Figures {
  double p50_us = 0;
  double p99_us = 0;
};

Figures figures(std::vector<double> samples) {
  std::ranges::sort(samples);
  const auto at = [&](double share) {
    return samples[static_cast<std::size_t>(share * static_cast<double>(samples.size() - 1))];
  };
  return {at(0.5), at(0.99)};
}

double us(Duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

// Calls `sample` once a period, on time, and returns what it returned, the first tenth left out. The
// last `spin` before that time it looks at the clock in place of sleeping.
std::vector<double> paced(int count, const std::function<double()>& sample, Duration spin = {}) {
  std::vector<double> samples;
  auto next = std::chrono::steady_clock::now();
  for (int i = 0; i < count + count / 10; ++i) {
    std::this_thread::sleep_until((next += kPeriod) - spin);
    while (std::chrono::steady_clock::now() < next) {
    }
    const double value = sample();
    if (i >= count / 10) samples.push_back(value);
  }
  return samples;
}

constexpr std::uint64_t kEnd = std::uint64_t{1} << 40;

// Answers each number with the nanoseconds (plus one) that it paused, which are `pause` or more: the
// other side sleeps meanwhile as it does while a model runs.
void echo(const Places& places, int in, int out, Duration pause) {
  if (!places.lane.empty()) keep_to(places.lane.front());
  std::uint64_t value = 0;
  while (::read(in, &value, sizeof(value)) == sizeof(value) && value < kEnd) {
    const auto start = std::chrono::steady_clock::now();
    if (pause > Duration{}) std::this_thread::sleep_for(pause);
    const Duration paused = std::chrono::steady_clock::now() - start;
    value = pause > Duration{} ? static_cast<std::uint64_t>(paused.count()) + 1 : 1;
    if (::write(out, &value, sizeof(value)) < 0) return;
  }
}

std::vector<double> round_trips(int there, int back, int count) {
  std::vector<double> samples = paced(count, [&] {
    const auto start = std::chrono::steady_clock::now();
    std::uint64_t value = 1;
    if (::write(there, &value, sizeof(value)) < 0 || ::read(back, &value, sizeof(value)) < 0) {
      std::abort();
    }
    return us(std::chrono::steady_clock::now() - start) - static_cast<double>(value - 1) / 1000;
  });
  static_cast<void>(!::write(there, &kEnd, sizeof(kEnd)));
  return samples;
}

std::vector<double> floor_of_threads(const Places& places, int count, Duration pause) {
  const int there = ::eventfd(0, 0);
  const int back = ::eventfd(0, 0);
  std::thread other([&] { echo(places, there, back, pause); });
  std::vector<double> samples = round_trips(there, back, count);
  other.join();
  ::close(there);
  ::close(back);
  return samples;
}

std::vector<double> floor_of_processes(const Places& places, int count, Duration pause) {
  const int there = ::eventfd(0, 0);
  const int back = ::eventfd(0, 0);
  const pid_t child = ::fork();
  if (child == 0) {
    echo(places, there, back, pause);
    ::_exit(0);
  }
  std::vector<double> samples = round_trips(there, back, count);
  ::waitpid(child, nullptr, 0);
  ::close(there);
  ::close(back);
  return samples;
}

// A simulated model of 1 ms in an engine of its own, with one instance.
class Served {
 public:
  Served(const fs::path& repository, bool in_worker, const Places& places, Duration spin)
      : places_(places), spin_(spin) {
    const std::array classes{SizeClass{4096, 16}};
    inputs_ = SlotPool::create("bench inputs", classes).value();
    engine_ = Engine::create({}).value();
    supervisor_ = std::make_unique<Supervisor>(engine::SupervisorOptions{}, *engine_);
    model_ = in_worker ? add_worker(repository) : add_here(repository);
    info_ = engine_->find("m").value();
  }
  ~Served() {
    engine_->stop(1s);
    supervisor_.reset();
    ::close(answered_);
  }
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  // Where the time of the requests so far went, as medians.
  void print_parts(const char* name) {
    std::printf("%-16s   to the dispatcher %.1f us, to the instance %.1f us, back %.1f us\n", name,
                figures(to_dispatcher_us_).p50_us, figures(to_instance_us_).p50_us,
                figures(back_us_).p50_us);
  }

  // Submit to the waking of whoever waits for the answer, less the execution itself.
  double added_us() {
    Shape shape = info_.signature.inputs[0].shape;
    shape.insert(shape.begin(), 1);
    const std::size_t bytes = *byte_size(info_.signature.inputs[0].type, shape);
    Slot slot = inputs_->acquire(bytes).value();
    InferRequest request;
    request.model = model_;
    request.inputs.emplace_back(
        TensorView{info_.signature.inputs[0].type, shape, slot.bytes().first(bytes)});
    request.holds.push_back(std::move(slot));
    InferTimings timings;
    here_ = false;
    const auto start = std::chrono::steady_clock::now();
    engine_->submit(std::move(request), [&](const Result<InferResult>& result) {
      if (!result) {
        std::fprintf(stderr, "latency: %s\n", result.error().message.c_str());
        std::abort();
      }
      timings = result->timings;
      answer();
    });
    wait_for_answer();
    const auto end = std::chrono::steady_clock::now();
    to_dispatcher_us_.push_back(us(timings.dispatched - timings.submitted));
    to_instance_us_.push_back(us(timings.batch.exec_start - timings.dispatched));
    back_us_.push_back(us(TimePoint(end.time_since_epoch()) - timings.batch.exec_end));
    return us(end - start - (timings.batch.exec_end - timings.batch.exec_start));
  }

 private:
  // As the floor waits; a semaphore would first spin, on a core that the instance needs. Where all
  // spin, so does the caller.
  void answer() {
    const std::uint64_t one = 1;
    if (spin_ > Duration{}) {
      here_ = true;
    } else if (::write(answered_, &one, sizeof(one)) < 0) {
      std::abort();
    }
  }
  void wait_for_answer() {
    std::uint64_t value = 0;
    if (spin_ > Duration{}) {
      while (!here_) {
      }
    } else if (::read(answered_, &value, sizeof(value)) < 0) {
      std::abort();
    }
  }

  ModelId add_worker(const fs::path& repository) {
    engine::WorkerSpec spec;
    spec.name = "m";
    spec.load.model = {repository, "m", 1};
    spec.load.backend = "simulated";
    spec.load.spin = spin_;
    spec.load.cpus = places_.all;
    spec.load.instance_cpus = places_.lane;
    auto shared = std::make_shared<engine::SharedInputs>();
    shared->add(inputs_);
    spec.inputs = shared;
    return supervisor_->add_worker(std::move(spec)).value();
  }
  ModelId add_here(const fs::path& repository) {
    const std::vector models{repository::scan_model(repository, "m").value()};
    const auto version = repository::find_version(models, "m").value();
    backend_ = worker::make_backend("simulated").value();
    worker::RuntimeOptions options;
    options.instance_cpus = places_.lane;
    return engine_->add_model(worker::load_runtime(*backend_, version, options).value()).value();
  }

  const Places places_;
  const Duration spin_;
  std::shared_ptr<SlotPool> inputs_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Supervisor> supervisor_;
  std::unique_ptr<Backend> backend_;
  ModelId model_;
  ModelInfo info_;
  const int answered_ = ::eventfd(0, EFD_CLOEXEC);
  std::atomic<bool> here_{false};
  std::vector<double> to_dispatcher_us_;
  std::vector<double> to_instance_us_;
  std::vector<double> back_us_;
};

// One model folder with the file of a test model, whose signature it takes.
fs::path write_repository() {
  std::string pattern = (fs::temp_directory_path() / "takt-latency-XXXXXX").string();
  const fs::path folder = ::mkdtemp(pattern.data());
  fs::create_directories(folder / "m" / "1");
  fs::copy_file(fs::path(TAKT_TEST_MODELS) / "repository" / "good" / "1" / "model.onnx",
                folder / "m" / "1" / "model.onnx");
  std::ofstream(folder / "m" / "config.pbtxt")
      << "max_batch_size: 1\nparameters { key: \"simulated.base_us\" value { string_value: \""
      << std::chrono::microseconds(kModelTime).count() << "\" } }\n";
  return folder;
}

bool judge(const char* what, double value, double limit) {
  std::printf("  %s  %s: %.2f floors; goal %.1f\n", value <= limit ? "met   " : "MISSED", what,
              value, limit);
  return value <= limit;
}

int run(const Options& options) {
  const fs::path repository = write_repository();
  const Duration spin = std::chrono::microseconds(options.spin_us);
  const Places placed = places(options.anywhere != 0);
  if (!placed.lane.empty()) keep_to(std::span(placed.all).first(placed.all.size() - 1));
  std::map<std::string, std::vector<double>> all;
  {
    Served here(repository, false, placed, {});
    Served remote(repository, true, placed, spin);
    const auto add = [&all](const char* name, std::vector<double> samples) {
      all[name].insert(all[name].end(), samples.begin(), samples.end());
    };
    for (int round = 0; round < options.rounds;
         ++round) {  // in turns: the machine's mood is shared
      add("bare_threads", floor_of_threads(placed, options.requests, {}));
      add("bare_processes", floor_of_processes(placed, options.requests, {}));
      add("floor_threads", floor_of_threads(placed, options.requests, kModelTime));
      add("in_process", paced(options.requests, [&] { return here.added_us(); }));
      add("floor_processes", floor_of_processes(placed, options.requests, kModelTime));
      add("through_worker", paced(options.requests, [&] { return remote.added_us(); }, spin));
    }
    here.print_parts("in_process");
    remote.print_parts("through_worker");
  }
  fs::remove_all(repository);
  std::map<std::string, Figures> each;
  for (auto& [name, samples] : all) {
    each[name] = figures(std::move(samples));
    std::printf("%-16s p50 %7.1f us  p99 %7.1f us\n", name.c_str(), each[name].p50_us,
                each[name].p99_us);
  }
  bool met = judge("in process p50", each["in_process"].p50_us / each["floor_threads"].p50_us,
                   kThreadFloorsMax);
  met &= judge("through a worker p50",
               each["through_worker"].p50_us / each["floor_processes"].p50_us, kProcessFloorsMax);
  met &=
      judge("through a worker p99", each["through_worker"].p99_us / each["floor_processes"].p99_us,
            kProcessFloorsP99Max);
  nlohmann::json out{{"requests", options.requests * options.rounds},
                     {"spin_us", options.spin_us},
                     {"anywhere", placed.lane.empty()},
                     {"cores", std::thread::hardware_concurrency()}};
  for (const auto& [name, figure] : each) {
    out[name] = {{"p50_us", figure.p50_us}, {"p99_us", figure.p99_us}};
  }
  std::printf("%s\n%s\n", out.dump().c_str(), met ? "goals met" : "goals missed");
  return met ? 0 : 1;
}

}  // namespace
}  // namespace takt

int main(int argc, char** argv) {
  if (const auto code = takt::worker::run_if_worker(argc, argv)) return *code;
  takt::Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const int value = std::atoi(argv[i + 1]);
    if (name == "--requests") options.requests = value;
    if (name == "--rounds") options.rounds = value;
    if (name == "--spin-us") options.spin_us = value;
    if (name == "--anywhere") options.anywhere = value;
  }
  return takt::run(options);
}
