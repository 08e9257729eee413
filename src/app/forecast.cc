// SPDX-License-Identifier: Apache-2.0
#include "app/forecast.h"

#include "app/model_loading.h"
#include "scheduler/simulator.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace takt::app {
namespace {

using config::may_run_on;
using scheduler::ArrivalPattern;
using scheduler::kDevicesMax;
using scheduler::ProfilePoint;
using scheduler::SimulatedModel;

const TaskSpec& find_task(const config::Config& config, const std::string& name) {
  return *std::ranges::find(config.tasks, name, &TaskSpec::name);
}

int requests_of(const TaskSpec& task, int crops) {
  if (!task.crop) return 1;
  return crops > 0 ? std::min(crops, task.crop->crops_max) : task.crop->crops_max;
}

// What the scheduler begins with, as after loading.
std::vector<LatencyPoint> loaded_points(const StoredProfile& profile) {
  std::vector<LatencyPoint> points;
  for (const ProfilePoint& point : profile.measured ? profile.measured->points : profile.learned) {
    points.push_back({point.batch, point.p50, point.p99});
  }
  return scheduler::merge_profile(points, profile.learned);
}

// What the batches really take: as they were measured alone, slowed by busy lanes; or without that,
// as they were learned under whatever load there was.
scheduler::DeviceTimes times_of(const StoredProfile& profile) {
  scheduler::DeviceTimes real;
  const std::vector<ProfilePoint>& points =
      profile.measured ? profile.measured->points : profile.learned;
  for (const ProfilePoint& point : points) {
    if (!point.window.empty()) real.samples.push_back({point.batch, point.window});
  }
  real.times =
      real.samples.empty() ? scheduler::ExecutionTimes::around : scheduler::ExecutionTimes::sampled;
  if (!profile.measured) return real;
  real.contention = profile.measured->contention;
  real.batch_overhead = profile.measured->batch_overhead;
  return real;
}

// Of one row, on a busy device.
Duration busy_time(const StoredProfile& profile) {
  const std::vector<ProfilePoint>& points =
      profile.measured ? profile.measured->points : profile.learned;
  const ProfilePoint& point = points.front();
  auto mean = static_cast<double>(point.p50.count());
  if (!point.window.empty()) {
    const Duration sum = std::reduce(point.window.begin(), point.window.end());
    mean = static_cast<double>(sum.count()) / static_cast<double>(point.window.size());
  }
  if (!profile.measured) return Duration(static_cast<std::int64_t>(mean));
  return Duration(static_cast<std::int64_t>(mean * profile.measured->contention)) +
         profile.measured->batch_overhead;
}

// The order of a line's tasks with each parent before its children. Errors: invalid_input.
Result<std::vector<const TaskSpec*>> in_stages(const config::Config& config,
                                               const line::LineConfig& line) {
  std::vector<const TaskSpec*> left;
  for (const std::string& name : line.tasks) left.push_back(&find_task(config, name));
  std::vector<const TaskSpec*> ordered;
  while (!left.empty()) {
    const auto ready = std::ranges::find_if(left, [&](const TaskSpec* task) {
      return !task->crop ||
             std::ranges::find(ordered, task->crop->from_task,
                               [](const TaskSpec* t) { return t->name; }) != ordered.end();
    });
    if (ready == left.end()) {
      return fail(ErrorKind::invalid_input, "lines." + line.name + ".tasks: the cascade of task '" +
                                                left.front()->name + "' goes in a circle");
    }
    ordered.push_back(*ready);
    left.erase(ready);
  }
  return ordered;
}

class Planner {
 public:
  Planner(const PlanRequest& request, int devices)
      : request_(request), config_(request.config), devices_(devices) {}

  Result<Forecast> run() {
    if (devices_ < 1 || devices_ > kDevicesMax) {
      return fail(ErrorKind::invalid_input,
                  fmt::format("{} devices; expected 1 to {}", devices_, kDevicesMax));
    }
    workload_.seed = request_.seed;
    workload_.requests_max = UINT64_MAX;
    for (int i = 0; i < devices_; ++i) {
      workload_.options.devices.push_back(
          {.lanes = lanes_of(device(i)), .batch_gain_min = device(i).batch_gain_min});
    }
    for (const std::string& name : planned_tasks(config_, request_.recorded)) {
      if (Result<void> added = add_model(find_task(config_, name)); !added) {
        return std::unexpected(std::move(added).error());
      }
    }
    if (Result<void> made =
            request_.arrivals == PlanArrivals::recorded ? add_recorded() : add_lines();
        !made) {
      return std::unexpected(std::move(made).error());
    }
    // The scheduler is told to stop long after the last arrival, so that nothing is cut short.
    workload_.duration = time_ + std::chrono::hours(1);
    const Result<scheduler::SimulationResult> result = scheduler::simulate(workload_);
    if (!result) return std::unexpected(result.error());
    return summed(*result);
  }

