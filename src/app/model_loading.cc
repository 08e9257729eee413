// SPDX-License-Identifier: Apache-2.0
#include "app/model_loading.h"

#include "app/placement.h"
#include "app/plan_folder.h"
#include "backend/image_input.h"
#include "core/suggest.h"
#include "repository/repository.h"
#include "worker/backends.h"
#include "worker/load_runtime.h"
#include "worker/node_placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

namespace takt::app {
namespace {

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

std::size_t bytes_of(const ModelMemory& memory, int instances) {
  return memory.weights_bytes + memory.instance_bytes * static_cast<std::size_t>(instances);
}

// What earlier loads have taken of the device.
std::size_t bytes_taken(const Engine& engine, const std::string& device) {
  std::size_t bytes = 0;
  for (const ModelInfo& model : engine.models()) {
    for (const ReplicaInfo& replica : engine.replicas(model.id)) {
      if (replica.device == device) bytes += bytes_of(replica.memory, replica.instances);
    }
  }
  return bytes;
}

bool has_models(const Engine& engine, const std::string& device) {
  return std::ranges::any_of(engine.models(), [&](const ModelInfo& model) {
    const std::vector<ReplicaInfo> replicas = engine.replicas(model.id);
    return std::ranges::find(replicas, device, &ReplicaInfo::device) != replicas.end();
  });
}

// A model as its tasks want it.
struct Wanted {
  std::vector<const TaskSpec*> tasks;  // those that run it; the first one says how
  ipc::ModelDescription model;
  repository::ModelConfig config;
  std::vector<InputPlan> plans;
  // That it may run on with `backend`, by their place in the file.
  std::vector<std::size_t> devices;
  // The one that is tried, and then the one that it serves on: on every device, so that its results don't depend
  // on that.
  std::string backend;
  std::map<std::size_t, worker::WorkerPlace> places;  // of its worker or threads, once looked for
  LoadedModel loaded;

  [[nodiscard]] const TaskSpec& task() const { return *tasks.front(); }
  [[nodiscard]] PriorityClass priority() const {
    return std::ranges::min(tasks, {}, &TaskSpec::priority)->priority;
  }
  [[nodiscard]] bool is_on(const std::string& device) const {
    return std::ranges::find(loaded.replicas, device, &LoadedReplica::device) !=
           loaded.replicas.end();
  }
};

// Beyond workers.ready_timeout: a large model at several batch sizes.
constexpr Duration kTuningMax = std::chrono::hours(1);

std::string in_words(std::size_t bytes) {
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  return bytes >= kMiB ? fmt::format("{} MiB", bytes / kMiB) : fmt::format("{} bytes", bytes);
}

// Loads each model once on each of its devices, however many tasks run it.
class Loader {
 public:
  Loader(const config::Config& config, const ModelPlaces& places,
         const std::function<void(const std::string&)>& report)
      : config_(config), places_(places), report_(report) {
    for (const config::DeviceConfig& device : config_.devices) {
      DeviceRoom& room = rooms_.emplace_back();
      if (device.memory_bytes_max > 0) room.memory_bytes = device.memory_bytes_max;
      room.taken_bytes = bytes_taken(places_.engine, device.name);
      may_tune_.push_back(!places_.serving || !has_models(places_.engine, device.name));
    }
  }

  Result<void> want(const TaskSpec& task) {
    Result<ipc::ModelDescription> model = describe_task_model(config_, task);
    if (!model) return std::unexpected(std::move(model).error());
    auto listed = repository::list_model(config_.models.repository, task.model);
    if (!listed) return std::unexpected(std::move(listed).error());
    auto plans = input_plans(task, model->signature);
    if (!plans) return std::unexpected(std::move(plans).error());
    if (task.backends.empty()) return fail(ErrorKind::invalid_input, "backends: names none");
    std::vector<std::size_t> devices = devices_with(task, task.backends.front());
    const auto known = std::ranges::find_if(wanted_, [&](const Wanted& wanted) {
      return wanted.model.name == model->name && wanted.model.version == model->version;
    });
    if (known != wanted_.end()) {
      known->tasks.push_back(&task);
      return check_shared(task, *known, *plans, devices);
    }
    wanted_.push_back({.tasks = {&task},
                       .model = std::move(*model),
                       .config = std::move(listed->config),
                       .plans = std::move(*plans),
                       .devices = std::move(devices),
                       .backend = {},
                       .places = {},
                       .loaded = {}});
    return {};
  }

