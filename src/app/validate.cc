// SPDX-License-Identifier: Apache-2.0
// `takt validate` and `takt version`.
#include "app/command_run.h"
#include "app/commands.h"
#include "app/gpus.h"
#include "app/model_loading.h"
#include "app/server_host.h"
#include "worker/backends.h"

#include <fmt/format.h>

namespace takt::app {
namespace {

// The task against what the repository says of its model; nothing is loaded. Without GPUs, which is told elsewhere,
// their backend is not looked at.
Result<void> check_task(const config::Config& config, const TaskSpec& task, bool has_gpus) {
  const Result<ipc::ModelDescription> model = describe_task_model(config, task);
  if (!model) return std::unexpected(model.error());
  const auto plans = input_plans(task, model->signature);
  if (!plans) return std::unexpected(plans.error());
  const auto postprocessor = make_postprocessor(task.postprocess, model->signature);
  if (!postprocessor) return std::unexpected(postprocessor.error());
  for (const std::string& backend : task.backends) {
    if (backend == "cuda" && !has_gpus) continue;
    if (const auto made = worker::make_backend(backend); !made) {
      return std::unexpected(made.error());
    }
  }
  return {};
}

}  // namespace

int run_validate(const ValidateOptions& options) {
  Result<config::Config> config = load_config(options.config);
  if (!config) return report_error(config.error());
  bool valid = true;
  if (const Result<void> checked = check_machine(*config); !checked) {
    valid = false;
    report_error(checked.error().within(config->file.string()));
  }
  const Result<void> gpus = check_gpus(*config);
  if (!gpus) {
    valid = false;
    report_error(gpus.error().within(config->file.string()));
  }
  if (const Result<void> checked = check_server(*config); !checked) {
    valid = false;
    report_error(checked.error());
  }
  // The models are looked at outside of it: only a start prepares the group.
  config->workers.supervisor.memory = {};
  for (const TaskSpec& task : config->tasks) {
    if (!options.models) break;
    const Result<void> checked = check_task(*config, task, gpus.has_value());
    if (checked) continue;
    valid = false;
    report_error(checked.error().within(config->file.string() + ": tasks." + task.name));
  }
  if (!valid) return kExitInvalid;
  const std::size_t devices = config->devices.size();
  fmt::print("{}: valid; {}{} tasks, {} lines\n", config->file.string(),
             devices > 1 ? fmt::format("{} devices, ", devices) : "", config->tasks.size(),
             config->lines.size());
  return kExitOk;
}

int run_version() {
  fmt::print("takt {}\n", TAKT_VERSION);
  for (const std::string& name : worker::backend_names()) {
    const auto backend = worker::make_backend(name);
    fmt::print("{} {}\n", name,
               backend ? (*backend)->version() : "not here: " + backend.error().message);
  }
  return kExitOk;
}

}  // namespace takt::app
