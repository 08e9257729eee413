// SPDX-License-Identifier: Apache-2.0
// The configured GPUs on this machine.
// Thread-safe: no; called once, by commands that end soon: it opens the driver, which stays in the process.
// Owns: nothing.
#pragma once

#include "backend/cuda/libraries.h"
#include "config/config.h"
#include "core/result.h"

namespace takt::app {

// Where this program looks for NVIDIA's libraries.
[[nodiscard]] cuda::LibrarySearch gpu_libraries();

// Whether the driver shows every GPU that the configuration names, and takt can use it; without one, nothing is
// opened. Errors: unavailable; the message names the device and says what to do.
[[nodiscard]] Result<void> check_gpus(const config::Config& config);

}  // namespace takt::app
