// SPDX-License-Identifier: Apache-2.0
// The configured devices on this machine.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "config/config.h"
#include "core/result.h"
#include "engine/options.h"

#include <vector>

namespace takt::app {

// That this process may use on the device: those that it owns or, where it doesn't say, all.
[[nodiscard]] std::vector<int> cpus_of(const config::DeviceConfig& device);

// The lanes of a device with `auto` filled in: one for each `threads_per_lane` CPUs that it owns or,
// where it doesn't say, that this process may use. On a GPU two: while one batch computes, the inputs of the next
// are copied and the outputs of the last; a third would only wait, with memory of its own for every model.
[[nodiscard]] int lanes_of(const config::DeviceConfig& device);

// The CPU of each lane; empty where lanes aren't tied to CPUs: a GPU's, `pin: false`, threads that OpenVINO
// starts itself (threads_per_lane above 1), or more lanes than CPUs.
[[nodiscard]] std::vector<int> tied_cpus(const config::DeviceConfig& device);

// Moves this process's threads to the CPUs that lanes leave, so that none of them waits behind a model
// that runs; threads made later follow those that make them. Those that have CPUs of their own stay,
// and all do where lanes have every CPU or are not tied.
void leave_lanes_alone(const config::Config& config);

// Whether this machine has what the configuration names (but GPUs, which check_gpus() of gpus.h looks at), and
// devices own distinct CPUs of it.
// Errors: invalid_input, unavailable.
[[nodiscard]] Result<void> check_machine(const config::Config& config);

[[nodiscard]] EngineOptions engine_options(const config::Config& config);

}  // namespace takt::app