 private:
  Result<void> add_model(const TaskSpec& task) {
    const auto key = std::pair(task.model, task.version.value_or(0));
    if (const auto known = models_.find(key); known != models_.end()) {
      model_of_task_.emplace(task.name, known->second);
      return {};
    }
    const ModelId id{static_cast<std::uint32_t>(workload_.models.size())};
    SimulatedModel model;
    for (int i = 0; i < devices_; ++i) {
      if (!may_run_on(task, device(i))) continue;
      const StoredProfile* const profile = profile_of(task.name, device(i).name);
      if (profile == nullptr) {
        return fail(ErrorKind::invalid_input,
                    "tasks." + task.name + ": no profile on device '" + device(i).name + "'");
      }
      add_replica(model, id, task, i, *profile);
    }
    if (model.added.instances.empty()) {
      return fail(ErrorKind::invalid_input,
                  fmt::format("tasks.{}.devices: names none of {} device{}; plan with more, or "
                              "leave it out",
                              task.name, devices_, devices_ == 1 ? "" : "s"));
    }
    workload_.models.push_back(std::move(model));
    models_.emplace(key, id);
    model_of_task_.emplace(task.name, id);
    return {};
  }

  [[nodiscard]] const config::DeviceConfig& device(int index) const {
    return config_.devices[std::min(static_cast<std::size_t>(index), config_.devices.size() - 1)];
  }

  // Null: there is none, or nothing in it.
  [[nodiscard]] const StoredProfile* profile_of(const std::string& task,
                                                const std::string& device_name) const {
    const auto stored = request_.profiles.find(task);
    if (stored == request_.profiles.end()) return nullptr;
    const auto there = stored->second.find(device_name);
    if (there == stored->second.end()) return nullptr;
    const StoredProfile& profile = there->second;
    return profile.measured || !profile.learned.empty() ? &profile : nullptr;
  }

  void add_replica(SimulatedModel& model, ModelId id, const TaskSpec& task, int index,
                   const StoredProfile& profile) {
    const DeviceId device_id{static_cast<std::uint32_t>(index)};
    scheduler::DeviceTimes real = times_of(profile);
    if (!model.added.instances.empty()) {
      model.replicas.push_back({.model = id,
                                .device = device_id,
                                .instances = instances(task, index),
                                .profile = loaded_points(profile)});
      model.replica_times.push_back(std::move(real));
      return;
    }
    model.added.model = id;
    model.added.device = device_id;
    model.added.instances = instances(task, index);
    model.added.limits = {.batch_max = profile.batch_max,
                          .queue_depth_max = task.queue_depth_max,
                          .concurrency_max = task.concurrency_max};
    model.added.profile = loaded_points(profile);
    model.times = real.times;
    model.samples = std::move(real.samples);
    model.contention = real.contention;
    model.batch_overhead = real.batch_overhead;
    if (profile.measured) model.request_overhead = profile.measured->request_overhead;
  }

  std::vector<InstanceId> instances(const TaskSpec& task, int index) {
    const int count = task.instances > 0
                          ? task.instances
                          : workload_.options.devices[static_cast<std::size_t>(index)].lanes;
    std::vector<InstanceId> ids;
    for (int i = 0; i < count; ++i) ids.push_back(InstanceId{instances_++});
    return ids;
  }

  Result<void> add_recorded() {
    std::map<std::pair<std::size_t, std::size_t>, std::size_t> streams;  // by task and line
    for (const RecordedArrival& arrival : request_.recorded) {
      const auto [place, is_new] =
          streams.emplace(std::pair(arrival.task, arrival.line), streams.size());
      if (is_new) {
        const TaskSpec& task = config_.tasks[arrival.task];
        const line::LineConfig& line = config_.lines[arrival.line].line;
        scheduler::ArrivalProcess& process = workload_.arrivals.emplace_back();
        process.model = model_of_task_.at(task.name);
        process.priority = task.priority;
        process.pattern = ArrivalPattern::listed;
        process.deadline_min = process.deadline_max = request_deadline(task, line);
        process.flow = line.flow;
        stream_tasks_.push_back(task.name);
      }
      workload_.arrivals[place->second].listed.push_back({arrival.at, arrival.rows});
    }
    time_ = request_.recorded.back().at;
    return {};
  }

