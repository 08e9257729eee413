// SPDX-License-Identifier: Apache-2.0
// How workers are started, watched and started again, and what is known of each.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include "core/time.h"
#include "engine/events.h"
#include "ipc/memory_cgroup.h"

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace takt::engine {

struct SupervisorOptions {
  // Started with `arguments` and --parent PID; control socket on descriptor 3.
  std::filesystem::path program = "/proc/self/exe";
  std::vector<std::string> arguments{"worker"};
  ipc::MemoryLimit memory;  // of each worker, kept by the kernel; prepare_cgroup() comes before
  // From the start of the process to the first batch. Compiling a model for the first time takes
  // its time; later the cache has it.
  Duration ready_timeout = std::chrono::minutes(2);
  // A batch that runs longer is a hang. 0: `watchdog_factor` times the longest of the last
  // executions of a full batch (of about 256, so near their p99.9), at first the p99 as measured at
  // load; at least `watchdog_min`.
  Duration watchdog{};
  double watchdog_factor = 20;
  Duration watchdog_min = std::chrono::seconds(1);
  // A worker that ends without one good batch waits before it is started again: delay_min after the
  // first time, twice as long after each further time, delay_max at most.
  Duration delay_min = std::chrono::milliseconds(100);
  Duration delay_max = std::chrono::seconds(5);
  // After so many of those in a row the circuit opens: nothing is started there, requests that no
  // other device serves are refused at once, and the worker is tried again every probe_interval.
  int circuit_failures = 3;
  Duration probe_interval = std::chrono::seconds(5);
  Duration stop_timeout = std::chrono::seconds(2);  // for the end of its own accord
  EventObserver observer{};                         // a Supervisor tells its engine instead
};

enum class WorkerState : std::uint8_t { starting, serving, waiting, circuit_open, stopped };
[[nodiscard]] std::string_view to_string(WorkerState state) noexcept;

struct WorkerStatus {
  std::string name;              // of the task
  std::string model;             // its name in the repository
  std::string device;            // that it serves
  std::optional<int> numa_node;  // that it keeps to
  int threads = 1;               // that compute at once
  WorkerState state = WorkerState::starting;
  pid_t pid = 0;  // 0: no process
  std::uint64_t restarts = 0;
  std::uint64_t hangs = 0;  // ended by the watchdog
  std::uint64_t circuits_opened = 0;
  Duration watchdog{};       // what it is now
  Duration recovery_last{};  // from the end of a process to the next one's readiness
  Duration recovery_max{};
  std::size_t peak_rss_bytes = 0;  // of the present process
  std::string last_error;
  std::vector<std::string> notes;  // of the model's first loading: LoadedModel::notes()
};

}  // namespace takt::engine