  Result<std::vector<LoadedModel>> load() {
    std::ranges::stable_sort(wanted_, {}, &Wanted::priority);
    for (Wanted& wanted : wanted_) {
      if (Result<void> placed = place_first(wanted); !placed) {
        return std::unexpected(std::move(placed).error().within("tasks." + wanted.task().name));
      }
    }
    if (Result<void> placed = place_further(); !placed) {
      return std::unexpected(std::move(placed).error());
    }
    std::vector<LoadedModel> models;
    for (Wanted& wanted : wanted_) {
      const auto info = places_.engine.find(wanted.model.name, wanted.model.version);
      if (!info) return std::unexpected(info.error());
      wanted.loaded.config = complete_config(std::move(wanted.config), info->signature);
      models.push_back(std::move(wanted.loaded));
    }
    return models;
  }

 private:
  static Result<void> check_shared(const TaskSpec& task, const Wanted& known,
                                   const std::vector<InputPlan>& plans,
                                   const std::vector<std::size_t>& devices) {
    const bool same_plans = std::ranges::equal(known.plans, plans, &same_preprocess);
    if (same_plans && known.devices == devices) return {};
    return fail(ErrorKind::invalid_input,
                "another task runs model '" + task.model + "' with different " +
                    (same_plans ? "devices" : "preprocessing") +
                    "; give both the same, or put a copy of the model into the repository under "
                    "another name");
  }

  [[nodiscard]] std::vector<std::size_t> devices_with(const TaskSpec& task,
                                                      const std::string& backend) const {
    std::vector<std::size_t> devices;
    for (const config::DeviceConfig* device : devices_of(config_, task, backend)) {
      devices.push_back(static_cast<std::size_t>(device - config_.devices.data()));
    }
    return devices;
  }

  Result<void> place_first(Wanted& wanted) {
    const TaskSpec& task = wanted.task();
    for (auto backend = task.backends.begin();; ++backend) {
      wanted.backend = *backend;
      wanted.devices = devices_with(task, *backend);
      Result<std::size_t> device = load_first(wanted);
      if (device) return take_room(wanted, *device);
      const auto next = std::next(backend);
      if (next == task.backends.end()) return std::unexpected(std::move(device).error());
      report_(fmt::format("warning: tasks.{}: {}: {}; trying the next backend, {}{}", task.name,
                          *backend, device.error().message, *next,
                          change_of_device(wanted, *next)));
    }
  }

  // " on device 'cpu'", where a model leaves the devices that it was meant for.
  [[nodiscard]] std::string change_of_device(const Wanted& wanted, const std::string& next) const {
    const std::vector<std::size_t> devices = devices_with(wanted.task(), next);
    if (devices.empty() || devices == wanted.devices) return {};
    std::vector<std::string> names;
    for (const std::size_t device : devices) names.push_back(config_.devices[device].name);
    return fmt::format(", on device '{}'", fmt::join(names, "' or '"));
  }

  // Returns the device.
  Result<std::size_t> load_first(Wanted& wanted) {
    if (wanted.devices.empty()) return no_device(wanted);
    std::vector<FirstPlace> places;
    places.reserve(wanted.devices.size());
    for (const std::size_t device : wanted.devices) {
      places.push_back({device, instances_of(wanted.task(), config_.devices[device])});
    }
    const std::size_t device = device_for_first(rooms_, places);
    if (Result<void> loaded = load_on(wanted, device); !loaded) {
      return std::unexpected(std::move(loaded).error());
    }
    return device;
  }

