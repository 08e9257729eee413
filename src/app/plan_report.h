// SPDX-License-Identifier: Apache-2.0
// A plan as a table for people and as JSON for scripts.
// Thread-safe: pure functions and plain values.
// Owns: plain values.
#pragma once

#include "app/forecast.h"

#include <optional>
#include <string>
#include <vector>

namespace takt::app {

struct PlanReport {
  Forecast forecast;
  double miss_max_percent = 0;
  // The smallest number of devices that holds, where it was searched.
  bool searched = false;
  int devices_max = 0;
  std::optional<int> devices_needed;
  std::vector<std::string> notes;  // what makes the prediction less sure
};

[[nodiscard]] std::string to_table(const PlanReport& report);

// Keys: devices, holds, devices_needed (null: none up to devices_max), miss_max_percent, seconds,
// device_names [..], utilisation [..], tasks {NAME: {requests, missed, p50_us, p99_us, p999_us}}, lines likewise with
// frames, notes.
[[nodiscard]] std::string to_json(const PlanReport& report);

}  // namespace takt::app
