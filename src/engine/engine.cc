// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include "core/suggest.h"
#include "engine/dispatcher.h"
#include "engine/model_registry.h"

#include <algorithm>
#include <future>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace takt {
namespace {

Result<void> check_options(const EngineOptions& options) {
  const auto wrong = [](const std::string& what) {
    return fail(ErrorKind::invalid_input, "engine: " + what);
  };
  std::vector<std::string> names;
  for (const DeviceSpec& device : options.devices) {
    if (std::ranges::find(names, device.name) != names.end())
      return wrong("two devices are named '" + device.name + "'; names must differ");
    names.push_back(device.name);
  }
  if (options.inbox_depth_max < 1) return wrong("inbox_depth_max is 0; expected 1 or more");
  if (options.results_held_max < 1)
    return wrong("results_held_max is " + std::to_string(options.results_held_max) +
                 "; expected 1 or more");
  if (options.batch_end_wait_max < Duration{} || options.drain_on_destruction_max < Duration{})
    return wrong("batch_end_wait_max and drain_on_destruction_max must not be negative");
  return {};
}

scheduler::SchedulerOptions scheduler_options(const EngineOptions& options) {
  scheduler::SchedulerOptions result;
  for (const DeviceSpec& device : options.devices)
    result.devices.push_back({.lanes = device.lanes,
                              .memory_quiet = device.memory_quiet,
                              .batch_gain_min = device.batch_gain_min});
  result.background_share_min = options.background_share_min;
  return result;
}

std::shared_ptr<const Clock> clock_of(const EngineOptions& options) {
  if (options.clock == nullptr) return std::make_shared<SystemClock>();
  return {std::shared_ptr<const Clock>(), options.clock};  // the caller's
}

std::string label_of(const ModelRuntime& runtime) {
  return runtime.name + " " + std::to_string(runtime.version);
}

}  // namespace

struct Engine::State {
  State(EngineOptions engine_options, scheduler::Scheduler scheduler)
      : options(std::move(engine_options)),
        shared_clock(clock_of(options)),
        clock(*shared_clock),
        inbox(std::make_shared<engine::Inbox>(options.inbox_depth_max)),
        events(options.observer),
        dispatcher(std::move(scheduler), inbox, counters, events, clock) {}

  // Waits for a drain in steps: `drain_timeout` for what waits, batch_end_wait_max for what runs,
  // then the instances are abandoned, which ends it.
  template <typename T>
  void wait_drained(const std::future<T>& drained, Duration drain_timeout,
                    std::optional<ModelId> model) {
    if (drained.wait_for(drain_timeout) == std::future_status::ready) return;
    inbox->post(engine::HurryUp{model, engine::Hurry::refuse_waiting});
    if (drained.wait_for(options.batch_end_wait_max) == std::future_status::ready) return;
    inbox->post(engine::HurryUp{model, engine::Hurry::abandon_running});
    drained.wait();
  }

  [[nodiscard]] std::optional<DeviceId> find_device(std::string_view name) const {
    const auto found = std::ranges::find(options.devices, name, &DeviceSpec::name);
    if (found == options.devices.end()) return std::nullopt;
    return DeviceId{static_cast<std::uint32_t>(found - options.devices.begin())};
  }

  // Brings the runtime's instances to the scheduler as `came` says, whose model is set.
  Result<void> admit(engine::ModelCame came, ModelRuntime runtime,
                     const std::vector<scheduler::ProfilePoint>& learned) {
    const std::string& label = came.model->label();
    const std::optional<DeviceId> device = find_device(runtime.device);
    if (!device) {
      std::vector<std::string> names;
      names.reserve(options.devices.size());
      for (const DeviceSpec& known : options.devices) names.push_back(known.name);
      return fail(ErrorKind::invalid_input, label + ": no device '" + runtime.device + "'" +
                                                suggestion(runtime.device, names));
    }
    Result<engine::ServedReplicaPtr> replica =
        came.model->make_replica(*device, runtime, options.results_held_max);
    if (!replica) return std::unexpected(std::move(replica.error()));
    came.replica = std::move(*replica);
    came.instances = std::move(runtime.instances);
    came.added.model = came.model->info().id;
    came.added.device = *device;
    came.added.profile = learned.empty() ? std::move(runtime.profile)
                                         : scheduler::merge_profile(runtime.profile, learned);
    const std::string place = label;  // `came` goes
    std::future<engine::Admission> admission = came.admission.get_future();
    if (!inbox->post(std::move(came)))
      return fail(ErrorKind::unavailable, place + ": the engine is stopping");
    if (Result<void> accepted = admission.get().accepted; !accepted)
      return std::unexpected(std::move(accepted.error()).within(place));
    return {};
  }

