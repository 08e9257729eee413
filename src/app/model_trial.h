// SPDX-License-Identifier: Apache-2.0
// The models of tasks, loaded as a line would, with made-up inputs: for measuring what they take.
// Thread-safe: request() from any thread; the rest is the main thread's.
// Owns: engine, workers and the inputs.
#pragma once

#include "app/model_loading.h"
#include "app/profile_store.h"
#include "config/config.h"
#include "core/result.h"
#include "engine/engine.h"
#include "engine/supervisor.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace takt::app {

class ModelTrial {
 public:
  // `config` has one device: which of several a request would run on isn't for it to say (on_device).
  // Loads the models of the stated tasks; each gets mid-grey images of its model's size. Errors:
  // those of check_machine and load_models, out_of_memory.
  [[nodiscard]] static Result<std::unique_ptr<ModelTrial>> open(
      const config::Config& config, const std::vector<std::string>& tasks,
      const std::function<void(const std::string&)>& report);
  ~ModelTrial();
  ModelTrial(const ModelTrial&) = delete;
  ModelTrial& operator=(const ModelTrial&) = delete;

  [[nodiscard]] Engine& engine() { return *engine_; }
  // Each model once, with the key of its profile.
  [[nodiscard]] const std::vector<LoadedModel>& models() const { return models_; }
  // One row for a task that was named to open().
  [[nodiscard]] InferRequest request(const std::string& task) const;

 private:
  ModelTrial() = default;
  Result<void> make_inputs(const config::Config& config, const TaskSpec& task);
  Result<void> resolve(const TaskSpec& task);

  std::map<std::string, InferRequest, std::less<>> requests_;  // by task
  std::shared_ptr<engine::SharedInputs> inputs_ = std::make_shared<engine::SharedInputs>();
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Supervisor> supervisor_;
  std::vector<LoadedModel> models_;
};

// The configuration with that one device, on which every task may run, without its limit on memory.
[[nodiscard]] config::Config on_device(config::Config config, const std::string& device);

struct TrialProgress {
  std::string what;
  double share = 0;  // of the whole measurement
};

// The stored profile of each of the trial's models, with `measured` made anew: first each model
// alone, one request at a time, then all of them at once with every lane busy; about `time_each`
// for each model and again for all together. Worth something on an otherwise idle machine only.
// Errors: what the requests fail with, with the model's name in front.
[[nodiscard]] Result<std::vector<StoredProfile>> measure_models(
    ModelTrial& trial, const config::Config& config, Duration time_each,
    const std::function<void(const TrialProgress&)>& progress);

}  // namespace takt::app
