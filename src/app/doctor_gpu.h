// SPDX-License-Identifier: Apache-2.0
// The part of `takt doctor` about GPUs.
// Thread-safe: no; called once.
// Owns: nothing.
#pragma once

#include "app/doctor.h"

#include <vector>

namespace takt::app {

// Driver, devices, runtime compiler and libraries: where each was found, or what to do. Without a driver,
// only that.
[[nodiscard]] std::vector<Finding> examine_gpus();

}  // namespace takt::app
