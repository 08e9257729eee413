// SPDX-License-Identifier: Apache-2.0
// The `tasks:` section of takt.yaml.
// Thread-safe: no; one thread reads one file.
// Owns: nothing.
#pragma once

#include "config/reader.h"
#include "task/task.h"

#include <string>

namespace takt::config {

// Reads one task. What is wrong goes to the reader's problems.
[[nodiscard]] TaskSpec read_task(const std::string& name, Reader& reader);

}  // namespace takt::config