  [[nodiscard]] static std::unexpected<Error> no_device(const Wanted& wanted) {
    const bool wants_gpu = wanted.backend == "cuda";
    return fail(ErrorKind::invalid_input,
                fmt::format("the backend {} runs on none of its devices; add one of kind {} to "
                            "devices of takt.yaml, such as {}",
                            wanted.backend, wants_gpu ? "cuda" : "cpu",
                            wants_gpu ? "gpu: {kind: cuda}" : "cpu: {kind: cpu}"));
  }

  Result<void> take_room(const Wanted& wanted, std::size_t device) {
    const std::size_t bytes = bytes_on(wanted, device);
    if (!rooms_[device].fits(bytes)) {
      const std::string& name = config_.devices[device].name;
      return fail(
          ErrorKind::out_of_memory,
          fmt::format("takes {} on device '{}', where {} are left, and no other has more room "
                      "for each instance; raise devices.{}.memory, or lower what the task "
                      "needs, such as instances",
                      in_words(bytes), name, left_on(device), name));
    }
    rooms_[device].taken_bytes += bytes;
    return {};
  }

  Result<void> place_further() {
    std::vector<PlacedTask> tasks;
    for (const Wanted& wanted : wanted_) {
      PlacedTask& task = tasks.emplace_back();
      task.priority = wanted.priority();
      task.work = work_of(wanted);
      for (const std::size_t device : wanted.devices) {
        if (wanted.is_on(config_.devices[device].name)) continue;
        task.further.push_back({device, bytes_on(wanted, device)});
      }
    }
    for (const FurtherReplica& replica : further_replicas(rooms_, std::move(tasks))) {
      Wanted& wanted = wanted_[replica.task];
      if (Result<void> loaded = load_on(wanted, replica.device); !loaded) {
        return std::unexpected(std::move(loaded).error().within("tasks." + wanted.task().name));
      }
      rooms_[replica.device].taken_bytes += bytes_on(wanted, replica.device);
    }
    const bool worth_saying = rooms_.size() > 1 || std::ranges::any_of(rooms_, &has_limit);
    for (const Wanted& wanted : wanted_) {
      if (worth_saying) report_(placement_of(wanted));
    }
    return {};
  }

  static bool has_limit(const DeviceRoom& room) { return room.memory_bytes.has_value(); }

  [[nodiscard]] std::string left_on(std::size_t device) const {
    const DeviceRoom& room = rooms_[device];
    return fmt::format("{} of {}", in_words(*room.memory_bytes - room.taken_bytes),
                       in_words(*room.memory_bytes));
  }

  [[nodiscard]] std::string placement_of(const Wanted& wanted) const {
    std::vector<std::string> names;
    std::string without;
    for (const LoadedReplica& replica : wanted.loaded.replicas) names.push_back(replica.device);
    for (const std::size_t device : wanted.devices) {
      const std::string& name = config_.devices[device].name;
      if (wanted.is_on(name)) continue;
      without += fmt::format("; not on {}: it takes {} there, and {} are left", name,
                             in_words(bytes_on(wanted, device)), left_on(device));
    }
    return fmt::format("{} runs on {}{}", wanted.task().name, fmt::join(names, ", "), without);
  }

  // What a replica takes there by what the first one told.
  [[nodiscard]] std::size_t bytes_on(const Wanted& wanted, std::size_t device) const {
    return bytes_of(places_.engine.replicas(wanted.loaded.id).front().memory,
                    instances_of(wanted.task(), config_.devices[device]));
  }

  [[nodiscard]] std::optional<double> work_of(const Wanted& wanted) const {
    const auto profile =
        places_.engine.profile(wanted.loaded.id, wanted.loaded.replicas.front().device);
    if (profile.empty()) return std::nullopt;
    double rate = 0;
    for (const TaskSpec* task : wanted.tasks) {
      const std::optional<double> one = requests_per_second(config_, *task);
      if (!one) return std::nullopt;
      rate += *one;
    }
    return rate * std::chrono::duration<double>(profile.front().p50).count();
  }

