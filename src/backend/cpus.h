// SPDX-License-Identifier: Apache-2.0
// Which CPUs threads may use.
// Thread-safe: pure functions over the kernel's picture.
// Owns: nothing.
#pragma once

#include "core/result.h"

#include <pthread.h>

#include <span>
#include <vector>

namespace takt {

// That the calling thread may use, rising; empty when the kernel doesn't say.
[[nodiscard]] std::vector<int> usable_cpus();

// Confines the thread, and those that it makes later; no CPUs: leaves it as it is. Errors:
// unavailable (a CPU that isn't there or that the process may not use).
[[nodiscard]] Result<void> use_cpus(pthread_t thread, std::span<const int> cpus);

}  // namespace takt
