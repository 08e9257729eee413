// SPDX-License-Identifier: Apache-2.0
// The models of a configuration's tasks, loaded into an engine.
// Thread-safe: one load at a time for an engine.
// Owns: nothing; the engine owns what was loaded.
#pragma once

#include "app/devices.h"
#include "app/profile_store.h"
#include "config/config.h"
#include "core/result.h"
#include "engine/engine.h"
#include "engine/supervisor.h"
#include "repository/model_config.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace takt::app {

// Where models go: onto threads of the engine, or into workers that look into `inputs`.
struct ModelPlaces {
  Engine& engine;
  Supervisor& supervisor;
  std::shared_ptr<const engine::SharedInputs> inputs;
  // Where profiles of earlier runs are; null: every model is measured anew.
  const ProfileStore* profiles = nullptr;
  Duration profile_time_max = std::chrono::milliseconds(500);  // spent on measuring each, about
  // Requests come already: nothing is tuned on a device that a model serves on.
  bool serving = false;
  Duration progress_every = std::chrono::seconds(5);  // lines about what a load is at
  // That this process had when it started; its own threads leave lanes alone later, and may be few.
  std::vector<int> cpus{};
};

// A version on one device, and how its profile there is stored.
struct LoadedReplica {
  std::string device;
  ProfileKey key;
  StoredProfile stored;  // as it was found, if it was
};

// A version that serves.
struct LoadedModel {
  ModelId id;
  std::string task;                // the first that runs it
  repository::ModelConfig config;  // completed by what serves
  std::vector<LoadedReplica> replicas;
};

// Loads the model of each named task: finds the version, tries the task's backends in their order
// (a failure of all but the last is a warning), checks the inputs. Each is loaded onto one of the
// devices that its backend runs on (config::devices_of), the most urgent first, and then onto the others, with the
// same backend, as far as the memory goes that earlier loads have left there (app/placement.h). `report` is told what happens,
// before each model, where it runs, and on warnings, one of them a stored profile that is damaged.
// What was loaded before an error still serves. Errors: those of repository and worker,
// "tasks.NAME: ..." in front, and the device where there are several; invalid_input also when two
// tasks want one model with different preprocessing or devices; out_of_memory (a device's memory is
// too small for it).
[[nodiscard]] Result<std::vector<LoadedModel>> load_models(
    const config::Config& config, const std::vector<std::string>& tasks, const ModelPlaces& places,
    const std::function<void(const std::string&)>& report);

// What a task's model takes. Its file is read in a process of its own, unless the task runs on
// threads of this one. Errors: those of the repository, unavailable (the reader ended).
[[nodiscard]] Result<ipc::ModelDescription> describe_task_model(const config::Config& config,
                                                                const TaskSpec& task);

// What the task may take of its model. For requests that bring finished tensors, the model's own
// configuration says how long a batch may wait for company.
[[nodiscard]] ModelService service_of(const TaskSpec& task, const repository::ModelConfig& config);

// The preprocessing of each of the model's inputs; none for a task without inputs, whose requests
// bring finished tensors. Errors: invalid_input (an input that the model doesn't have, or one that
// no image feeds).
[[nodiscard]] Result<std::vector<InputPlan>> input_plans(const TaskSpec& task,
                                                         const Signature& signature);

}  // namespace takt::app
