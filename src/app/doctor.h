// SPDX-License-Identifier: Apache-2.0
// `takt doctor`: what this machine has, what is missing, and what that costs.
// Thread-safe: no; called once.
// Owns: nothing.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace takt::app {

struct Finding {
  enum class Level { ok, note, problem };
  Level level = Level::ok;
  std::string what;    // "cpu", "openvino", "gpu driver"
  std::string detail;  // what was found
  std::string remedy;  // what it costs and what to do; empty when ok
};

// Looks at processor, NUMA nodes and caches, memory, shared memory, OpenVINO, GPU driver and libraries, and the cache folder.
[[nodiscard]] std::vector<Finding> examine(const std::filesystem::path& cache_dir);

// Prints a table; returns the exit code: 0, or 1 when a problem keeps takt from running.
[[nodiscard]] int run_doctor(const std::filesystem::path& cache_dir);

}  // namespace takt::app
