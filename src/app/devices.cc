// SPDX-License-Identifier: Apache-2.0
#include "app/devices.h"

#include "backend/cpus.h"
#include "ipc/memory_cgroup.h"
#include "worker/node_placement.h"
#include "worker/topology.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace takt::app {
namespace {

constexpr int kGpuLanes = 2;

bool is_gpu(const config::DeviceConfig& device) {
  return device.kind == config::DeviceKind::cuda;
}

Result<worker::NumaNode> node_of(const config::DeviceConfig& device) {
  Result<worker::Topology> topology = worker::machine_topology();
  if (!topology) return std::unexpected(std::move(topology).error());
  Result<worker::NumaNode> node = worker::find_node(*topology, *device.numa.node);
  if (!node) {
    return std::unexpected(std::move(node).error().within("devices." + device.name + ".numa"));
  }
  return node;
}

// The CPUs that the device names itself must be there and, if it names a node too, in it.
Result<void> check_cpus(const config::DeviceConfig& device, const std::vector<int>& allowed,
                        const char* what) {
  for (const int cpu : device.cpus) {
    if (std::ranges::find(allowed, cpu) != allowed.end()) continue;
    return fail(ErrorKind::invalid_input,
                fmt::format("devices.{}.cpus: {} {}, which are {}", device.name, cpu, what,
                            fmt::join(allowed, ", ")));
  }
  return {};
}

// Of two devices one may name CPUs and the other a node.
Result<void> check_devices(const std::vector<config::DeviceConfig>& devices) {
  const std::vector<int> usable = usable_cpus();
  std::map<int, std::string> owners;
  for (const config::DeviceConfig& device : devices) {
    std::vector<int> owned = device.cpus;
    const char* const key = device.cpus.empty() ? "numa" : "cpus";
    if (Result<void> checked = check_cpus(device, usable, "is none of the CPUs that takt may use");
        !checked)
      return checked;
    if (device.numa.node) {
      const Result<worker::NumaNode> node = node_of(device);
      if (!node) return std::unexpected(node.error());
      if (Result<void> checked = check_cpus(device, node->cpus, "is not of its NUMA node's CPUs");
          !checked)
        return checked;
      if (owned.empty()) owned = node->cpus;
    }
    if (is_gpu(device)) continue;  // its workers share CPUs with others
    for (const int cpu : owned) {
      const auto [owner, is_new] = owners.emplace(cpu, device.name);
      if (is_new) continue;
      return fail(ErrorKind::invalid_input,
                  fmt::format("devices.{}.{}: CPU {} belongs to device '{}' already; give each CPU "
                              "to one device",
                              device.name, key, cpu, owner->second));
    }
  }
  return {};
}

}  // namespace

std::vector<int> cpus_of(const config::DeviceConfig& device) {
  if (!device.cpus.empty()) return device.cpus;
  if (device.numa.node) {
    Result<worker::NumaNode> node = node_of(device);
    if (node) return std::move(node->cpus);
  }
  return usable_cpus();
}

int lanes_of(const config::DeviceConfig& device) {
  if (device.lanes > 0) return device.lanes;
  if (is_gpu(device)) return kGpuLanes;
  return std::max(1, static_cast<int>(cpus_of(device).size()) / device.threads_per_lane);
}

std::vector<int> tied_cpus(const config::DeviceConfig& device) {
  if (is_gpu(device) || !device.pin || device.threads_per_lane > 1) return {};
  const std::vector<int> cpus = cpus_of(device);
  const std::span<const int> lanes = worker::cpus_of_lanes(cpus, lanes_of(device));
  return {lanes.begin(), lanes.end()};
}

void leave_lanes_alone(const config::Config& config) {
  const std::vector<int> usable = usable_cpus();
  std::vector<int> spare = usable;
  for (const config::DeviceConfig& device : config.devices) {
    if (is_gpu(device)) continue;
    const std::vector<int> tied = tied_cpus(device);
    if (tied.empty()) return;
    std::erase_if(spare, [&](int cpu) { return std::ranges::find(tied, cpu) != tied.end(); });
  }
  if (spare.empty()) return;
  cpu_set_t wanted;
  CPU_ZERO(&wanted);
  for (const int cpu : spare) CPU_SET(static_cast<std::size_t>(cpu), &wanted);
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", error)) {
    const pid_t thread = std::atoi(task.path().filename().c_str());
    cpu_set_t now;
    if (::sched_getaffinity(thread, sizeof(now), &now) != 0) continue;  // it has ended
    if (std::cmp_equal(CPU_COUNT(&now), usable.size())) {
      static_cast<void>(::sched_setaffinity(thread, sizeof(wanted), &wanted));
    }
  }
}

Result<void> check_machine(const config::Config& config) {
  if (const auto& cgroup = config.workers.supervisor.memory.cgroup; !cgroup.empty()) {
    if (Result<void> checked = ipc::check_cgroup(cgroup); !checked) {
      return std::unexpected(std::move(checked).error().within("workers.cgroup"));
    }
  }
  return check_devices(config.devices);
}

EngineOptions engine_options(const config::Config& config) {
  EngineOptions options;
  options.devices.clear();
  for (const config::DeviceConfig& device : config.devices) {
    options.devices.push_back({.name = device.name,
                               .lanes = lanes_of(device),
                               .memory_quiet = device.memory_quiet,
                               .batch_gain_min = device.batch_gain_min});
  }
  return options;
}

}  // namespace takt::app
