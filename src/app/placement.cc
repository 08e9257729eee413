// SPDX-License-Identifier: Apache-2.0
#include "app/placement.h"

#include <algorithm>
#include <cstdint>

namespace takt::app {
namespace {

std::size_t room_of(const DeviceRoom& device) {
  if (!device.memory_bytes) return SIZE_MAX;
  return *device.memory_bytes - std::min(device.taken_bytes, *device.memory_bytes);
}

std::size_t room_each(const DeviceRoom& device, int instances) {
  if (!device.memory_bytes) return SIZE_MAX;
  return room_of(device) / static_cast<std::size_t>(std::max(1, instances));
}

// For so many instances there; of two with as much, the one of which less is taken.
bool rooms_more(const DeviceRoom& a, int instances_a, const DeviceRoom& b, int instances_b) {
  const std::size_t room_a = room_each(a, instances_a);
  const std::size_t room_b = room_each(b, instances_b);
  return room_a != room_b ? room_a > room_b : a.taken_bytes < b.taken_bytes;
}

// What is left of a task's further replicas.
struct Candidate {
  std::size_t task = 0;
  std::size_t replicas = 1;

  [[nodiscard]] double gain(double work) const noexcept {
    const auto n = static_cast<double>(replicas);
    return work / (n * (n + 1));
  }
};

}  // namespace

bool DeviceRoom::fits(std::size_t bytes) const noexcept {
  return bytes <= room_of(*this);
}

std::size_t device_for_first(std::span<const DeviceRoom> rooms,
                             std::span<const FirstPlace> places) {
  const auto roomier = [&](const FirstPlace& a, const FirstPlace& b) {
    return rooms_more(rooms[a.device], a.instances, rooms[b.device], b.instances);
  };
  return std::ranges::min_element(places, roomier)->device;
}

std::vector<FurtherReplica> further_replicas(std::vector<DeviceRoom> rooms,
                                             std::vector<PlacedTask> tasks) {
  std::vector<FurtherReplica> chosen;
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < tasks.size(); ++i) candidates.push_back({.task = i});
  const bool known =
      std::ranges::all_of(tasks, [](const auto& task) { return task.work.has_value(); });
  while (true) {
    const Candidate* best = nullptr;
    const auto better = [&](const Candidate& a, const Candidate& b) {
      const PlacedTask& task_a = tasks[a.task];
      const PlacedTask& task_b = tasks[b.task];
      const double gain_a = a.gain(known ? *task_a.work : 1);
      const double gain_b = b.gain(known ? *task_b.work : 1);
      if (gain_a != gain_b) return gain_a > gain_b;
      return task_a.priority < task_b.priority;
    };
    for (const Candidate& candidate : candidates) {
      // What doesn't fit now won't later.
      std::erase_if(tasks[candidate.task].further, [&](const ReplicaDemand& demand) {
        return !rooms[demand.device].fits(demand.bytes);
      });
      if (tasks[candidate.task].further.empty()) continue;
      if (best == nullptr || better(candidate, *best)) best = &candidate;
    }
    if (best == nullptr) return chosen;
    std::vector<ReplicaDemand>& further = tasks[best->task].further;
    const auto place = std::ranges::min_element(further, [&](const auto& a, const auto& b) {
      return rooms_more(rooms[a.device], 1, rooms[b.device], 1);
    });
    rooms[place->device].taken_bytes += place->bytes;
    chosen.push_back({best->task, place->device});
    further.erase(place);
    ++candidates[best->task].replicas;
  }
}

std::optional<double> requests_per_second(const config::Config& config, const TaskSpec& task) {
  double sum = 0;
  for (const config::LineEntry& entry : config.lines) {
    if (std::ranges::find(entry.line.tasks, task.name) == entry.line.tasks.end()) continue;
    const double frames = config::frames_per_second(entry.source);
    if (frames <= 0) return std::nullopt;
    sum += frames * (task.crop ? task.crop->crops_max : 1);
  }
  return sum;
}

}  // namespace takt::app