  Result<void> load_on(Wanted& wanted, std::size_t device_index) {
    const config::DeviceConfig& device = config_.devices[device_index];
    const TaskSpec& task = wanted.task();
    const ipc::ModelDescription& model = wanted.model;
    const bool several = config_.devices.size() > 1;
    const auto there = [&](Error error) {
      return several ? std::move(error).within("on device '" + device.name + "'") : error;
    };
    const Result<worker::WorkerPlace> place = place_on(device_index, wanted);
    if (!place) return std::unexpected(there(place.error()));
    report_(fmt::format("loading {} version {} on {}{}{}", model.name, model.version,
                        wanted.backend, several ? " for device " + device.name : "",
                        tuning_of(wanted, device_index)));
    LoadedReplica replica{.device = device.name,
                          .key = profile_key(config_, device, task, model.version, wanted.backend),
                          .stored = {}};
    replica.stored = stored_profile(replica.key);
    ModelService service = service_of(task, wanted.config);
    service.learned = replica.stored.learned;
    const Result<ModelId> outcome = task.isolation == Isolation::process
                                        ? load_in_worker(device_index, wanted, service, *place)
                                        : load_here(device_index, wanted, service, *place);
    if (!outcome) return std::unexpected(there(explained(outcome.error(), device)));
    if (task.isolation == Isolation::process) report_worker_notes(task, device);
    wanted.loaded.id = *outcome;
    wanted.loaded.task = task.name;
    if (const auto info = places_.engine.find(model.name, model.version)) {
      replica.stored.batch_max = info->signature.batch_max;
    }
    wanted.loaded.replicas.push_back(std::move(replica));
    return {};
  }

  void report_notes(const TaskSpec& task, const std::vector<std::string>& notes) {
    for (const std::string& note : notes) report_(fmt::format("warning: {}: {}", task.name, note));
  }
  void report_worker_notes(const TaskSpec& task, const config::DeviceConfig& device) {
    for (const engine::WorkerStatus& worker : places_.supervisor.workers()) {
      if (worker.name == task.name && worker.device == device.name)
        report_notes(task, worker.notes);
    }
  }

  // What a person reads while nothing seems to happen.
  [[nodiscard]] const char* tuning_of(const Wanted& wanted, std::size_t device) const {
    const bool tunes = wanted.backend == "cuda" && may_tune_[device];
    return tunes ? " (without a plan in the cache it is tuned first, which takes minutes; takt "
                   "compile does that ahead)"
                 : "";
  }

  // Lines for people while a load takes long.
  [[nodiscard]] LoadProgress progress_of(const std::string& model) const {
    return [this, model, told = SystemClock().now()](std::string_view stage, int done,
                                                     int total) mutable {
      const TimePoint now = SystemClock().now();
      if (now - told < places_.progress_every) return;
      told = now;
      report_(fmt::format("loading {}: {}, {} of {}", model, stage, done, total));
    };
  }

  static bool is_gpu(const config::DeviceConfig& device) {
    return device.kind == config::DeviceKind::cuda;
  }

  static Error explained(Error error, const config::DeviceConfig& device) {
    if (is_gpu(device) && error.kind == ErrorKind::unavailable) {
      error.message += "; takt doctor shows what this machine has for models on GPUs";
    }
    return error;
  }

  StoredProfile stored_profile(const ProfileKey& key) {
    if (places_.profiles == nullptr) return {};
    Result<std::optional<StoredProfile>> stored = places_.profiles->read(key);
    if (!stored) report_("warning: " + stored.error().message);
    return stored && *stored ? std::move(**stored) : StoredProfile{};
  }