  // Constant:
  const EngineOptions options;
  const std::shared_ptr<const Clock> shared_clock;  // models may outlive the engine
  const Clock& clock;
  const std::shared_ptr<engine::Counters> counters = std::make_shared<engine::Counters>();
  const std::shared_ptr<engine::Inbox> inbox;

  engine::Events events;
  engine::Dispatcher dispatcher;  // of the thread, until it has ended
  std::thread thread;

  engine::ModelRegistry registry;
  std::atomic<std::uint64_t> requests{0};

  std::mutex add_mutex;  // one add_model at a time; guards models_added
  std::uint32_t models_added = 0;

  std::mutex stop_mutex;  // guards stopped
  bool stopped = false;
};

Result<std::unique_ptr<Engine>> Engine::create(EngineOptions options) {
  if (Result<void> checked = check_options(options); !checked)
    return std::unexpected(std::move(checked.error()));
  Result<scheduler::Scheduler> scheduler = scheduler::Scheduler::create(scheduler_options(options));
  if (!scheduler) return std::unexpected(std::move(scheduler.error()).within("engine"));
  auto state = std::make_unique<State>(std::move(options), std::move(*scheduler));
  try {
    state->thread = std::thread([dispatcher = &state->dispatcher] { dispatcher->run(); });
  } catch (const std::system_error& error) {
    return fail(ErrorKind::unavailable, std::string("engine: no thread to be had: ") +
                                            error.what() + "; raise the limit on threads");
  }
  return std::unique_ptr<Engine>(new Engine(std::move(state)));
}

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}

Engine::~Engine() {
  stop(state_->options.drain_on_destruction_max);
}

Result<ModelId> Engine::add_model(ModelRuntime runtime, ModelService service) {
  const std::scoped_lock lock(state_->add_mutex);
  if (state_->registry.contains(runtime.name, runtime.version)) {
    return fail(ErrorKind::invalid_input, label_of(runtime) +
                                              ": already loaded; remove it first, or give the "
                                              "new one a higher version");
  }
  const ModelId id{state_->models_added++};
  Result<engine::ServedModelPtr> model =
      engine::ServedModel::create(id, runtime, state_->counters, state_->shared_clock);
  if (!model) return std::unexpected(std::move(model.error()));
  engine::ModelCame came;
  came.model = *model;
  came.added.limits = {.batch_max = runtime.signature.batch_max,
                       .queue_depth_max = service.queue_depth_max,
                       .batch_delay_max = service.batch_delay_max,
                       .queue_bytes_max = service.queue_bytes_max,
                       .concurrency_max = service.concurrency_max,
                       .class_room = service.class_room};
  if (Result<void> admitted = state_->admit(std::move(came), std::move(runtime), service.learned);
      !admitted)
    return std::unexpected(std::move(admitted.error()));
  state_->registry.add(std::move(*model));
  return id;
}

Result<void> Engine::add_replica(ModelId model, ModelRuntime runtime,
                                 std::vector<scheduler::ProfilePoint> learned) {
  const std::scoped_lock lock(state_->add_mutex);
  engine::ModelCame came;
  came.model = state_->registry.find(model);
  if (came.model == nullptr) {
    return fail(ErrorKind::unavailable,
                label_of(runtime) + ": not loaded; add the model before its replicas");
  }
  for (const engine::ServedReplicaPtr& replica : came.model->replicas()) {
    if (replica->info.device != runtime.device) continue;
    return fail(ErrorKind::invalid_input, label_of(runtime) + ": is on device '" + runtime.device +
                                              "' already; name another one");
  }
  came.further = true;
  return state_->admit(std::move(came), std::move(runtime), learned);
}

void Engine::lose_instances(ModelId model, std::string_view device, bool suspend) {
  if (const auto id = state_->find_device(device))
    state_->inbox->post(engine::InstancesGone{model, *id, suspend});
}

void Engine::restore_instances(ModelId model, std::string_view device) {
  if (const auto id = state_->find_device(device))
    state_->inbox->post(engine::InstancesBack{model, *id});
}

Result<void> Engine::remove_model(ModelId model, Duration drain_timeout) {
  const auto unavailable = [model](const char* why) {
    return fail(ErrorKind::unavailable, "model id " + std::to_string(model.value) + why);
  };
  if (!state_->registry.remove(model)) return unavailable(" is not loaded");
  engine::ModelGoes goes{model, {}};
  std::future<engine::Instances> drained = goes.drained.get_future();
  if (!state_->inbox->post(std::move(goes))) return unavailable(": the engine has stopped");
  state_->wait_drained(drained, drain_timeout, model);
  drained.get().clear();  // here, because destroying an instance may take its time
  return {};
}

