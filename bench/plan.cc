// SPDX-License-Identifier: Apache-2.0
// Predicts the latencies of recorded arrivals as `takt plan` does, replays the same arrivals through
// the engine in real time, and compares: one JSON object on the last line of standard output.
//   takt-bench-plan --config F [--repository D] [--backend B] [--load X] [--requests N]
//                   [--crops N] [--measure-s X] [--seed N] [--arrivals poisson|camera]
#include "app/command_run.h"
#include "app/forecast.h"
#include "app/model_trial.h"
#include "app/temporary_folder.h"
#include "scheduler/random.h"
#include "scheduler/simulator.h"
#include "worker/worker_process.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace takt::bench {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

struct Options {
  std::string config = "examples/pcb/takt.yaml";
  std::string repository;
  std::string backend;
  double load = 0.7;
  double measure_s = 20;
  int requests = 10'000;
  int crops = 8;
  std::uint64_t seed = 1;
  bool camera = false;  // frames at a fixed pace, their crops together; otherwise all at random
};

[[noreturn]] void stop(const Error& error) {
  fmt::print(stderr, "plan: {}\n", error.message);
  std::exit(1);
}

template <typename T>
T must(Result<T> result) {
  if (!result) stop(result.error());
  return std::move(*result);
}

config::Config open_config(const Options& options) {
  config::Config config = must(app::load_config(options.config));
  if (!options.repository.empty()) config.models.repository = options.repository;
  for (TaskSpec& task : config.tasks) {
    if (!options.backend.empty()) task.backends = {options.backend};
  }
  // Every request is executed, so that there is a latency to compare.
  for (config::LineEntry& entry : config.lines) entry.line.deadline.reset();
  return config;
}

int requests_a_frame(const TaskSpec& task, const Options& options) {
  return task.crop ? std::min(options.crops, task.crop->crops_max) : 1;
}

struct Arrival {
  double at = 0;  // seconds
  std::string task;
};

// Independent Poisson arrivals of every task, at so many frames a second.
std::vector<Arrival> random_arrivals(const config::Config& config,
                                     const std::vector<std::string>& tasks,
                                     double frames_per_second, double seconds, std::uint64_t seed,
                                     const Options& options) {
  std::vector<Arrival> arrivals;
  scheduler::Random random(seed);
  for (const std::string& name : tasks) {
    const auto task = std::ranges::find(config.tasks, name, &TaskSpec::name);
    const double mean = 1 / (frames_per_second * requests_a_frame(*task, options));
    for (double at = random.exponential(mean); at < seconds; at += random.exponential(mean)) {
      arrivals.push_back({at, name});
    }
  }
  return arrivals;
}

// Frames at a fixed pace; the crops of each come together, `crops_after` seconds later.
std::vector<Arrival> camera_arrivals(const config::Config& config,
                                     const std::vector<std::string>& tasks,
                                     double frames_per_second, double seconds, double crops_after,
                                     const Options& options) {
  std::vector<Arrival> arrivals;
  for (double at = 0; at < seconds; at += 1 / frames_per_second) {
    for (const std::string& name : tasks) {
      const auto task = std::ranges::find(config.tasks, name, &TaskSpec::name);
      for (int i = 0; i < requests_a_frame(*task, options); ++i) {
        arrivals.push_back({task->crop ? at + crops_after : at, name});
      }
    }
  }
  return arrivals;
}

void write_trace(const std::filesystem::path& file, std::vector<Arrival> arrivals) {
  std::ranges::stable_sort(arrivals, {}, &Arrival::at);
  std::ofstream stream(file);
  stream << "seconds,task\n";
  for (const Arrival& arrival : arrivals) {
    stream << fmt::format("{:.9f},{}\n", arrival.at, arrival.task);
  }
}

// Frames a second at which the tasks take `load` of the lanes, single rows on busy lanes.
double frame_rate(const config::Config& config, const decltype(app::PlanRequest::profiles)& all,
                  const Options& options) {
  double lane_seconds = 0;
  for (const auto& [name, profiles] : all) {
    const auto task = std::ranges::find(config.tasks, name, &TaskSpec::name);
    const app::MeasuredProfile& measured = *profiles.begin()->second.measured;
    const Duration one = measured.points[0].p50;
    lane_seconds += requests_a_frame(*task, options) *
                    (std::chrono::duration<double>(one).count() * measured.contention +
                     std::chrono::duration<double>(measured.batch_overhead).count());
  }
  return options.load * app::lanes_of(config.devices.front()) / lane_seconds;
}

