// SPDX-License-Identifier: Apache-2.0
#include "app/model_loading.h"

#include "backend/image_input.h"
#include "core/suggest.h"
#include "repository/repository.h"
#include "worker/backends.h"
#include "worker/load_runtime.h"
#include "worker/node_placement.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

namespace takt::app {
namespace {

// That this process may use on the device.
std::vector<int> usable_cpus(const config::DeviceConfig& device) {
  if (device.numa.node) {
    const Result<worker::Topology> topology = worker::machine_topology();
    if (topology) {
      const Result<worker::NumaNode> node = worker::find_node(*topology, *device.numa.node);
      if (node) return node->cpus;
    }
  }
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// Unknown only where nothing is to be placed.
Result<worker::Topology> topology_for(const config::DeviceConfig& device) {
  Result<worker::Topology> topology = worker::machine_topology();
  if (!topology && !device.numa.node) return worker::Topology{};
  return topology;
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

Result<repository::ModelVersion> find_version(const config::Config& config,
                                              const std::string& model,
                                              std::optional<std::int64_t> version) {
  Result<repository::ScannedModel> scanned =
      repository::scan_model(config.models.repository, model);
  if (!scanned) return std::unexpected(std::move(scanned).error());
  const std::vector<repository::ScannedModel> models{std::move(*scanned)};
  return repository::find_version(models, model, version);
}

ModelService service_of(const TaskSpec& task) {
  ModelService service;
  service.queue_depth_max = task.queue_depth_max;
  service.queue_bytes_max = static_cast<std::int64_t>(task.queue_bytes_max);
  service.concurrency_max = task.concurrency_max;
  return service;
}

// Loads each model once, however many tasks run it.
class Loader {
 public:
  Loader(const config::Config& config, const ModelPlaces& places,
         const std::function<void(const std::string&)>& report)
      : config_(config), places_(places), report_(report) {}

  Result<void> load(const TaskSpec& task) {
    Result<ipc::ModelDescription> model = describe_task_model(config_, task);
    if (!model) return std::unexpected(std::move(model).error());
    auto plans = input_plans(task, model->signature);
    if (!plans) return std::unexpected(std::move(plans).error());

    const auto key = std::pair(model->name, model->version);
    if (const auto loaded = loaded_.find(key); loaded != loaded_.end()) {
      return check_shared(task, loaded->second, *plans);
    }
    Result<LoadedModel> added = load_on_any_backend(task, *model, *plans);
    if (!added) return std::unexpected(std::move(added).error());
    loaded_.emplace(key, std::move(*plans));
    models_.push_back(std::move(*added));
    return {};
  }

  [[nodiscard]] std::vector<LoadedModel> take_models() { return std::move(models_); }

 private:
  static Result<void> check_shared(const TaskSpec& task, const std::vector<InputPlan>& loaded,
                                   const std::vector<InputPlan>& wanted) {
    if (std::ranges::equal(loaded, wanted, &same_preprocess)) return {};
    return fail(ErrorKind::invalid_input,
                "another task runs model '" + task.model +
                    "' with different preprocessing; give both the same, or put a copy of the "
                    "model into the repository under another name");
  }

  Result<LoadedModel> load_on_any_backend(const TaskSpec& task, const ipc::ModelDescription& model,
                                          const std::vector<InputPlan>& plans) {
    Result<worker::WorkerPlace> place;
    if (task.isolation == Isolation::process) place = place_worker(task);
    if (!place) return std::unexpected(std::move(place).error());
    Result<ModelId> outcome = fail(ErrorKind::invalid_input, "backends: names none");
    for (const std::string& backend : task.backends) {
      report_(fmt::format("loading {} version {} on {}", model.name, model.version, backend));
      LoadedModel loaded{.id = {},
                         .task = task.name,
                         .key = profile_key(config_, task, model.version, backend),
                         .stored = {}};
      loaded.stored = stored_profile(loaded.key);
      ModelService service = service_of(task);
      service.learned = loaded.stored.learned;
      outcome = task.isolation == Isolation::process
                    ? load_in_worker(backend, task, model, plans, service, *place)
                    : load_here(backend, task, model, plans, service);
      if (outcome) {
        loaded.id = *outcome;
        if (const auto info = places_.engine.find(model.name, model.version)) {
          loaded.stored.batch_max = info->signature.batch_max;
        }
        return loaded;
      }
      if (&backend != &task.backends.back()) {
        report_(fmt::format("warning: tasks.{}: {}: {}; trying the next backend", task.name,
                            backend, outcome.error().message));
      }
    }
    return std::unexpected(std::move(outcome).error());
  }

  StoredProfile stored_profile(const ProfileKey& key) {
    if (places_.profiles == nullptr) return {};
    Result<std::optional<StoredProfile>> stored = places_.profiles->read(key);
    if (!stored) report_("warning: " + stored.error().message);
    return stored && *stored ? std::move(**stored) : StoredProfile{};
  }

  Result<ModelId> load_in_worker(const std::string& backend, const TaskSpec& task,
                                 const ipc::ModelDescription& model,
                                 const std::vector<InputPlan>& plans, const ModelService& service,
                                 const worker::WorkerPlace& place) {
    const config::DeviceConfig& device = config_.devices.front();
    engine::WorkerSpec spec;
    spec.name = task.name;
    spec.load.model = {config_.models.repository, model.name, model.version};
    spec.load.backend = backend;
    spec.load.inputs = plans;
    spec.load.device = device.name;
    spec.load.instances = instances_of(task);
    spec.load.batch_max = task.batch_max;
    spec.load.threads_per_instance = device.threads_per_lane;
    spec.load.cpus = place.cpus;
    spec.load.instance_cpus = instance_cpus(task);
    spec.load.numa_node = place.node;
    spec.load.cache_dir = config_.models.cache;
    spec.load.spin = config_.workers.spin;
    // Of the two limits the kernel's counts what is really used.
    const bool by_cgroup = !config_.workers.supervisor.memory.cgroup.empty();
    spec.load.confinement = {config_.workers.sandbox,
                             by_cgroup ? 0 : config_.workers.memory_bytes_max};
    spec.load.profile_time_max = places_.profile_time_max;
    spec.inputs = places_.inputs;
    return places_.supervisor.add_worker(std::move(spec), service);
  }

  [[nodiscard]] int instances_of(const TaskSpec& task) const {
    return task.instances > 0 ? task.instances : lanes_of(config_.devices.front());
  }

  // Each instance keeps to the CPUs of the lane that it is at home on. Nothing where instances run on
  // other lanes too (StartBatch in scheduler/event.h), or on further threads of OpenVINO.
  [[nodiscard]] std::vector<std::vector<int>> instance_cpus(const TaskSpec& task) const {
    const config::DeviceConfig& device = config_.devices.front();
    const int lanes = lanes_of(device);
    const int instances = instances_of(task);
    if (!device.pin || device.threads_per_lane > 1 || !task.cpus.empty() ||
        instances % lanes != 0) {
      return {};
    }
    const auto shares = worker::share_cpus(usable_cpus(device), lanes);
    std::vector<std::vector<int>> cpus;
    for (int i = 0; i < instances && !shares.empty(); ++i) {
      cpus.push_back(shares[static_cast<std::size_t>(i % lanes)]);
    }
    return cpus;
  }

  Result<worker::WorkerPlace> place_worker(const TaskSpec& task) {
    const config::DeviceConfig& device = config_.devices.front();
    if (!placement_) {
      Result<worker::Topology> topology = topology_for(device);
      if (!topology) return std::unexpected(std::move(topology).error());
      placement_.emplace(std::move(*topology), device.numa);
    }
    Result<worker::WorkerPlace> place =
        placement_->place(instances_of(task) * device.threads_per_lane, task.cpus);
    if (place && place->node) {
      report_(fmt::format("the worker of {} runs on NUMA node {}", task.name, *place->node));
    }
    return place;
  }

  Result<ModelId> load_here(const std::string& name, const TaskSpec& task,
                            const ipc::ModelDescription& model, const std::vector<InputPlan>& plans,
                            const ModelService& service) {
    Result<Backend*> backend = backend_of(name);
    if (!backend) return std::unexpected(backend.error());
    const Result<repository::ModelVersion> version =
        find_version(config_, task.model, model.version);
    if (!version) return std::unexpected(version.error());
    const config::DeviceConfig& device = config_.devices.front();
    worker::RuntimeOptions options;
    options.inputs = plans;
    options.device = device.name;
    options.instances = instances_of(task);
    options.batch_max = task.batch_max;
    options.threads_per_instance = device.threads_per_lane;
    options.cpus = task.cpus;
    options.instance_cpus = instance_cpus(task);
    options.cache_dir = config_.models.cache;
    options.profile_time_max = places_.profile_time_max;
    Result<ModelRuntime> runtime = worker::load_runtime(**backend, *version, options);
    if (!runtime) return std::unexpected(std::move(runtime).error());
    return places_.engine.add_model(std::move(*runtime), service);
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
  const ModelPlaces& places_;
  const std::function<void(const std::string&)>& report_;
  std::optional<worker::NodePlacement> placement_;  // when the first worker is placed
  std::map<std::string, std::unique_ptr<Backend>> backends_;
  std::map<std::pair<std::string, std::int64_t>, std::vector<InputPlan>> loaded_;
  std::vector<LoadedModel> models_;
};

}  // namespace

int lanes_of(const config::DeviceConfig& device) {
  return device.lanes > 0
             ? device.lanes
             : std::max(1, static_cast<int>(usable_cpus(device).size()) / device.threads_per_lane);
}

Result<void> check_machine(const config::Config& config) {
  if (const auto& cgroup = config.workers.supervisor.memory.cgroup; !cgroup.empty()) {
    if (Result<void> checked = ipc::check_cgroup(cgroup); !checked) {
      return std::unexpected(std::move(checked).error().within("workers.cgroup"));
    }
  }
  for (const config::DeviceConfig& device : config.devices) {
    if (!device.numa.node) continue;
    const Result<worker::Topology> topology = worker::machine_topology();
    if (!topology) return std::unexpected(topology.error());
    const Result<worker::NumaNode> node = worker::find_node(*topology, *device.numa.node);
    if (!node) return std::unexpected(node.error().within("devices." + device.name + ".numa"));
  }
  return {};
}

EngineOptions engine_options(const config::Config& config) {
  EngineOptions options;
  options.devices.clear();
  for (const config::DeviceConfig& device : config.devices) {
    options.devices.push_back({.name = device.name,
                               .lanes = lanes_of(device),
                               .memory_quiet = device.memory_quiet,
                               .batch_gain_min = device.batch_gain_min});
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

Result<ipc::ModelDescription> describe_task_model(const config::Config& config,
                                                  const TaskSpec& task) {
  if (task.isolation == Isolation::process) {
    return describe_model(config.workers.supervisor,
                          {config.models.repository, task.model, task.version});
  }
  Result<repository::ModelVersion> version = find_version(config, task.model, task.version);
  if (!version) return std::unexpected(std::move(version).error());
  return ipc::ModelDescription{version->name, version->version, std::move(version->signature)};
}

Result<std::vector<LoadedModel>> load_models(
    const config::Config& config, const std::vector<std::string>& tasks, const ModelPlaces& places,
    const std::function<void(const std::string&)>& report) {
  Loader loader(config, places, report);
  for (const TaskSpec& task : config.tasks) {
    if (std::ranges::find(tasks, task.name) == tasks.end()) continue;
    Result<void> loaded = loader.load(task);
    if (!loaded) return std::unexpected(std::move(loaded).error().within("tasks." + task.name));
  }
  return loader.take_models();
}

}  // namespace takt::app
