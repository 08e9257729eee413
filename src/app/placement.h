// SPDX-License-Identifier: Apache-2.0
// On which devices tasks run when the memory of some doesn't suffice for all.
// Thread-safe: pure functions and plain values.
// Owns: plain values.
#pragma once

#include "config/config.h"
#include "core/priority.h"

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace takt::app {

struct DeviceRoom {
  std::optional<std::size_t> memory_bytes{};  // empty: no limit
  std::size_t taken_bytes = 0;

  [[nodiscard]] bool fits(std::size_t bytes) const noexcept;
};

// A task on one of the devices that it may use, by index.
struct ReplicaDemand {
  std::size_t device = 0;
  std::size_t bytes = 0;  // that it takes there
};

// A task that has its first replica.
struct PlacedTask {
  PriorityClass priority = PriorityClass::normal;
  std::vector<ReplicaDemand> further{};  // where it may run besides
  // How much there is to do: execution time times requests a second; empty: not known.
  std::optional<double> work{};
};

struct FurtherReplica {
  std::size_t task = 0;
  std::size_t device = 0;
  friend bool operator==(const FurtherReplica&, const FurtherReplica&) = default;
};

// A device that a task may use, by index, with the instances that it would have there.
struct FirstPlace {
  std::size_t device = 0;
  int instances = 1;
};

// Where the first replica of a task goes, of which nothing is known yet: to the device with most
// room for each of its instances there; without a limit, or where several have as much, to the one
// of which least is taken. Returns the device. Not for an empty list.
[[nodiscard]] std::size_t device_for_first(std::span<const DeviceRoom> rooms,
                                           std::span<const FirstPlace> places);

// What follows, in this order, while memory lasts: each time the task gets a replica that gains most
// by it, which is the work that its replicas are then relieved of, each (w / n - w / (n + 1)); where
// nothing distinguishes them, the more urgent one. If some task's work isn't known, all count as
// equal. Where everything fits, everything is placed.
[[nodiscard]] std::vector<FurtherReplica> further_replicas(std::vector<DeviceRoom> rooms,
                                                           std::vector<PlacedTask> tasks);

// Requests a second that the lines make of a task; of crops as many as it takes at most. Empty: one
// of its lines has no rate.
[[nodiscard]] std::optional<double> requests_per_second(const config::Config& config,
                                                        const TaskSpec& task);

}  // namespace takt::app
