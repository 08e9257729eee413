// SPDX-License-Identifier: Apache-2.0
// What `takt plan` computes: a configuration's tasks in virtual time, on its devices or on so many,
// by the scheduler of the server and the stored profiles.
// Thread-safe: pure functions and plain values.
// Owns: plain values.
#pragma once

#include "app/plan_arrivals.h"
#include "app/profile_store.h"
#include "config/config.h"
#include "core/result.h"
#include "core/time.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace takt::app {

enum class PlanArrivals : std::uint8_t { periodic, poisson, recorded };

struct PlanRequest {
  config::Config config;
  // Of those that are planned: by task, then by device.
  std::map<std::string, std::map<std::string, StoredProfile>> profiles;
  PlanArrivals arrivals = PlanArrivals::periodic;
  std::vector<RecordedArrival> recorded;
  // Share of the configured devices' time that the lines ask for; their rates keep their relations.
  // Empty: the rates of their sources.
  std::optional<double> load;
  std::uint64_t requests = 20'000;  // about so many in all, unless they are recorded
  int crops = 0;                    // a frame, of each cascaded task; 0: its crops_max
  double miss_share_max = 0.001;    // of each task and line, for "holds"
  std::uint64_t seed = 1;
};

struct LatencyForecast {
  std::string name;
  std::uint64_t count = 0;
  std::uint64_t missed = 0;  // refused, expired, failed or late; of a line: frames by fallback
  Duration p50{};            // of what was executed
  Duration p99{};
  Duration p999{};
  [[nodiscard]] double miss_share() const noexcept;
};

struct Forecast {
  int devices = 1;
  std::vector<std::string> names;  // of each device: the configured one that it is like
  Duration time{};                 // that the arrivals span
  std::vector<LatencyForecast> tasks;
  std::vector<LatencyForecast> lines;  // none for recorded arrivals
  std::vector<double> utilisation;     // of each device: executed lane time over lanes x time
  bool holds = false;  // misses are within miss_share_max, and no device has more than it can do
};

// The tasks that a plan needs profiles of: those of the lines, or those recorded.
[[nodiscard]] std::vector<std::string> planned_tasks(const config::Config& config,
                                                     const std::vector<RecordedArrival>& recorded);

// The smallest number of devices of which each of these tasks may use one.
[[nodiscard]] int devices_min(const config::Config& config, const std::vector<std::string>& tasks);

// From a frame's or a request's arrival to when its answer is of use; zero: without a deadline.
[[nodiscard]] Duration request_deadline(const TaskSpec& task, const line::LineConfig& line);

// On `devices` devices: the configured ones in their order, further ones like the last. Each has the
// instances of every task that may run there, whatever its memory. Frames are judged as soon as they
// come (ring and frames in flight have no bound), crops follow their parent, the work of the line's
// own thread is not in it. Errors: invalid_input (a line without a rate and no load, a task without
// a profile or without a device among those, a cascade in a circle, more than 64 devices).
[[nodiscard]] Result<Forecast> forecast(const PlanRequest& request, int devices);

}  // namespace takt::app
