// SPDX-License-Identifier: Apache-2.0
// Limits that a worker puts on itself.
// Thread-safe: no; they hold for the whole process, and nothing takes them back.
// Owns: nothing.
#pragma once

#include "core/result.h"
#include "ipc/worker_protocol.h"

#include <string_view>

namespace takt::worker {

// For a worker whose model is loaded on `device`, as backends know it.
// sandbox: a filter of system calls for every thread: no sockets but Unix ones, no new programs, no
// look into other processes, no mounts and modules; those calls fail with EPERM.
// memory_bytes_max: the data of the process (RLIMIT_DATA): allocations beyond fail. Errors:
// unavailable (the kernel does not allow it, the message says which; on a GPU also: the process has more already).
[[nodiscard]] Result<void> confine(const ipc::Confinement& confinement, std::string_view device);

}  // namespace takt::worker
