// SPDX-License-Identifier: Apache-2.0
#include "config/device_config.h"

#include "config/units.h"
#include "core/suggest.h"
#include "scheduler/scheduler.h"

#include <algorithm>
#include <charconv>
#include <span>
#include <string>

namespace takt::config {
namespace {

// "auto" or a number.
void read_lanes(Reader& reader, int& lanes) {
  std::string word;
  if (reader.has("lanes")) reader.text("lanes", word);
  if (word == "auto" || word.empty()) return;
  reader.integer("lanes", lanes, 1, 1024);
}

void read_memory(Reader& reader, std::size_t& bytes_max) {
  std::size_t bytes = 1;  // where it isn't there
  reader.bytes("memory", bytes);
  if (bytes == 0) {
    reader.problem("memory", "holds no model; expected such as 2GiB, or leave it out for no limit");
  } else if (reader.has("memory")) {
    bytes_max = bytes;
  }
}

Result<worker::NumaPolicy> parse_numa(std::string_view word) {
  if (word == "auto") return worker::NumaPolicy{};
  if (word == "off") return worker::NumaPolicy{.automatic = false, .node = {}};
  int node = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), node);
  if (error != std::errc{} || end != word.data() + word.size() || node < 0) {
    return fail(ErrorKind::invalid_input,
                "'" + std::string(word) + "'; expected auto, off, or the number of a node");
  }
  return worker::NumaPolicy{.automatic = false, .node = node};
}

Result<DeviceKind> parse_kind(std::string_view word) {
  if (word == "cpu") return DeviceKind::cpu;
  return fail(ErrorKind::invalid_input, "'" + std::string(word) +
                                            "'; this version runs models on CPUs: expected cpu, "
                                            "or leave it out");
}

// What of the two own in common, in words; empty: nothing that the file tells.
std::string overlap(const DeviceConfig& a, const DeviceConfig& b) {
  if (a.cpus.empty() && b.cpus.empty()) {
    if (a.numa.node != b.numa.node) return {};
    return "NUMA node " + std::to_string(*a.numa.node);
  }
  for (const int cpu : a.cpus) {
    if (std::ranges::find(b.cpus, cpu) != b.cpus.end()) return "CPU " + std::to_string(cpu);
  }
  return {};  // one names CPUs, the other a node: the machine tells (app/devices.h)
}

// Work of one would run on the lanes of the other.
void check_distinct(Reader& reader, const std::vector<DeviceConfig>& devices) {
  if (devices.size() < 2) return;
  bool told = true;
  for (const DeviceConfig& device : devices) {
    if (!device.cpus.empty() || device.numa.node) continue;
    told = false;
    reader.problem("devices." + device.name,
                   "doesn't say which CPUs it owns; of several devices each needs its own: add "
                   "cpus, such as cpus: 0-7, or numa with a node's number");
  }
  if (!told) return;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const std::string both = overlap(devices[i], devices[j]);
      if (both.empty()) continue;
      const char* const key = devices[i].cpus.empty() ? ".numa" : ".cpus";
      reader.problem("devices." + devices[i].name + key,
                     both + " belongs to device '" + devices[j].name +
                         "' already; give each CPU to one device");
    }
  }
}

void check_task(Reader& reader, const TaskSpec& task, const std::vector<std::string>& names) {
  const std::string place = "tasks." + task.name;
  for (std::size_t i = 0; i < task.devices.size(); ++i) {
    const std::string& wanted = task.devices[i];
    if (std::ranges::find(names, wanted) == names.end()) {
      reader.problem(place + ".devices", "no device '" + wanted + "'" + suggestion(wanted, names));
    } else if (std::ranges::count(std::span(task.devices).first(i), wanted) > 0) {
      reader.problem(place + ".devices", "'" + wanted + "' stands here twice; keep one");
    }
  }
  if (!task.cpus.empty() && names.size() > 1) {
    reader.problem(place + ".cpus",
                   "with several devices a task runs on the CPUs of its devices; leave it out, and "
                   "name the devices, such as devices: [" +
                       names.front() + "]");
  }
}

// Threads of a lane beyond its first belong to the whole process (src/backend/README.md).
void check_threads(Reader& reader, const TaskSpec& task, const Config& config) {
  if (task.isolation != Isolation::thread) return;
  for (const DeviceConfig* device : devices_of(config, task)) {
    const bool owns_cpus = !device->cpus.empty() || device->numa.node;
    if (!owns_cpus || device->threads_per_lane == 1) continue;
    reader.problem("tasks." + task.name + ".isolation",
                   "threads can't stay on the CPUs of device '" + device->name +
                       "' with threads_per_lane: " + std::to_string(device->threads_per_lane) +
                       "; expected isolation: process, or threads_per_lane: 1");
  }
}

}  // namespace

std::vector<int> read_cpus(Reader& reader) {
  std::vector<std::string> words;
  std::vector<int> cpus;
  reader.texts("cpus", words);
  if (words.empty() && reader.has("cpus")) {
    reader.problem("cpus", "names no CPU; expected such as 0-7 or [0, 1]");
  }
  for (const std::string& word : words) {
    const Result<std::vector<int>> range = parse_cpus(word);
    if (!range) {
      reader.problem("cpus", range.error().message);
      return {};
    }
    for (const int cpu : *range) {
      if (std::ranges::find(cpus, cpu) != cpus.end()) {
        reader.problem("cpus", "CPU " + std::to_string(cpu) + " stands here twice; keep one");
        return {};
      }
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

void read_devices(Reader& reader, std::vector<DeviceConfig>& devices) {
  reader.entries("devices", [&](const std::string& name, Reader& child) {
    DeviceConfig device;
    device.name = name;
    child.word<DeviceKind>("kind", device.kind, &parse_kind);
    read_lanes(child, device.lanes);
    child.integer("threads_per_lane", device.threads_per_lane, 1, 1024);
    child.word<worker::NumaPolicy>("numa", device.numa, &parse_numa);
    device.cpus = read_cpus(child);
    read_memory(child, device.memory_bytes_max);
    child.boolean("pin", device.pin);
    child.duration("memory_quiet", device.memory_quiet);
    if (device.memory_quiet <= Duration{}) {
      child.problem("memory_quiet", "expected a time above 0, such as 30s");
    }
    child.number("batch_gain_min", device.batch_gain_min, 0.0, 1.0);
    devices.push_back(device);
  });
  if (devices.empty()) devices.push_back({});
}

void check_devices(Reader& reader, const Config& config) {
  using scheduler::kDevicesMax;
  if (config.devices.size() > kDevicesMax) {
    reader.problem("devices", std::to_string(config.devices.size()) +
                                  " devices; expected at most " + std::to_string(kDevicesMax));
  }
  check_distinct(reader, config.devices);
  std::vector<std::string> names;
  for (const DeviceConfig& device : config.devices) names.push_back(device.name);
  for (const TaskSpec& task : config.tasks) {
    check_task(reader, task, names);
    check_threads(reader, task, config);
  }
}

}  // namespace takt::config
