// SPDX-License-Identifier: Apache-2.0
// Limits that a worker puts on itself.
// Thread-safe: no; they hold for the whole process, and nothing takes them back.
// Owns: nothing.
#pragma once

#include "core/result.h"
#include "ipc/worker_protocol.h"

#include <pthread.h>

#include <span>
#include <vector>

namespace takt::worker {

// The CPUs that this thread, and those that it makes later, may use; empty: as it is. Errors:
// invalid_input (a CPU that isn't there or that the process may not use).
[[nodiscard]] Result<void> use_cpus(pthread_t thread, std::span<const int> cpus);

// Whether this thread may use all of these CPUs.
[[nodiscard]] bool may_use(std::span<const std::vector<int>> cpus);

// sandbox: a filter of system calls for every thread: no sockets but Unix ones, no new programs, no
// look into other processes, no mounts and modules; those calls fail with EPERM.
// memory_bytes_max: the data of the process (RLIMIT_DATA): allocations beyond fail. Errors:
// unavailable (the kernel does not allow it; the message says which).
[[nodiscard]] Result<void> confine(const ipc::Confinement& confinement);

}  // namespace takt::worker
