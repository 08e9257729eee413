// SPDX-License-Identifier: Apache-2.0
// The main function of a worker: describes a model, loads it, serves batches until told to stop.
// Thread-safe: no; the main thread of its process.
// Owns: the backend, the model and its instances.
#pragma once

#include "ipc/control_socket.h"

#include <sys/types.h>

#include <optional>

namespace takt::worker {

// Speaks ipc/worker_protocol.h over `control` until StopWorker or until the other end closes.
// `parent` is the process that started this one: it is followed into death. Returns the exit code.
[[nodiscard]] int run_worker(ipc::ControlSocket control, pid_t parent);

// For tests and benchmarks, which are their own workers: when a supervisor started this program so
// (`worker --parent PID`), runs the worker and returns the exit code.
[[nodiscard]] std::optional<int> run_if_worker(int argc, char** argv);

}  // namespace takt::worker
