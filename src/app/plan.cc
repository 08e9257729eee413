// SPDX-License-Identifier: Apache-2.0
// `takt plan`: will these lines fit on so many devices?
#include "app/command_run.h"
#include "app/commands.h"
#include "app/forecast.h"
#include "app/model_trial.h"
#include "app/plan_report.h"
#include "app/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace takt::app {
namespace {

// Drawn once something takes longer than a person waits without a sign.
class LateProgress {
 public:
  LateProgress(std::string what, std::uint64_t total) : what_(std::move(what)), total_(total) {}
  void update(std::uint64_t done, const std::string& detail) {
    if (std::chrono::steady_clock::now() - start_ < std::chrono::seconds(2)) return;
    if (!progress_) progress_.emplace(what_, total_);
    progress_->update(done, detail);
  }

 private:
  const std::string what_;
  const std::uint64_t total_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::optional<Progress> progress_;
};

// The tasks of those on the device of `config`, which is its only one.
Result<void> measure_device(const config::Config& config, const std::vector<std::string>& tasks,
                            const PlanOptions& options) {
  Result<std::unique_ptr<ModelTrial>> trial = ModelTrial::open(config, tasks, &report_line);
  if (!trial) return std::unexpected(trial.error());
  LateProgress progress("measuring, %", 100);
  const Duration time(static_cast<std::int64_t>(options.measure_seconds * 1e9));
  const Result<std::vector<StoredProfile>> profiles =
      measure_models(**trial, config, time, [&progress](const TrialProgress& now) {
        progress.update(static_cast<std::uint64_t>(now.share * 100), now.what);
      });
  if (!profiles) return std::unexpected(profiles.error());
  const ProfileStore store(config.models.cache);
  for (std::size_t i = 0; i < profiles->size(); ++i) {
    const LoadedReplica& replica = (*trial)->models()[i].replicas.front();
    if (Result<void> kept = store.write(replica.key, (*profiles)[i]); !kept) return kept;
  }
  return {};
}

// One device after the other, so that none disturbs another.
Result<void> measure(const config::Config& config, const std::vector<std::string>& tasks,
                     const PlanOptions& options) {
  if (config.models.cache.empty()) {
    return fail(ErrorKind::invalid_input,
                "models.cache: none, so that nothing measured can be kept; name a folder there");
  }
  for (const config::DeviceConfig& device : config.devices) {
    std::vector<std::string> there;
    for (const std::string& name : tasks) {
      const auto devices =
          devices_of(config, *std::ranges::find(config.tasks, name, &TaskSpec::name));
      if (std::ranges::find(devices, &device) != devices.end()) there.push_back(name);
    }
    if (there.empty()) continue;
    if (config.devices.size() > 1) report_line("measuring on device " + device.name);
    if (Result<void> done = measure_device(on_device(config, device.name), there, options); !done) {
      return done;
    }
  }
  return {};
}

// On that device, the profile of the first of the task's backends that has one.
Result<StoredProfile> find_profile(const config::Config& config, const config::DeviceConfig& device,
                                   const TaskSpec& task, const ipc::ModelDescription& model) {
  const ProfileStore store(config.models.cache);
  for (const std::string& backend : task.backends) {
    Result<std::optional<StoredProfile>> stored =
        store.read(profile_key(config, device, task, model.version, backend));
    if (!stored) report_line("warning: " + stored.error().message);
    if (stored && *stored && ((*stored)->measured || !(*stored)->learned.empty())) {
      return std::move(**stored);
    }
  }
  return fail(ErrorKind::unavailable,
              fmt::format("model '{}' version {} has no profile on device '{}' for this "
                          "configuration; measure it with takt plan --measure, or let takt serve "
                          "learn it",
                          task.model, model.version, device.name));
}

// Tasks that share a model share the profile of the first one, as they share its instances.
Result<void> find_profiles(PlanRequest& request) {
  std::map<std::pair<std::string, std::int64_t>, std::string> first;
  for (const std::string& name : planned_tasks(request.config, request.recorded)) {
    const TaskSpec& task = *std::ranges::find(request.config.tasks, name, &TaskSpec::name);
    const auto [known, is_new] =
        first.emplace(std::pair(task.model, task.version.value_or(0)), name);
    if (!is_new) continue;
    const Result<ipc::ModelDescription> model = describe_task_model(request.config, task);
    if (!model) return std::unexpected(model.error().within("tasks." + name));
    for (const config::DeviceConfig* device : devices_of(request.config, task)) {
      Result<StoredProfile> profile = find_profile(request.config, *device, task, *model);
      if (!profile) return std::unexpected(std::move(profile).error().within("tasks." + name));
      request.profiles[name].emplace(device->name, std::move(*profile));
    }
  }
  return {};
}

Result<void> set_arrivals(PlanRequest& request, const std::string& arrivals) {
  if (arrivals == "periodic") return {};
  if (arrivals == "poisson") {
    request.arrivals = PlanArrivals::poisson;
    return {};
  }
  Result<std::vector<RecordedArrival>> recorded = read_arrivals(request.config, arrivals);
  if (!recorded) return std::unexpected(std::move(recorded).error());
  if (request.load) {
    return fail(ErrorKind::invalid_input,
                "--load scales the lines' rates; recorded arrivals have their own times");
  }
  request.arrivals = PlanArrivals::recorded;
  request.recorded = std::move(*recorded);
  return {};
}

std::vector<std::string> notes_of(const PlanRequest& request) {
  std::vector<std::string> notes;
  for (const auto& [task, profiles] : request.profiles) {
    const auto measured = [](const auto& each) { return each.second.measured.has_value(); };
    if (std::ranges::all_of(profiles, measured)) continue;
    notes.push_back("tasks." + task +
                    ": learned while serving; what the engine adds isn't known, and the lanes' "
                    "load was the one at that time: takt plan --measure is surer");
  }
  for (const config::DeviceConfig& device : request.config.devices) {
    if (device.memory_bytes_max == 0) continue;
    notes.push_back("devices." + device.name +
                    ".memory: is not looked at; each task counts as placed on all its devices");
  }
  if (request.crops > 0 || request.arrivals == PlanArrivals::recorded) return notes;
  for (const TaskSpec& task : request.config.tasks) {
    if (!task.crop || !request.profiles.contains(task.name)) continue;
    notes.push_back(
        fmt::format("tasks.{}: {} crops a frame, as crops_max allows; --crops N says "
                    "how many come",
                    task.name, task.crop->crops_max));
  }
  return notes;
}

Result<PlanReport> make_report(const PlanRequest& request, const PlanOptions& options) {
  PlanReport report;
  report.miss_max_percent = options.miss_max_percent;
  report.notes = notes_of(request);
  const auto configured = static_cast<int>(request.config.devices.size());
  const int shown = options.devices > 0 ? options.devices : configured;
  Result<Forecast> first = forecast(request, shown);
  if (!first) return std::unexpected(std::move(first).error());
  report.forecast = std::move(*first);
  if (options.devices > 0) return report;
  report.searched = true;
  report.devices_max = options.devices_max;
  LateProgress progress("trying devices", static_cast<std::uint64_t>(options.devices_max));
  const int least = devices_min(request.config, planned_tasks(request.config, request.recorded));
  for (int devices = least; devices <= options.devices_max && !report.devices_needed; ++devices) {
    progress.update(static_cast<std::uint64_t>(devices), {});
    bool holds = report.forecast.holds;
    if (devices != shown) {
      const Result<Forecast> tried = forecast(request, devices);
      if (!tried) return std::unexpected(tried.error());
      holds = tried->holds;
    }
    if (holds) report.devices_needed = devices;
  }
  return report;
}

Result<PlanReport> plan(const config::Config& config, const PlanOptions& options) {
  PlanRequest request;
  request.config = config;
  if (options.load > 0) request.load = options.load;
  request.requests = options.requests;
  request.crops = options.crops;
  request.miss_share_max = options.miss_max_percent / 100;
  request.seed = options.seed;
  if (Result<void> set = set_arrivals(request, options.arrivals); !set) {
    return std::unexpected(std::move(set).error());
  }
  if (options.measure) {
    const std::vector<std::string> tasks = planned_tasks(config, request.recorded);
    if (Result<void> done = measure(config, tasks, options); !done) {
      return std::unexpected(std::move(done).error());
    }
  }
  if (Result<void> found = find_profiles(request); !found) {
    return std::unexpected(std::move(found).error());
  }
  return make_report(request, options);
}

}  // namespace

int run_plan(const PlanOptions& options) {
  const Result<config::Config> config = load_config(options.config);
  if (!config) return report_error(config.error());
  const Result<PlanReport> report = plan(*config, options);
  if (!report) return report_error(report.error());
  fmt::print("{}", options.json ? to_json(*report) : to_table(*report));
  return report->forecast.holds ? kExitOk : kExitFailed;
}

}  // namespace takt::app
