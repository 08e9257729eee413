// SPDX-License-Identifier: Apache-2.0
// Keeps one worker alive: starts its process, watches it, starts it again, opens its circuit when
// that is in vain.
// Thread-safe: every member from any thread; the destructor not from a completion.
// Owns: the process, the link to its present incarnation and the thread that keeps them.
#pragma once

#include "core/model_runtime.h"
#include "core/result.h"
#include "core/time.h"
#include "engine/remote_instance.h"
#include "engine/supervisor_options.h"
#include "ipc/control_socket.h"
#include "ipc/memory_cgroup.h"
#include "ipc/process.h"
#include "ipc/worker_protocol.h"

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace takt::engine {

struct WorkerSpec {
  std::string name;            // of the task, in messages and statistics
  std::string device = "cpu";  // of the engine's devices; `load` says what it is for its backend
  ipc::LoadModel load;
  std::shared_ptr<const SharedInputs> inputs;
  int results_held_max = 64;
  // How much longer than `ready_timeout` the first start may take; later ones find what it has tuned.
  Duration tuning_max{};
  // Told by the first start, on the thread that waits for it.
  std::function<void(const ipc::ModelLoading&)> loading{};
  std::shared_ptr<Inbox> inbox{};  // of the engine that it serves; a Supervisor sets it
};

// Told on the keeper's thread, in the order in which it happens: lost, back, lost, ...
struct WorkerEvents {
  // `circuit_open`: it will not be back soon.
  std::function<void(const Error& cause, bool circuit_open)> lost;
  std::function<void()> back;
  // Its device's context is lost: everything on that device must start again.
  std::function<void(const Error& cause)> device_poisoned;
  // Asked without a lock of the keeper: whether the model has a worker on another device whose
  // circuit is not open.
  std::function<bool()> serves_elsewhere;
};

class WorkerKeeper {
 public:
  // Starts the worker and waits until it serves. The runtime's instances stay valid over restarts.
  // Errors: those of loading, unavailable (no process, no answer in time).
  [[nodiscard]] static Result<std::unique_ptr<WorkerKeeper>> start(const SupervisorOptions& options,
                                                                   WorkerSpec spec);
  ~WorkerKeeper();  // stop()
  WorkerKeeper(const WorkerKeeper&) = delete;
  WorkerKeeper& operator=(const WorkerKeeper&) = delete;

  [[nodiscard]] ModelRuntime take_runtime() { return std::move(runtime_); }
  // From now on events are told, first what they would have said meanwhile.
  void bind(WorkerEvents events);

  void restart(const Error& cause);  // ends the present process; the next one follows at once
  void stop();                       // ends the process for good and waits for it

  [[nodiscard]] bool circuit_open() const;
  [[nodiscard]] WorkerStatus status() const;
  [[nodiscard]] const std::string& name() const noexcept { return spec_.name; }
  [[nodiscard]] const std::string& device() const noexcept { return spec_.device; }

 private:
  struct Incarnation {
    ipc::MemoryCgroup cgroup;  // outlives the process
    ipc::Process process;
    ipc::ControlSocket control;
    std::shared_ptr<WorkerLink> link;
  };

  WorkerKeeper(const SupervisorOptions& options, WorkerSpec spec);
  void keep();
  [[nodiscard]] Result<Incarnation> begin();
  [[nodiscard]] Result<ipc::ModelLoaded> load(ipc::ControlSocket& control, bool trusted) const;
  [[nodiscard]] Result<ipc::WorkerReply> ask(ipc::ControlSocket& control,
                                             const ipc::WorkerRequest& request,
                                             std::span<const int> descriptors = {}) const;
  [[nodiscard]] Result<void> serve_first(const ipc::ModelLoaded& loaded);
  [[nodiscard]] Error watch(Incarnation& incarnation);
  [[nodiscard]] Duration watchdog() const noexcept;
  [[nodiscard]] std::optional<Error> hangs(const Incarnation& incarnation, Duration watchdog) const;
  void finish(Incarnation incarnation, const Error& cause);
  void note_failed_start(const Error& error);
  [[nodiscard]] bool wait_before_next();  // false when it is to stop
  void open_circuit();
  [[nodiscard]] bool serves_elsewhere() const;
  void tell_recovery(Duration after);
  void tell(EventKind kind, std::string text, std::uint64_t count = 1, Duration after = {}) const;
  void tell_lost(const Error& cause, bool circuit_open);
  void tell_back();
  void alarm(Error cause);
  void wake() noexcept;

  const SupervisorOptions options_;
  const WorkerSpec spec_;
  const std::shared_ptr<CurrentLink> link_ = std::make_shared<CurrentLink>();
  ipc::Descriptor wake_;
  ModelRuntime runtime_;     // until take_runtime()
  ipc::ModelLoaded loaded_;  // by the first incarnation; keeper's thread
  int failures_ = 0;         // in a row without one good batch; keeper's thread

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  WorkerEvents events_;
  WorkerStatus status_;
  std::optional<Error> end_wanted_;  // of the present incarnation
  std::optional<Result<void>> first_;
  bool circuit_open_ = false;  // as told
  bool stopping_ = false;

  std::condition_variable started_;
  std::thread thread_;
};

}  // namespace takt::engine
