// SPDX-License-Identifier: Apache-2.0
// The models of a configuration's tasks, loaded into an engine.
// Thread-safe: no; once, at the start.
// Owns: nothing; the engine owns what was loaded.
#pragma once

#include "app/profile_store.h"
#include "config/config.h"
#include "core/result.h"
#include "engine/engine.h"
#include "engine/supervisor.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace takt::app {

// The lanes of a device with `auto` filled in: one for each `threads_per_lane` CPUs that this
// process may use.
[[nodiscard]] int lanes_of(const config::DeviceConfig& device);

// Whether this machine has what the configuration names. Errors: invalid_input, unavailable.
[[nodiscard]] Result<void> check_machine(const config::Config& config);

[[nodiscard]] EngineOptions engine_options(const config::Config& config);

// Where models go: onto threads of the engine, or into workers that look into `inputs`.
struct ModelPlaces {
  Engine& engine;
  Supervisor& supervisor;
  std::shared_ptr<const engine::SharedInputs> inputs;
  // Where profiles of earlier runs are; null: every model is measured anew.
  const ProfileStore* profiles = nullptr;
  Duration profile_time_max = std::chrono::milliseconds(500);  // spent on measuring each, about
};

// A version that serves, and how its profile is stored.
struct LoadedModel {
  ModelId id;
  std::string task;  // the first that runs it
  ProfileKey key;
  StoredProfile stored;  // as it was found, if it was
};

// Loads the model of each named task: finds the version, tries the task's backends in their order
// (a failure of all but the last is a warning), checks the inputs. `report` is told what happens,
// before each model and on warnings, one of them a stored profile that is damaged. Errors: those of repository and worker, "tasks.NAME: ..." in
// front; invalid_input also when two tasks want one model with different preprocessing.
[[nodiscard]] Result<std::vector<LoadedModel>> load_models(
    const config::Config& config, const std::vector<std::string>& tasks, const ModelPlaces& places,
    const std::function<void(const std::string&)>& report);

// What a task's model takes. Its file is read in a process of its own, unless the task runs on
// threads of this one. Errors: those of the repository, unavailable (the reader ended).
[[nodiscard]] Result<ipc::ModelDescription> describe_task_model(const config::Config& config,
                                                                const TaskSpec& task);

// The preprocessing of each of the model's inputs. Errors: invalid_input (an input that the model
// doesn't have, or one that no image feeds).
[[nodiscard]] Result<std::vector<InputPlan>> input_plans(const TaskSpec& task,
                                                         const Signature& signature);

}  // namespace takt::app
