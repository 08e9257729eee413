// SPDX-License-Identifier: Apache-2.0
// The `tasks:` section of takt.yaml.
// Thread-safe: no; one thread reads one file.
// Owns: nothing.
#pragma once

#include "config/reader.h"
#include "task/task.h"

#include <string>
#include <string_view>
#include <vector>

namespace takt::config {

[[nodiscard]] Result<Isolation> parse_isolation(std::string_view name);

// Adds one task to `tasks`, and where its fallback is another model, the task NAME.fallback that runs
// it. What is wrong goes to the reader's problems.
void read_task(const std::string& name, Reader& reader, std::vector<TaskSpec>& tasks);

}  // namespace takt::config