struct Replayed {
  std::map<std::string, std::vector<Duration>> latencies;
  std::map<std::string, std::vector<Duration>> execs;
  std::vector<Duration> behind;  // how late requests were sent
  std::uint64_t failed = 0;
};

// Open loop: every request goes out at its time, whatever became of those before.
Replayed replay(app::ModelTrial& trial, const config::Config& config,
                const std::vector<app::RecordedArrival>& arrivals) {
  const SystemClock clock;
  Replayed replayed;
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t answered = 0;
  const TimePoint start = clock.now() + 100ms;
  for (const app::RecordedArrival& arrival : arrivals) {
    const TaskSpec& task = config.tasks[arrival.task];
    InferRequest request = trial.request(task.name);
    request.priority = task.priority;
    request.flow = config.lines[arrival.line].line.flow;
    const TimePoint due = start + arrival.at;
    std::this_thread::sleep_until(std::chrono::steady_clock::time_point(due.time_since_epoch()));
    const TimePoint sent = clock.now();
    replayed.behind.push_back(sent - due);
    trial.engine().submit(std::move(request), [&, sent](const Result<InferResult>& result) {
      const TimePoint now = SystemClock().now();
      const std::scoped_lock lock(mutex);
      if (result) {
        replayed.latencies[task.name].push_back(now - sent);
        const BatchTimes& times = result->timings.batch;
        replayed.execs[task.name].push_back(times.exec_end - times.exec_start);
      } else {
        ++replayed.failed;
      }
      if (++answered == arrivals.size()) changed.notify_all();
    });
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return answered == arrivals.size(); });
  for (auto& [task, latencies] : replayed.latencies) std::ranges::sort(latencies);
  for (auto& [task, execs] : replayed.execs) std::ranges::sort(execs);
  std::ranges::sort(replayed.behind);
  return replayed;
}

