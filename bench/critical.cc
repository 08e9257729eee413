// SPDX-License-Identifier: Apache-2.0
// Two tasks share one lane of the CPU: a critical one at 40 % load with a tight deadline, and
// background work that never ends. How many critical requests are late, under takt's scheduling and
// under plain first in, first out, on the same arrivals.
//   takt-bench-critical [--requests N] [--rounds N] [--deadline-factor N]
#include "backend/cpus.h"
#include "engine/supervisor.h"
#include "worker/worker_process.h"

#include <nlohmann/json.hpp>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace takt {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr double kLoad = 0.4;             // of the lane, by critical runs
constexpr double kBackgroundOffer = 1.3;  // times what full batches could do in the rest
constexpr int kBackgroundBatch = 8;
constexpr double kMissesMax = 0.001;
constexpr double kFifoMissesMin = 0.2;
constexpr double kBackgroundShareMin = 0.9;

struct Options {
  int requests = 20000;  // critical ones, of each policy
  int rounds = 5;
  int deadline_factor = 4;
};

struct Arrival {
  Duration at{};  // from the start of the round
  bool critical = false;
};

struct Setting {
  Duration period{};
  Duration deadline{};
  double background_per_s = 0;
};

struct Counts {
  std::atomic<std::uint64_t> critical{0};
  std::atomic<std::uint64_t> missed{0};  // late or not done at all
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> run_over{0};  // late, and more than half the deadline was its own run
  std::atomic<std::uint64_t> background{0};
  std::atomic<std::uint64_t> background_done{0};
  std::atomic<std::int64_t> critical_ns{0};  // of the lane
  std::atomic<std::int64_t> background_ns{0};
  std::atomic<std::int64_t> wall_ns{0};
  std::atomic<std::uint64_t> open{0};
};

struct Share {
  double value = 0;
  double low = 0;
  double high = 0;
};

