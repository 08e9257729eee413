// SPDX-License-Identifier: Apache-2.0
#include "app/model_loading.h"

#include "backend/image_input.h"
#include "core/suggest.h"
#include "repository/repository.h"
#include "worker/backends.h"
#include "worker/load_runtime.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

namespace takt::app {
namespace {

int usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

bool same_preprocess(const InputPlan& a, const InputPlan& b) {
  if (a.name != b.name || a.image.has_value() != b.image.has_value()) return false;
  if (!a.image) return true;
  const auto key = [](const ImagePreprocess& image) {
    return std::tie(image.color, image.fit, image.pad_value, image.scale, image.mean, image.stddev,
                    image.channels_last);
  };
  return key(*a.image) == key(*b.image);
}

// The images that a task feeds into an input must fill its channels exactly.
Result<void> check_images(const TaskSpec& task, const TaskInput& input, const TensorSpec& spec) {
  const Result<ImageInput> resolved = resolve_image_input(task.preprocess, spec);
  if (!resolved) return std::unexpected(resolved.error());
  if (std::cmp_equal(input.images.size(), resolved->image_count)) return {};
  return fail(ErrorKind::invalid_input,
              fmt::format("inputs: input '{}' of model '{}' has {} channels, which takes {} images "
                          "of color {}; the task feeds {} ({})",
                          spec.name, task.model, resolved->staged.channels, resolved->image_count,
                          to_string(task.preprocess.color), input.images.size(),
                          fmt::join(input.images, ", ")));
}

class Loader {
 public:
  Loader(const config::Config& config, Engine& engine,
         const std::function<void(const std::string&)>& report)
      : config_(config), engine_(engine), report_(report) {}

  Result<void> load(const TaskSpec& task) {
    const auto scanned = repository::scan_model(config_.models.repository, task.model);
    if (!scanned) return std::unexpected(scanned.error());
    const std::vector<repository::ScannedModel> models{*scanned};
    const auto version = repository::find_version(models, task.model, task.version);
    if (!version) return std::unexpected(version.error());
    auto plans = input_plans(task, version->signature);
    if (!plans) return std::unexpected(std::move(plans).error());

    const auto key = std::pair(version->name, version->version);
    if (const auto loaded = loaded_.find(key); loaded != loaded_.end()) {
      return check_shared(task, loaded->second, *plans);
    }
    if (Result<void> added = load_on_any_backend(task, *version, *plans); !added) return added;
    loaded_.emplace(key, std::move(*plans));
    return {};
  }

 private:
  static Result<void> check_shared(const TaskSpec& task, const std::vector<InputPlan>& loaded,
                                   const std::vector<InputPlan>& wanted) {
    if (std::ranges::equal(loaded, wanted, &same_preprocess)) return {};
    return fail(ErrorKind::invalid_input,
                "another task runs model '" + task.model +
                    "' with different preprocessing; give both the same, or put a copy of the "
                    "model into the repository under another name");
  }

  Result<void> load_on_any_backend(const TaskSpec& task, const repository::ModelVersion& version,
                                   const std::vector<InputPlan>& plans) {
    Result<void> outcome = fail(ErrorKind::invalid_input, "backends: names none");
    for (const std::string& backend : task.backends) {
      report_(fmt::format("loading {} version {} on {}", version.name, version.version, backend));
      outcome = load_on(backend, task, version, plans);
      if (outcome) return outcome;
      if (&backend != &task.backends.back()) {
        report_(fmt::format("warning: tasks.{}: {}: {}; trying the next backend", task.name,
                            backend, outcome.error().message));
      }
    }
    return outcome;
  }

  Result<void> load_on(const std::string& name, const TaskSpec& task,
                       const repository::ModelVersion& version,
                       const std::vector<InputPlan>& plans) {
    Result<Backend*> backend = backend_of(name);
    if (!backend) return std::unexpected(backend.error());
    const config::DeviceConfig& device = config_.devices.front();
    worker::RuntimeOptions options;
    options.inputs = plans;
    options.device = device.name;
    options.instances = task.instances > 0 ? task.instances : lanes_of(device);
    options.batch_max = task.batch_max;
    options.threads_per_instance = device.threads_per_lane;
    options.cache_dir = config_.models.cache;
    Result<ModelRuntime> runtime = worker::load_runtime(**backend, version, options);
    if (!runtime) return std::unexpected(std::move(runtime).error());
    const Result<ModelId> added = engine_.add_model(std::move(*runtime));
    if (!added) return std::unexpected(added.error());
    return {};
  }

  // A backend lives as long as the loading; loaded models keep what they need of it.
  Result<Backend*> backend_of(const std::string& name) {
    std::unique_ptr<Backend>& backend = backends_[name];
    if (backend == nullptr) {
      Result<std::unique_ptr<Backend>> made = worker::make_backend(name);
      if (!made) return std::unexpected(made.error());
      backend = std::move(*made);
    }
    return backend.get();
  }

  const config::Config& config_;
  Engine& engine_;
  const std::function<void(const std::string&)>& report_;
  std::map<std::string, std::unique_ptr<Backend>> backends_;
  std::map<std::pair<std::string, std::int64_t>, std::vector<InputPlan>> loaded_;
};

}  // namespace

int lanes_of(const config::DeviceConfig& device) {
  return device.lanes > 0 ? device.lanes : std::max(1, usable_cpus() / device.threads_per_lane);
}

EngineOptions engine_options(const config::Config& config) {
  EngineOptions options;
  options.devices.clear();
  for (const config::DeviceConfig& device : config.devices) {
    options.devices.push_back({.name = device.name, .lanes = lanes_of(device)});
  }
  return options;
}

Result<std::vector<InputPlan>> input_plans(const TaskSpec& task, const Signature& signature) {
  std::vector<std::string> names;
  names.reserve(signature.inputs.size());
  for (const TensorSpec& spec : signature.inputs) names.push_back(spec.name);
  if (task.inputs.size() != names.size()) {
    return fail(ErrorKind::invalid_input,
                fmt::format("inputs: feeds {} of the {} inputs of model '{}' ({})",
                            task.inputs.size(), names.size(), task.model, fmt::join(names, ", ")));
  }
  std::vector<InputPlan> plans;
  for (std::size_t i = 0; i < task.inputs.size(); ++i) {
    const std::string& wanted = task.inputs[i].tensor.empty() ? names[i] : task.inputs[i].tensor;
    const auto spec = std::ranges::find(signature.inputs, wanted, &TensorSpec::name);
    if (spec == signature.inputs.end()) {
      return fail(ErrorKind::invalid_input, "inputs: model '" + task.model + "' has no input '" +
                                                wanted + "'" + suggestion(wanted, names));
    }
    if (Result<void> fits = check_images(task, task.inputs[i], *spec); !fits) {
      return std::unexpected(std::move(fits).error());
    }
    plans.push_back({.name = wanted, .image = task.preprocess});
  }
  return plans;
}

Result<void> load_models(const config::Config& config, const std::vector<std::string>& tasks,
                         Engine& engine, const std::function<void(const std::string&)>& report) {
  Loader loader(config, engine, report);
  for (const TaskSpec& task : config.tasks) {
    if (std::ranges::find(tasks, task.name) == tasks.end()) continue;
    Result<void> loaded = loader.load(task);
    if (!loaded) return std::unexpected(std::move(loaded).error().within("tasks." + task.name));
  }
  return {};
}

}  // namespace takt::app