  Result<void> add_lines() {
    Result<std::vector<double>> rates = line_rates();
    if (!rates) return std::unexpected(std::move(rates).error());
    double requests_per_second = 0;
    for (std::size_t i = 0; i < config_.lines.size(); ++i) {
      requests_per_second += (*rates)[i] * requests_a_frame(config_.lines[i].line);
    }
    const double seconds = static_cast<double>(request_.requests) / requests_per_second;
    time_ = Duration(static_cast<std::int64_t>(seconds * 1e9));
    for (std::size_t i = 0; i < config_.lines.size(); ++i) {
      const line::LineConfig& line = config_.lines[i].line;
      const Result<std::vector<const TaskSpec*>> tasks = in_stages(config_, line);
      if (!tasks) return std::unexpected(tasks.error());
      scheduler::FrameProcess& process = workload_.frames.emplace_back();
      process.pattern = request_.arrivals == PlanArrivals::poisson ? ArrivalPattern::poisson
                                                                   : ArrivalPattern::periodic;
      process.interval = Duration(static_cast<std::int64_t>(1e9 / (*rates)[i]));
      // Cameras aren't in step.
      process.phase = process.interval * static_cast<std::int64_t>(i) /
                      static_cast<std::int64_t>(config_.lines.size());
      process.deadline = request_deadline({}, line);
      process.flow = line.flow;
      process.frames_max =
          std::max<std::uint64_t>(1, static_cast<std::uint64_t>(seconds * (*rates)[i]));
      for (const TaskSpec* task : *tasks) process.stages.push_back(stage_of(*task, *tasks));
    }
    return {};
  }

  scheduler::FrameStage stage_of(const TaskSpec& task, const std::vector<const TaskSpec*>& tasks) {
    scheduler::FrameStage stage{.model = model_of_task_.at(task.name),
                                .priority = task.priority,
                                .requests = requests_of(task, request_.crops),
                                .deadline = task.deadline};
    if (task.crop) {
      const auto parent =
          std::ranges::find(tasks, task.crop->from_task, [](const TaskSpec* t) { return t->name; });
      stage.parent = static_cast<std::size_t>(parent - tasks.begin());
    }
    stream_tasks_.push_back(task.name);
    return stage;
  }

  [[nodiscard]] double requests_a_frame(const line::LineConfig& line) const {
    double sum = 0;
    for (const std::string& name : line.tasks) {
      sum += requests_of(find_task(config_, name), request_.crops);
    }
    return sum;
  }

  // Frames a second of each line.
  [[nodiscard]] Result<std::vector<double>> line_rates() const {
    std::vector<double> rates;
    double lanes_needed = 0;
    double lanes = 0;
    for (const config::DeviceConfig& configured : config_.devices) lanes += lanes_of(configured);
    for (const config::LineEntry& entry : config_.lines) {
      rates.push_back(config::frames_per_second(entry.source));
      if (rates.back() <= 0 && !request_.load) {
        return fail(ErrorKind::invalid_input,
                    "lines." + entry.line.name +
                        ".source: has no rate; set one, such as rate: 4/s, or give --load or "
                        "--arrivals FILE");
      }
      if (rates.back() <= 0) rates.back() = 1;
      for (const std::string& name : entry.line.tasks) {
        const TaskSpec& task = find_task(config_, name);
        lanes_needed += rates.back() * requests_of(task, request_.crops) * lane_seconds(name);
      }
    }
    if (!request_.load) return rates;
    const double scale = *request_.load * lanes / lanes_needed;
    for (double& rate : rates) rate *= scale;
    return rates;
  }

  // That one request of the task holds a busy lane for, on average over its devices.
  [[nodiscard]] double lane_seconds(const std::string& name) const {
    const ModelId id = model_of_task_.at(name);
    // Tasks that share a model share the profile of the first one.
    const auto profiles = std::ranges::find_if(request_.profiles, [&](const auto& each) {
      const auto model = model_of_task_.find(each.first);
      return model != model_of_task_.end() && model->second == id;
    });
    double sum = 0;
    for (const auto& [device_name, profile] : profiles->second)
      sum += std::chrono::duration<double>(busy_time(profile)).count();
    return sum / static_cast<double>(profiles->second.size());
  }