double us(Duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

double quantile_us(const std::vector<Duration>& sorted, double share) {
  return us(scheduler::StreamResult{.latencies = sorted}.latency_quantile(share));
}

json compare(const app::Forecast& forecast, const Replayed& replayed) {
  json tasks = json::object();
  for (const app::LatencyForecast& task : forecast.tasks) {
    const std::vector<Duration>& real = replayed.latencies.at(task.name);
    const std::vector<Duration>& exec = replayed.execs.at(task.name);
    const double p50 = quantile_us(real, 0.5);
    const double p99 = quantile_us(real, 0.99);
    tasks[task.name] = {{"requests", real.size()},
                        {"p50_us", p50},
                        {"p99_us", p99},
                        {"predicted_p50_us", us(task.p50)},
                        {"predicted_p99_us", us(task.p99)},
                        {"exec_p50_us", quantile_us(exec, 0.5)},
                        {"exec_p99_us", quantile_us(exec, 0.99)},
                        {"error_p50", us(task.p50) / p50 - 1},
                        {"error_p99", us(task.p99) / p99 - 1}};
  }
  return {{"tasks", tasks},
          {"predicted_utilisation", forecast.utilisation[0]},
          {"failed", replayed.failed},
          {"sent_behind_p99_us", quantile_us(replayed.behind, 0.99)}};
}

// In place of what was measured alone: what was learned under load, which has the lanes' contention
// in it.
void use_learned(app::MeasuredProfile& measured,
                 const std::vector<scheduler::ProfilePoint>& learned) {
  for (const scheduler::ProfilePoint& point : learned) {
    if (point.window.empty()) continue;
    std::erase_if(measured.points, [&](const auto& old) { return old.batch == point.batch; });
    measured.points.push_back(point);
    measured.contention = 1;
  }
  std::ranges::sort(measured.points, {}, &scheduler::ProfilePoint::batch);
}

int run(const Options& options) {
  const config::Config config = open_config(options);
  const std::vector<std::string> tasks = app::planned_tasks(config, {});
  const std::unique_ptr<app::ModelTrial> trial =
      must(app::ModelTrial::open(config, tasks, &app::report_line));
  const app::TemporaryFolder folder = must(app::TemporaryFolder::make());
  const auto profiles = must(app::measure_models(
      *trial, config, Duration(static_cast<std::int64_t>(options.measure_s * 1e9)), {}));
  const std::string device = config.devices.front().name;
  app::PlanRequest request;
  request.config = config;
  request.arrivals = app::PlanArrivals::recorded;
  request.seed = options.seed;
  for (std::size_t i = 0; i < profiles.size(); ++i) {
    request.profiles[trial->models()[i].task][device] = profiles[i];
  }
  const double rate = frame_rate(config, request.profiles, options);
  double longest_s = 0;  // of what a crop waits for
  for (const app::StoredProfile& profile : profiles) {
    const app::MeasuredProfile& measured = *profile.measured;
    longest_s = std::max(longest_s, measured.contention * us(measured.points[0].p50) / 1e6);
  }
  const auto arrivals = [&](int requests, std::uint64_t seed) {
    const std::filesystem::path file = folder.path() / "arrivals.csv";
    double frame_requests = 0;
    for (const TaskSpec& task : config.tasks) frame_requests += requests_a_frame(task, options);
    const double seconds = requests / frame_requests / rate;
    write_trace(file, options.camera
                          ? camera_arrivals(config, tasks, rate, seconds, longest_s, options)
                          : random_arrivals(config, tasks, rate, seconds, seed, options));
    return must(app::read_arrivals(config, file));
  };
  // Under the load that follows, for the second way to predict.
  static_cast<void>(
      replay(*trial, config, arrivals(options.requests / 4, options.seed + 1'000'000)));
  app::PlanRequest learned = request;
  for (const app::LoadedModel& model : trial->models()) {
    use_learned(*learned.profiles.at(model.task).at(device).measured,
                trial->engine().profile(model.id, device));
  }

  request.recorded = arrivals(options.requests, options.seed);
  learned.recorded = request.recorded;
  const app::Forecast forecast = must(app::forecast(request, 1));
  const app::Forecast from_learned = must(app::forecast(learned, 1));
  const Replayed replayed = replay(*trial, config, request.recorded);
  json out = compare(forecast, replayed);
  const json second = compare(from_learned, replayed);
  for (auto& [name, task] : out["tasks"].items()) {
    task["learned_error_p50"] = second["tasks"][name]["error_p50"];
    task["learned_error_p99"] = second["tasks"][name]["error_p99"];
  }
  out["load"] = options.load;
  out["seed"] = options.seed;
  for (const auto& [name, measured_on] : request.profiles) {
    const app::MeasuredProfile& measured = *measured_on.at(device).measured;
    out["measured"][name] = {{"p50_us", us(measured.points[0].p50)},
                             {"p99_us", us(measured.points[0].p99)},
                             {"contention", measured.contention},
                             {"batch_overhead_us", us(measured.batch_overhead)},
                             {"request_overhead_us", us(measured.request_overhead)}};
  }
  fmt::print("{}\n", out.dump());
  return 0;
}

}  // namespace
}  // namespace takt::bench

int main(int argc, char** argv) {
  // worker --parent PID: how the supervisor starts this very program.
  if (argc == 4 && std::string(argv[1]) == "worker") {
    takt::ipc::ControlSocket control{takt::ipc::Descriptor(takt::ipc::kControlDescriptor)};
    return takt::worker::run_worker(std::move(control), std::atoi(argv[3]));
  }
  takt::bench::Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--config") options.config = value;
    if (name == "--repository") options.repository = value;
    if (name == "--backend") options.backend = value;
    if (name == "--load") options.load = std::stod(value);
    if (name == "--measure-s") options.measure_s = std::stod(value);
    if (name == "--requests") options.requests = std::stoi(value);
    if (name == "--crops") options.crops = std::stoi(value);
    if (name == "--arrivals") options.camera = value == "camera";
    if (name == "--seed") options.seed = std::stoull(value);
  }
  return takt::bench::run(options);
}
