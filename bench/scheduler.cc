// SPDX-License-Identifier: Apache-2.0
// takt-bench-scheduler: decisions (events applied) a second of the scheduler in its simulator, over
// models, devices and queue lengths. bench/README.md says what is measured.
#include "scheduler/simulator.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <compare>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace takt::scheduler {
namespace {

constexpr double kDecisionsGoal = 1e6;  // a second, one core, 16 models
constexpr int kModelsOfGoal = 16;
constexpr int kLanes = 2;
constexpr int kBatchMax = 8;
constexpr std::uint64_t kRequests = 100'000;

Duration us(std::int64_t count) {
  return std::chrono::microseconds(count);
}

// The load is a share of what full batches can do. steady: 80 %. queued: 110 % with deadlines far
// away, so that queues stay full. overload: 150 % in one class with near deadlines, so that nearly
// every arrival takes the dearest way through admission.
enum Kind : std::int64_t { steady, queued, overload };

Workload workload(Kind kind, int models, int devices, int queue_length) {
  Workload result;
  result.options.devices.assign(static_cast<std::size_t>(devices), {.lanes = kLanes});
  result.requests_max = kRequests;
  result.duration = std::chrono::hours(1);
  const Duration row = us(1000);
  const double load = kind == steady ? 0.8 : kind == queued ? 1.1 : 1.5;
  const double rows_a_s = load * devices * kLanes * kBatchMax / 3.0 * 1000;
  for (int i = 0; i < models; ++i) {
    SimulatedModel model;
    model.added.model = ModelId{static_cast<std::uint32_t>(i)};
    model.added.device = DeviceId{static_cast<std::uint32_t>(i % devices)};
    for (int n = 0; n < kLanes; ++n) {
      model.added.instances.push_back(InstanceId{static_cast<std::uint32_t>(i * kLanes + n)});
    }
    model.added.limits = {.batch_max = kBatchMax,
                          .queue_depth_max = kind == queued ? queue_length : 64};
    model.added.profile = {{1, row, row + us(100)}, {kBatchMax, row * 3, row * 3 + us(300)}};
    ArrivalProcess process;
    process.model = model.added.model;
    if (kind != overload) process.priority = static_cast<PriorityClass>(i % kPriorityClassCount);
    process.pattern = ArrivalPattern::poisson;
    process.interval = Duration(static_cast<std::int64_t>(1e9 * models / rows_a_s));
    process.deadline_min = row * (kind == queued ? 10 * queue_length : 4) * models;
    process.deadline_max = process.deadline_min * 2;
    result.models.push_back(std::move(model));
    result.arrivals.push_back(process);
  }
  return result;
}

struct Case {
  Kind kind = steady;
  int models = 1;
  int devices = 1;
  int queue_length = 0;
  friend auto operator<=>(const Case&, const Case&) = default;
};

std::map<Case, std::vector<double>>& decisions_a_s() {
  static std::map<Case, std::vector<double>> figures;
  return figures;
}

void decide(benchmark::State& state) {
  const auto argument = [&state](int i) { return static_cast<int>(state.range(i)); };
  const Case which{static_cast<Kind>(state.range(0)), argument(1), argument(2), argument(3)};
  const Workload load = workload(which.kind, which.models, which.devices, which.queue_length);
  std::uint64_t events = 0;
  for ([[maybe_unused]] auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    const auto result = simulate(load);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (!result) {
      state.SkipWithError(result.error().message.c_str());
      return;
    }
    events += result->events;
    decisions_a_s()[which].push_back(static_cast<double>(result->events) / took.count());
  }
  state.counters["decisions"] =
      benchmark::Counter(static_cast<double>(events), benchmark::Counter::kIsRate);
}

BENCHMARK(decide)
    ->ArgNames({"kind", "models", "devices", "queue"})
    ->ArgsProduct({{steady, overload}, {1, 2, 4, 8, 16, 32, 64}, {1}, {0}})
    ->ArgsProduct({{steady, overload}, {16}, {2, 4}, {0}})
    ->ArgsProduct({{queued}, {16}, {1}, {16, 64, 256, 1024}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Cost of a decision over one axis, relative to its first value, beside 1 + log2 of the values'
// ratio, which a logarithm through the first value would reach.
bool grows_at_most_logarithmically(const char* axis, const std::vector<Case>& cases,
                                   int Case::* value) {
  bool holds = true;
  const double first = median(decisions_a_s()[cases.front()]);
  for (const Case& one : cases) {
    const double growth = first / median(decisions_a_s()[one]);
    const double allowed = 1 + std::log2(static_cast<double>(one.*value) / (cases.front().*value));
    holds = holds && growth <= allowed * 1.05;
    std::printf("%-28s %5d  %8.0f decisions/s  cost x %.2f (logarithm: %.2f)\n", axis, one.*value,
                median(decisions_a_s()[one]), growth, allowed);
  }
  return holds;
}

int report() {
  std::string missed;
  for (const Kind kind : {steady, overload}) {
    const std::string name = kind == steady ? "steady" : "overload";
    std::vector<Case> models;
    for (const int n : {1, 2, 4, 8, 16, 32, 64}) models.push_back({kind, n, 1, 0});
    std::vector<Case> devices;
    for (const int n : {1, 2, 4}) devices.push_back({kind, 16, n, 0});
    if (!grows_at_most_logarithmically((name + ", models").c_str(), models, &Case::models)) {
      missed += " " + name + "-models";
    }
    if (!grows_at_most_logarithmically((name + ", devices").c_str(), devices, &Case::devices)) {
      missed += " " + name + "-devices";
    }
    const double figure = median(decisions_a_s()[{kind, kModelsOfGoal, 1, 0}]);
    std::printf("%s with %d models: %.2f million decisions/s (goal %.0f)\n", name.c_str(),
                kModelsOfGoal, figure / 1e6, kDecisionsGoal / 1e6);
    if (figure < kDecisionsGoal) missed += " " + name;
  }
  std::vector<Case> queues;
  for (const int n : {16, 64, 256, 1024}) queues.push_back({queued, 16, 1, n});
  if (!grows_at_most_logarithmically("queued, queue length", queues, &Case::queue_length)) {
    missed += " queue-length";
  }
  std::printf("%s%s\n", missed.empty() ? "goals met" : "goals missed:", missed.c_str());
  return missed.empty() ? 0 : 1;
}

int run(std::vector<char*> arguments) {
  // Random order, so that no case meets the machine in another mood than the others.
  std::vector<std::string> defaults{"--benchmark_repetitions=5", "--benchmark_min_time=0.1",
                                    "--benchmark_enable_random_interleaving=true",
                                    "--benchmark_display_aggregates_only=true"};
  for (std::string& text : defaults) arguments.insert(arguments.begin() + 1, text.data());
  const bool all = arguments.size() == defaults.size() + 1;
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  if (all) return report();
  std::printf("goals are judged when every case runs, without arguments\n");
  return 0;
}

}  // namespace
}  // namespace takt::scheduler

int main(int argc, char** argv) {
  return takt::scheduler::run({argv, argv + argc});
}