  Forecast summed(const scheduler::SimulationResult& result) const {
    Forecast forecast;
    forecast.devices = devices_;
    forecast.time = time_;
    std::map<std::string, std::vector<Duration>> latencies;
    for (std::size_t i = 0; i < result.streams.size(); ++i) {
      const scheduler::StreamResult& stream = result.streams[i];
      const std::string& name = stream_tasks_[i];
      auto task = std::ranges::find(forecast.tasks, name, &LatencyForecast::name);
      if (task == forecast.tasks.end()) {
        task = forecast.tasks.insert(task, LatencyForecast{.name = name});
      }
      task->count += stream.offered;
      task->missed += stream.offered - stream.in_time;
      std::vector<Duration>& all = latencies[name];
      all.insert(all.end(), stream.latencies.begin(), stream.latencies.end());
    }
    forecast.holds = true;
    for (LatencyForecast& task : forecast.tasks) {
      scheduler::StreamResult all{.latencies = std::move(latencies[task.name])};
      std::ranges::sort(all.latencies);
      set_quantiles(task, all);
      forecast.holds &= task.miss_share() <= request_.miss_share_max;
    }
    for (std::size_t i = 0; i < result.frames.size(); ++i) {
      LatencyForecast& line = forecast.lines.emplace_back();
      line.name = config_.lines[i].line.name;
      line.count = result.frames[i].offered;
      line.missed = result.frames[i].missed;
      set_quantiles(line, result.frames[i]);
      forecast.holds &= line.miss_share() <= request_.miss_share_max;
    }
    for (int i = 0; i < devices_; ++i) {
      const double lane_time = static_cast<double>(std::max(time_, Duration(1)).count()) *
                               workload_.options.devices[static_cast<std::size_t>(i)].lanes;
      const Duration executed = result.lane_time[static_cast<std::size_t>(i)];
      forecast.names.push_back(device(i).name);
      forecast.utilisation.push_back(static_cast<double>(executed.count()) / lane_time);
      // Without deadlines nothing is missed, but the queue grows for ever.
      forecast.holds &= forecast.utilisation.back() <= 1.0 || time_ == Duration{};
    }
    return forecast;
  }

  template <typename R>
  static void set_quantiles(LatencyForecast& into, const R& result) {
    into.p50 = result.latency_quantile(0.5);
    into.p99 = result.latency_quantile(0.99);
    into.p999 = result.latency_quantile(0.999);
  }

  const PlanRequest& request_;
  const config::Config& config_;
  const int devices_;
  scheduler::Workload workload_;
  Duration time_{};
  std::uint32_t instances_ = 0;
  std::map<std::pair<std::string, std::int64_t>, ModelId> models_;
  std::map<std::string, ModelId> model_of_task_;
  std::vector<std::string> stream_tasks_;  // of each stream of the result
};

}  // namespace

double LatencyForecast::miss_share() const noexcept {
  return count == 0 ? 0 : static_cast<double>(missed) / static_cast<double>(count);
}

std::vector<std::string> planned_tasks(const config::Config& config,
                                       const std::vector<RecordedArrival>& recorded) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < config.tasks.size(); ++i) {
    const std::string& name = config.tasks[i].name;
    const bool planned =
        recorded.empty()
            ? std::ranges::any_of(config.lines,
                                  [&](const config::LineEntry& entry) {
                                    const auto& tasks = entry.line.tasks;
                                    return std::ranges::find(tasks, name) != tasks.end();
                                  })
            : std::ranges::any_of(recorded, [i](const auto& arrival) { return arrival.task == i; });
    if (planned) names.push_back(name);
  }
  return names;
}

int devices_min(const config::Config& config, const std::vector<std::string>& tasks) {
  std::size_t needed = 1;
  for (const std::string& name : tasks) {
    const auto first = std::ranges::find_if(config.devices, [&](const auto& device) {
      return may_run_on(find_task(config, name), device);
    });
    needed = std::max(needed, static_cast<std::size_t>(first - config.devices.begin()) + 1);
  }
  return static_cast<int>(needed);
}

Duration request_deadline(const TaskSpec& task, const line::LineConfig& line) {
  Duration deadline{};
  if (line.deadline) deadline = *line.deadline - std::min(line.verdict_margin, *line.deadline / 10);
  if (task.deadline <= Duration{}) return deadline;
  return deadline > Duration{} ? std::min(deadline, task.deadline) : task.deadline;
}

Result<Forecast> forecast(const PlanRequest& request, int devices) {
  return Planner(request, devices).run();
}

}  // namespace takt::app