  Result<ModelId> load_in_worker(std::size_t device_index, const Wanted& wanted,
                                 const ModelService& service, const worker::WorkerPlace& place) {
    const config::DeviceConfig& device = config_.devices[device_index];
    const TaskSpec& task = wanted.task();
    engine::WorkerSpec spec;
    spec.name = task.name;
    spec.device = device.name;
    spec.load.model = {config_.models.repository, wanted.model.name, wanted.model.version};
    spec.load.backend = wanted.backend;
    spec.load.inputs = wanted.plans;
    spec.load.device = backend_device(device);
    spec.load.may_tune = may_tune_[device_index];
    spec.load.instances = instances_of(task, device);
    spec.load.batch_max = task.batch_max;
    spec.load.threads_per_instance = device.threads_per_lane;
    spec.load.instance_cpus = instance_cpus(task, device, place);
    // A later worker inherits what the gateway keeps to by then (leave_lanes_alone).
    spec.load.cpus = place.cpus.empty() && device.pin ? cpus_of(device) : place.cpus;
    spec.load.numa_node = place.node;
    spec.load.cache_dir = cache_of(wanted.backend, config_.models.cache);
    spec.load.spin = config_.workers.spin;
    // Of the two limits the kernel's counts what is really used.
    const bool by_cgroup = !config_.workers.supervisor.memory.cgroup.empty();
    spec.load.confinement = {config_.workers.sandbox,
                             by_cgroup ? 0 : config_.workers.memory_bytes_max};
    spec.load.profile_time_max = places_.profile_time_max;
    spec.inputs = places_.inputs;
    spec.loading = [tell = progress_of(wanted.model.name)](const ipc::ModelLoading& loading) {
      tell(loading.stage, loading.done, loading.total);
    };
    if (wanted.backend == "cuda" && spec.load.may_tune) spec.tuning_max = kTuningMax;
    if (wanted.loaded.replicas.empty()) {
      return places_.supervisor.add_worker(std::move(spec), service);
    }
    const Result<void> added =
        places_.supervisor.add_replica(wanted.loaded.id, std::move(spec), service.learned);
    if (!added) return std::unexpected(added.error());
    return wanted.loaded.id;
  }

  [[nodiscard]] static int instances_of(const TaskSpec& task, const config::DeviceConfig& device) {
    return task.instances > 0 ? task.instances : lanes_of(device);
  }

  // Each instance keeps to the CPU of the lane that it is at home on. Nothing where instances run on
  // other lanes too (StartBatch in scheduler/event.h) or on a part of the device's CPUs. Where lanes
  // leave the gateway no CPU, those that only clients' tensors reach may use all of them: a short
  // request would wait for the threads that talk to its client.
  [[nodiscard]] static std::vector<std::vector<int>> instance_cpus(
      const TaskSpec& task, const config::DeviceConfig& device, const worker::WorkerPlace& place) {
    const std::vector<int> lanes = tied_cpus(device);
    const auto instances = static_cast<std::size_t>(instances_of(task, device));
    if (lanes.empty() || instances % lanes.size() != 0) return {};
    if (!place.cpus.empty() && place.cpus != cpus_of(device)) return {};
    std::vector<std::vector<int>> cpus;
    const std::vector<int> all = cpus_of(device);
    const bool free = task.inputs.empty() && lanes.size() == all.size();
    for (std::size_t i = 0; i < instances; ++i) {
      cpus.push_back(free ? all : std::vector{lanes[i % lanes.size()]});
    }
    return cpus;
  }

  // A worker is also kept in a NUMA node where it fits; threads of this process stay on the CPUs that
  // their device owns.
  Result<worker::WorkerPlace> place_on(std::size_t device, Wanted& wanted) {
    const auto known = wanted.places.find(device);
    if (known != wanted.places.end()) return known->second;
    Result<worker::WorkerPlace> place = find_place(config_.devices[device], wanted.task());
    if (place) wanted.places.emplace(device, *place);
    return place;
  }

