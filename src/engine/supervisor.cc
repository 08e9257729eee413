// SPDX-License-Identifier: Apache-2.0
#include "engine/supervisor.h"

#include "engine/worker_start.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

namespace takt {

Result<ipc::ModelDescription> describe_model(const engine::SupervisorOptions& options,
                                             const ipc::DescribeModel& model) {
  Result<engine::StartedWorker> worker = engine::start_worker(options);
  if (!worker) return std::unexpected(std::move(worker).error());
  ipc::ControlSocket& control = worker->control;
  if (Result<void> sent = control.send(ipc::to_text(ipc::WorkerRequest(model))); !sent) {
    return std::unexpected(std::move(sent).error());
  }
  const Result<ipc::ControlMessage> message = control.receive(options.ready_timeout);
  if (!message) {
    const auto ending = worker->process.wait(std::chrono::seconds(1));
    return fail(ErrorKind::unavailable,
                "model '" + model.model + "': reading it ended the worker that read it (" +
                    worker->cgroup.explained(ending.value_or("no answer in time")) +
                    "); its files are damaged or too large: export it again");
  }
  Result<ipc::WorkerReply> reply = ipc::parse_reply(message->text);
  if (!reply) return std::unexpected(std::move(reply).error());
  if (auto* const error = std::get_if<Error>(&*reply)) return std::unexpected(std::move(*error));
  auto* const description = std::get_if<ipc::ModelDescription>(&*reply);
  if (description == nullptr) {
    return fail(ErrorKind::internal, "the worker answered something else");
  }
  return std::move(*description);
}

Supervisor::Supervisor(engine::SupervisorOptions options, Engine& engine)
    : options_([&] {
        options.observer = [&engine](const engine::Event& event) { engine.report(event); };
        return std::move(options);
      }()),
      engine_(engine) {}

Supervisor::~Supervisor() {
  stop();
}

Result<ModelId> Supervisor::add_worker(engine::WorkerSpec spec, ModelService service) {
  spec.inbox = engine_.inbox();
  Result<std::unique_ptr<engine::WorkerKeeper>> keeper =
      engine::WorkerKeeper::start(options_, std::move(spec));
  if (!keeper) return std::unexpected(std::move(keeper).error());
  const Result<ModelId> model = engine_.add_model((*keeper)->take_runtime(), service);
  if (!model) return std::unexpected(model.error());
  keep(*model, std::move(*keeper));
  return *model;
}

Result<void> Supervisor::add_replica(ModelId model, engine::WorkerSpec spec,
                                     std::vector<scheduler::ProfilePoint> learned) {
  spec.inbox = engine_.inbox();
  Result<std::unique_ptr<engine::WorkerKeeper>> keeper =
      engine::WorkerKeeper::start(options_, std::move(spec));
  if (!keeper) return std::unexpected(std::move(keeper).error());
  Result<void> added = engine_.add_replica(model, (*keeper)->take_runtime(), std::move(learned));
  if (!added) return added;
  keep(model, std::move(*keeper));
  return {};
}

void Supervisor::keep(ModelId model, std::unique_ptr<engine::WorkerKeeper> keeper) {
  engine::WorkerKeeper& kept = *keeper;
  {
    const std::scoped_lock lock(mutex_);
    keepers_.push_back({model, std::move(keeper)});
  }
  kept.bind({.lost =
                 [this, model, &kept](const Error& /*cause*/, bool circuit_open) {
                   engine_.lose_instances(model, kept.device(), circuit_open);
                 },
             .back = [this, model, &kept] { engine_.restore_instances(model, kept.device()); },
             .device_poisoned = [this, &kept](const Error& cause) { restart_device(kept, cause); },
             .serves_elsewhere = [this, model, &kept] { return serves_elsewhere(model, kept); }});
}

bool Supervisor::serves_elsewhere(ModelId model, const engine::WorkerKeeper& besides) const {
  const std::scoped_lock lock(mutex_);
  return std::ranges::any_of(keepers_, [&](const Kept& other) {
    return other.model == model && other.keeper.get() != &besides && !other.keeper->circuit_open();
  });
}

void Supervisor::restart_device(const engine::WorkerKeeper& poisoned, const Error& cause) {
  const std::string& device = poisoned.device();
  std::uint64_t restarted = 0;
  {
    const std::scoped_lock lock(mutex_);
    for (const auto& [model, keeper] : keepers_) {
      if (keeper->device() != device) continue;
      keeper->restart(cause);
      ++restarted;
    }
  }
  engine_.report({.kind = engine::EventKind::device_restarted,
                  .at = SystemClock().now(),
                  .name = poisoned.name(),
                  .device = device,
                  .text = "its context was lost (" + cause.message + "): its " +
                          std::to_string(restarted) +
                          " workers start again; look at the log of the device's driver",
                  .count = restarted});
}

void Supervisor::remove_workers(ModelId model) {
  end_workers([model](const Kept& kept) { return kept.model == model; });
}

void Supervisor::stop() {
  end_workers([](const Kept& /*kept*/) { return true; });
}

void Supervisor::end_workers(const std::function<bool(const Kept&)>& which) {
  std::vector<Kept> keepers;
  {
    const std::scoped_lock lock(mutex_);
    const auto ending = std::ranges::stable_partition(keepers_, std::not_fn(which));
    std::ranges::move(ending, std::back_inserter(keepers));
    keepers_.erase(ending.begin(), ending.end());
  }
  // Outside of the lock: an answering thread may want it before it ends.
  keepers.clear();
}

std::vector<engine::WorkerStatus> Supervisor::workers() const {
  const std::scoped_lock lock(mutex_);
  std::vector<engine::WorkerStatus> all;
  for (const auto& [model, keeper] : keepers_) all.push_back(keeper->status());
  return all;
}

}  // namespace takt