// Wilson's score interval of 95 % (E. B. Wilson, 1927).
Share share(std::uint64_t hits, std::uint64_t of) {
  const double n = static_cast<double>(of);
  const double p = static_cast<double>(hits) / n;
  constexpr double z = 1.96;
  const double centre = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n);
  return {p, std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

// An engine of one lane with both models, each in its worker.
class Machine {
 public:
  // The lane has the last of the CPUs.
  Machine(const fs::path& repository, std::vector<int> cpus) : cpus_(std::move(cpus)) {
    const std::array classes{SizeClass{kRowBytesMax, 512}};
    inputs_ = SlotPool::create("bench inputs", classes).value();
    engine_ = Engine::create({}).value();
    supervisor_ = std::make_unique<Supervisor>(engine::SupervisorOptions{}, *engine_);
    critical_ = add(repository, "critical", 1);
    background_ = add(repository, "background", kBackgroundBatch);
    info_ = engine_->find("critical").value();
  }
  ~Machine() {
    engine_->stop(1s);
    supervisor_.reset();
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  [[nodiscard]] std::vector<scheduler::ProfilePoint> profile(const char* model) const {
    return engine_->profile(engine_->find(model)->id, "cpu");
  }
  // Replaces the few runs that were measured at load, whose p99 is the longest of them.
  void learn() {
    Counts counts;
    for (int i = 0; i < 300; ++i) {
      submit({.at = {}, .critical = true}, 1s, false, counts);
      while (counts.open > 0) std::this_thread::sleep_for(100us);
    }
  }
  void announce(Duration min_interval, Duration deadline) {
    engine_->expect_arrivals(critical_, FlowId{1}, min_interval, deadline, 1);
  }
  // First in, first out: one class, one flow, no deadline that the scheduler knows of.
  void submit(const Arrival& arrival, Duration deadline, bool fifo, Counts& counts) {
    const TimePoint start = clock_.now();
    Result<Slot> slot = inputs_->acquire(row_bytes());
    if (!slot) std::abort();  // there are more than both queues and all runs hold
    InferRequest request;
    request.model = arrival.critical ? critical_ : background_;
    if (!fifo) {
      request.priority = arrival.critical ? PriorityClass::critical : PriorityClass::background;
      request.flow = FlowId{arrival.critical ? 1U : 2U};
      if (arrival.critical) request.deadline = start + deadline;
    }
    Shape shape = info_.signature.inputs[0].shape;
    shape.insert(shape.begin(), 1);
    request.inputs.emplace_back(
        TensorView{info_.signature.inputs[0].type, shape, slot->bytes().first(row_bytes())});
    request.holds.push_back(std::move(*slot));
    ++(arrival.critical ? counts.critical : counts.background);
    ++counts.open;
    engine_->submit(std::move(request), [this, &counts, start, deadline,
                                         critical = arrival.critical](Result<InferResult> result) {
      const TimePoint end = clock_.now();
      if (result) {
        const BatchTimes& times = result->timings.batch;
        (critical ? counts.critical_ns : counts.background_ns) +=
            (times.exec_end - times.exec_start).count() / result->timings.batch_size;
        if (!critical) ++counts.background_done;
      }
      if (critical && (!result || end - start > deadline)) ++counts.missed;
      if (critical && !result) ++counts.refused;
      if (critical && result && end - start > deadline &&
          result->timings.batch.exec_end - result->timings.batch.exec_start > deadline / 2) {
        ++counts.run_over;
      }
      --counts.open;
    });
  }

 private:
  static constexpr std::size_t kRowBytesMax = 64 * 1024;

  [[nodiscard]] std::size_t row_bytes() const {
    return *byte_size(info_.signature.inputs[0].type, info_.signature.inputs[0].shape);
  }
  ModelId add(const fs::path& repository, const char* name, int batch_max) {
    engine::WorkerSpec spec;
    spec.name = name;
    spec.load.model = {repository, name, 1};
    spec.load.backend = "openvino";
    spec.load.batch_max = batch_max;
    spec.load.profile_time_max = 3s;
    spec.load.cpus = cpus_;
    spec.load.instance_cpus = {{cpus_.back()}};
    auto shared = std::make_shared<engine::SharedInputs>();
    shared->add(inputs_);
    spec.inputs = shared;
    return supervisor_->add_worker(std::move(spec), {.queue_depth_max = 64}).value();
  }

  const SystemClock clock_;
  const std::vector<int> cpus_;
  std::shared_ptr<SlotPool> inputs_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Supervisor> supervisor_;
  ModelId critical_;
  ModelId background_;
  ModelInfo info_;
};

// As `takt serve` does for a device with one lane: what isn't a model keeps off its CPU. Returns all.
std::vector<int> leave_last_cpu() {
  std::vector<int> cpus = usable_cpus();
  if (cpus.size() > 1) {
    static_cast<void>(use_cpus(::pthread_self(), std::span(cpus).first(cpus.size() - 1)));
  }
  return cpus;
}

// The classifier under two names: a defect's crop, and one that is only logged.
fs::path write_repository() {
  std::string pattern = (fs::temp_directory_path() / "takt-critical-XXXXXX").string();
  const fs::path folder = ::mkdtemp(pattern.data());
  const fs::path classifier =
      fs::path(TAKT_SOURCE_DIR) / "models" / "repository" / "pcb-classifier";
  for (const char* name : {"critical", "background"}) {
    fs::create_directories(folder / name);
    fs::copy(classifier / "1", folder / name / "1");
  }
  return folder;
}

std::vector<Arrival> arrivals_of(const Setting& setting, int critical, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<Arrival> arrivals;
  std::uniform_real_distribution<double> jitter(0, 0.05);
  for (int i = 0; i < critical; ++i) {
    const double periods = i + jitter(random);
    arrivals.push_back({std::chrono::duration_cast<Duration>(setting.period * periods), true});
  }
  std::exponential_distribution<double> gap(setting.background_per_s);
  const double end = std::chrono::duration<double>(setting.period).count() * critical;
  for (double at = gap(random); at < end; at += gap(random)) {
    arrivals.push_back(
        {std::chrono::duration_cast<Duration>(std::chrono::duration<double>(at)), false});
  }
  std::ranges::sort(arrivals, {}, &Arrival::at);
  return arrivals;
}

void play(Machine& machine, const std::vector<Arrival>& arrivals, const Setting& setting, bool fifo,
          Counts& counts) {
  const auto start = std::chrono::steady_clock::now();
  for (const Arrival& arrival : arrivals) {
    std::this_thread::sleep_until(start + arrival.at);
    machine.submit(arrival, setting.deadline, fifo, counts);
  }
  while (counts.open > 0) std::this_thread::sleep_for(1ms);  // what still runs takes the lane, too
  counts.wall_ns += (std::chrono::steady_clock::now() - start).count();
}

struct Verdict {
  Share misses;
  double background_share = 0;  // of the lane's time that critical runs left
  double background_per_s = 0;
};

Verdict verdict(const char* name, const Counts& counts) {
  Verdict made;
  made.misses = share(counts.missed, counts.critical);
  made.background_share = static_cast<double>(counts.background_ns) /
                          static_cast<double>(counts.wall_ns - counts.critical_ns);
  made.background_per_s =
      static_cast<double>(counts.background_done) * 1e9 / static_cast<double>(counts.wall_ns);
  std::printf(
      "%-10s %6.3f %% missed of %llu (95 %%: %.3f to %.3f), background %5.1f %% of the rest,"
      " %.0f/s\n",
      name, 100 * made.misses.value, static_cast<unsigned long long>(counts.critical.load()),
      100 * made.misses.low, 100 * made.misses.high, 100 * made.background_share,
      made.background_per_s);
  std::printf(
      "           of the missed: %llu not run, %llu by a run of their own over half the deadline\n",
      static_cast<unsigned long long>(counts.refused.load()),
      static_cast<unsigned long long>(counts.run_over.load()));
  return made;
}

nlohmann::json json(const Verdict& made) {
  return {{"missed_share", made.misses.value},
          {"missed_low", made.misses.low},
          {"missed_high", made.misses.high},
          {"background_share_of_rest", made.background_share},
          {"background_per_s", made.background_per_s}};
}

double ms(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

int run(const Options& options) {
  const fs::path repository = write_repository();
  Counts takt;
  Counts fifo;
  Setting setting;
  {
    const std::vector<int> cpus = leave_last_cpu();
    Machine scheduled(repository, cpus);
    Machine plain(repository, cpus);
    scheduled.learn();
    const scheduler::ProfilePoint own = scheduled.profile("critical").front();
    const std::vector<scheduler::ProfilePoint> others = scheduled.profile("background");
    setting.period = std::chrono::duration_cast<Duration>(own.p50 / kLoad);
    // Its own run, and the shortest that may be under way when it comes, which takes the same model as
    // long; each at its p99, several times: a virtual machine stands still for milliseconds now and
    // then.
    setting.deadline = options.deadline_factor * (own.p99 + own.p99);
    setting.background_per_s = kBackgroundOffer * (1 - kLoad) * others.back().batch /
                               std::chrono::duration<double>(others.back().p50).count();
    std::printf(
        "critical: run p50 %.2f ms, p99 %.2f ms, every %.2f ms, deadline %.2f ms; background: "
        "%.2f ms a row alone, %.2f ms for %d, %.0f offered a second\n",
        ms(own.p50), ms(own.p99), ms(setting.period), ms(setting.deadline), ms(others.front().p50),
        ms(others.back().p50), others.back().batch, setting.background_per_s);
    scheduled.announce(setting.period * 9 / 10, setting.deadline);
    const int each = options.requests / options.rounds;
    for (int round = 0; round < options.rounds; ++round) {
      const auto arrivals = arrivals_of(setting, each, static_cast<unsigned>(round + 1));
      play(scheduled, arrivals, setting, false, takt);
      play(plain, arrivals, setting, true, fifo);
    }
  }
  fs::remove_all(repository);
  const Verdict ours = verdict("takt", takt);
  const Verdict theirs = verdict("fifo", fifo);
  const bool met = ours.misses.value <= kMissesMax && theirs.misses.value > kFifoMissesMin &&
                   ours.background_share >= kBackgroundShareMin;
  const nlohmann::json out{{"critical_requests", takt.critical.load()},
                           {"period_ms", ms(setting.period)},
                           {"deadline_ms", ms(setting.deadline)},
                           {"takt", json(ours)},
                           {"fifo", json(theirs)}};
  std::printf(
      "%s\ngoals %s: at most %.1f %% missed where first in, first out misses over %.0f %%; "
      "background at least %.0f %% of the rest\n",
      out.dump().c_str(), met ? "met" : "missed", 100 * kMissesMax, 100 * kFifoMissesMin,
      100 * kBackgroundShareMin);
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
    if (name == "--deadline-factor") options.deadline_factor = value;
  }
  return takt::run(options);
}
