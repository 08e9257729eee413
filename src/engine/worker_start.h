// SPDX-License-Identifier: Apache-2.0
// The start of a worker process.
// Thread-safe: pure function; the process must end on the calling thread (ipc/process.h).
// Owns: nothing; the result owns the process.
#pragma once

#include "core/result.h"
#include "engine/supervisor_options.h"
#include "ipc/control_socket.h"
#include "ipc/memory_cgroup.h"
#include "ipc/process.h"

namespace takt::engine {

struct StartedWorker {
  ipc::MemoryCgroup cgroup;  // outlives the process
  ipc::Process process;
  ipc::ControlSocket control;
};

// Runs the program with its arguments under the limit on memory, and tells it whom to follow. Errors: unavailable.
[[nodiscard]] Result<StartedWorker> start_worker(const SupervisorOptions& options);

}  // namespace takt::engine
