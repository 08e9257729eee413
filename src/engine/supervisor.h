// SPDX-License-Identifier: Apache-2.0
// All workers of a gateway: puts their models into the engine, keeps devices as fault domains.
// Thread-safe: every member from any thread; the destructor not from a completion.
// Owns: the workers' keepers; the engine must outlive it.
#pragma once

#include "engine/engine.h"
#include "engine/worker_keeper.h"

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace takt {

// What a model takes, told by a short-lived worker, so that a file that brings down its reader
// brings down nothing else. Errors: those of the repository, unavailable (it ended, or no answer).
[[nodiscard]] Result<ipc::ModelDescription> describe_model(const engine::SupervisorOptions& options,
                                                           const ipc::DescribeModel& model);

class Supervisor {
 public:
  Supervisor(engine::SupervisorOptions options, Engine& engine);
  ~Supervisor();  // stop()
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Starts a worker for a version and adds it to the engine; it serves when this returns. Errors:
  // as WorkerKeeper::start and Engine::add_model.
  [[nodiscard]] Result<ModelId> add_worker(engine::WorkerSpec spec, ModelService service = {});
  // A further worker for a model that serves, on another device. Errors: as WorkerKeeper::start and
  // Engine::add_replica.
  [[nodiscard]] Result<void> add_replica(ModelId model, engine::WorkerSpec spec,
                                         std::vector<scheduler::ProfilePoint> learned = {});

  // After the engine has removed a model: ends its workers, on every device, and waits for them.
  // Nothing happens where it has none.
  void remove_workers(ModelId model);

  // After the engine has stopped: ends the workers.
  void stop();

  [[nodiscard]] std::vector<engine::WorkerStatus> workers() const;

 private:
  struct Kept {
    ModelId model;
    std::unique_ptr<engine::WorkerKeeper> keeper;
  };

  void keep(ModelId model, std::unique_ptr<engine::WorkerKeeper> keeper);
  void end_workers(const std::function<bool(const Kept&)>& which);
  [[nodiscard]] bool serves_elsewhere(ModelId model, const engine::WorkerKeeper& besides) const;
  void restart_device(const engine::WorkerKeeper& poisoned, const Error& cause);

  const engine::SupervisorOptions options_;
  Engine& engine_;
  mutable std::mutex mutex_;
  std::vector<Kept> keepers_;  // guarded by mutex_
};

}  // namespace takt
