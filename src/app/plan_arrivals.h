// SPDX-License-Identifier: Apache-2.0
// Requests as they were recorded in production, from a CSV file.
// Thread-safe: pure functions and plain values.
// Owns: plain values.
#pragma once

#include "config/config.h"
#include "core/result.h"
#include "core/time.h"

#include <cstddef>
#include <filesystem>
#include <string_view>
#include <vector>

namespace takt::app {

struct RecordedArrival {
  Duration at{};         // after the earliest one
  std::size_t task = 0;  // in Config::tasks
  std::size_t line = 0;  // in Config::lines; whose deadline applies and who takes turns
  int rows = 1;
};

// Lines "SECONDS,TASK[,ROWS[,LINE]]" in any order; empty ones, ones that begin with # and a first
// one that begins with "seconds" are passed over. Without LINE it is the first that has the task.
// Rising. Errors: invalid_input; the message has a line for each of the first problems,
// "FILE:NUMBER: what, expectation".
[[nodiscard]] Result<std::vector<RecordedArrival>> read_arrivals(const config::Config& config,
                                                                 const std::filesystem::path& file);
[[nodiscard]] Result<std::vector<RecordedArrival>> parse_arrivals(
    const config::Config& config, std::string_view text, const std::filesystem::path& file);

}  // namespace takt::app
