// SPDX-License-Identifier: Apache-2.0
// The part of `takt doctor` about GPUs.
// Thread-safe: no; called once.
// Owns: nothing.
#pragma once

#include "app/doctor.h"

#include <vector>

namespace takt::app {

// Driver, devices with the precisions that they compute in, runtime compiler, libraries and takt's backend: where
// each was found, or what to do. Without a driver, only that.
[[nodiscard]] std::vector<Finding> examine_gpus();

}  // namespace takt::app