void Engine::stop(Duration drain_timeout) {
  const std::scoped_lock lock(state_->stop_mutex);
  if (std::exchange(state_->stopped, true)) return;
  engine::StopBegins begins;
  const std::future<void> stopped = begins.stopped.get_future();
  state_->inbox->post(std::move(begins));
  state_->wait_drained(stopped, drain_timeout, std::nullopt);
  state_->inbox->close();
  state_->thread.join();
  // Instances may still be calling back; they must be alive until they are done.
  static_cast<void>(state_->counters->wait_all_answered(state_->options.batch_end_wait_max));
  state_->dispatcher.take_instances().clear();
}

Result<ModelInfo> Engine::find(std::string_view model, std::optional<std::int64_t> version) const {
  Result<engine::ServedModelPtr> found = state_->registry.find(model, version);
  if (!found) return std::unexpected(std::move(found.error()));
  return (*found)->info();
}

RequestId Engine::submit(InferRequest request, InferCompletion done) {
  const RequestId id{++state_->requests};
  const ModelId model = request.model;
  auto pending = std::make_unique<engine::PendingRequest>(id, std::move(request), std::move(done),
                                                          state_->clock.now(), *state_->counters);
  const auto refuse = [&](Error error) {
    pending->refuse(std::move(error));
    return id;
  };
  pending->model = state_->registry.find(model);
  if (!pending->model)
    return refuse({ErrorKind::unavailable, "model id " + std::to_string(model.value) +
                                               " is not loaded; ask for the model by its name"});
  if (Result<void> checked = engine::check_request(*pending->model, pending->request); !checked)
    return refuse(std::move(checked.error()));
  if (Result<void> posted = state_->inbox->post_request(pending, arrival_of(*pending)); !posted)
    return refuse(std::move(posted.error()).within(pending->model->label()));
  return id;
}

void Engine::flush(Duration spare) {
  state_->inbox->flush(spare);
}

void Engine::cancel(RequestId request) {
  if (!state_->inbox->post_withdrawal(request)) ++state_->counters->cancels_dropped;
}

void Engine::expect_arrivals(ModelId model, FlowId flow, Duration min_interval, Duration deadline,
                             int rows) {
  state_->inbox->post(scheduler::ArrivalsExpected{model, flow, min_interval, deadline, rows});
}

Duration Engine::expected_p99(ModelId model, int rows) const {
  const engine::ServedModelPtr found = state_->registry.find(model);
  return found ? found->p99(rows) : Duration{};
}

std::vector<ModelInfo> Engine::models() const {
  std::vector<ModelInfo> infos;
  for (const engine::ServedModelPtr& model : state_->registry.all()) infos.push_back(model->info());
  return infos;
}

EngineStats Engine::stats() const {
  EngineStats stats = state_->counters->read();
  stats.inbox_depth = state_->inbox->depth();
  stats.events = state_->events.counts();
  for (const engine::ServedModelPtr& model : state_->registry.all()) {
    for (const engine::ServedReplicaPtr& replica : model->replicas()) {
      for (const SizeClassUse& use : replica->outputs->use()) {
        stats.slots_in_use += use.in_use;
        stats.slots += use.count;
      }
      const int rows = replica->batch_limit;
      if (rows < model->rows_max())
        stats.batch_limits.push_back(
            {model->label(), replica->info.device, rows, model->rows_max()});
    }
  }
  return stats;
}

std::optional<engine::ModelStatistics> Engine::statistics(ModelId model) const {
  const engine::ServedModelPtr found = state_->registry.find(model);
  if (found == nullptr) return std::nullopt;
  return found->statistics().read();
}

void Engine::report(const engine::Event& event) {
  state_->events.tell(event);
}

std::vector<ReplicaInfo> Engine::replicas(ModelId model) const {
  std::vector<ReplicaInfo> infos;
  const engine::ServedModelPtr found = state_->registry.find(model);
  if (found == nullptr) return infos;
  for (const engine::ServedReplicaPtr& replica : found->replicas()) infos.push_back(replica->info);
  return infos;
}

std::vector<scheduler::ProfilePoint> Engine::profile(ModelId model, std::string_view device) const {
  const std::optional<DeviceId> id = state_->find_device(device);
  if (!id) return {};
  engine::ProfileWanted wanted{model, *id, {}};
  std::future<std::vector<scheduler::ProfilePoint>> profile = wanted.profile.get_future();
  if (!state_->inbox->post(std::move(wanted))) return {};
  return profile.get();
}

std::shared_ptr<engine::Inbox> Engine::inbox() const {
  return state_->inbox;
}

void Engine::clock_moved() {
  state_->inbox->post(engine::ClockMoved{});
}

}  // namespace takt