  Result<worker::WorkerPlace> find_place(const config::DeviceConfig& device, const TaskSpec& task) {
    const std::vector<int>& cpus = task.cpus.empty() ? device.cpus : task.cpus;
    const bool in_worker = task.isolation == Isolation::process;
    const bool by_node = device.numa.node && device.cpus.empty();
    if (!in_worker && !by_node) return worker::WorkerPlace{cpus, std::nullopt};
    auto placement = placements_.find(device.name);
    if (placement == placements_.end()) {
      Result<worker::Topology> topology = topology_for(device);
      if (!topology) return std::unexpected(std::move(topology).error());
      placement =
          placements_.emplace(device.name, worker::NodePlacement(std::move(*topology), device.numa))
              .first;
      for (const engine::WorkerStatus& worker : places_.supervisor.workers()) {
        if (worker.device == device.name && worker.numa_node)
          placement->second.occupy(*worker.numa_node, worker.threads);
      }
    }
    Result<worker::WorkerPlace> place =
        placement->second.place(instances_of(task, device) * device.threads_per_lane, cpus);
    if (in_worker && place && place->node) {
      report_(fmt::format("the worker of {} runs on NUMA node {}", task.name, *place->node));
    }
    return place;
  }

  Result<ModelId> load_here(std::size_t device_index, const Wanted& wanted,
                            const ModelService& service, const worker::WorkerPlace& place) {
    Result<Backend*> backend = backend_of(wanted.backend);
    if (!backend) return std::unexpected(backend.error());
    const config::DeviceConfig& device = config_.devices[device_index];
    const TaskSpec& task = wanted.task();
    const Result<repository::ModelVersion> version =
        find_version(config_, task.model, wanted.model.version);
    if (!version) return std::unexpected(version.error());
    worker::RuntimeOptions options;
    options.inputs = wanted.plans;
    options.device = backend_device(device);
    options.may_tune = may_tune_[device_index];
    for (const auto& pool : places_.inputs->pools) options.input_memory.push_back(pool->memory());
    options.instances = instances_of(task, device);
    options.batch_max = task.batch_max;
    options.threads_per_instance = device.threads_per_lane;
    options.cpus = place.cpus;
    options.instance_cpus = instance_cpus(task, device, place);
    options.cache_dir = cache_of(wanted.backend, config_.models.cache);
    options.spin = config_.workers.spin;
    options.profile_time_max = places_.profile_time_max;
    options.progress = progress_of(wanted.model.name);
    Result<ModelRuntime> runtime = worker::load_runtime(**backend, *version, options);
    if (!runtime) return std::unexpected(std::move(runtime).error());
    report_notes(task, runtime->notes);
    runtime->device = device.name;
    if (wanted.loaded.replicas.empty()) {
      return places_.engine.add_model(std::move(*runtime), service);
    }
    const Result<void> added =
        places_.engine.add_replica(wanted.loaded.id, std::move(*runtime), service.learned);
    if (!added) return std::unexpected(added.error());
    return wanted.loaded.id;
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
  std::vector<DeviceRoom> rooms_;                            // of config_.devices
  std::vector<bool> may_tune_;                               // on each of them
  std::map<std::string, worker::NodePlacement> placements_;  // by device, once it has a worker
  std::map<std::string, std::unique_ptr<Backend>> backends_;
  std::vector<Wanted> wanted_;
};

}  // namespace

Result<std::vector<InputPlan>> input_plans(const TaskSpec& task, const Signature& signature) {
  if (task.inputs.empty()) return std::vector<InputPlan>{};
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

ModelService service_of(const TaskSpec& task, const repository::ModelConfig& config) {
  ModelService service;
  service.queue_depth_max = task.queue_depth_max;
  service.queue_bytes_max = static_cast<std::int64_t>(task.queue_bytes_max);
  service.concurrency_max = task.concurrency_max;
  // Lines know their deadlines.
  if (!task.inputs.empty()) return service;
  if (config.dynamic_batching) {
    service.batch_delay_max = config.dynamic_batching->max_queue_delay;
    const int queue_size_max = config.dynamic_batching->queue_size_max;
    if (queue_size_max > 0) service.queue_depth_max = queue_size_max;
  }
  service.class_room = service.queue_depth_max / 8;  // as of server.in_flight_max
  return service;
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
    Result<void> wanted = loader.want(task);
    if (!wanted) return std::unexpected(std::move(wanted).error().within("tasks." + task.name));
  }
  return loader.load();
}

}  // namespace takt::app
