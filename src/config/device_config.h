// SPDX-License-Identifier: Apache-2.0
// `devices:` of takt.yaml, and what a task says of them.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "config/config.h"
#include "config/reader.h"

#include <vector>

namespace takt::config {

// The value of `cpus`: 0-7, or [0, 1, 4-6]; empty without one.
[[nodiscard]] std::vector<int> read_cpus(Reader& reader);

// The value of `backends`; empty without one, until complete_devices().
[[nodiscard]] std::vector<std::string> read_backends(Reader& reader);

// Without an entry: one device, `cpu`.
void read_devices(Reader& reader, std::vector<DeviceConfig>& devices);

// What the file leaves out: backends, by the devices that they are for, and the machine's CPU as device `cpu`
// where it names GPUs alone and a backend that needs the CPU.
void complete_devices(Config& config);

// `reader` is the file's root, whose sections have been read and completed: several devices own distinct CPUs, as
// far as the file alone tells; tasks name devices that there are and that their first backend runs on, and stay
// on their CPUs.
void check_devices(Reader& reader, const Config& config);

}  // namespace takt::config
