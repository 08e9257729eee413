// SPDX-License-Identifier: Apache-2.0
#include "config/device_config.h"

#include "config/units.h"
#include "core/suggest.h"
#include "scheduler/scheduler.h"
#include "worker/backends.h"

#include <algorithm>
#include <charconv>
#include <span>
#include <string>

namespace takt::config {
namespace {

// Of the device that stands for the machine's CPU where a file names none.
constexpr std::string_view kCpuName = "cpu";

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
  if (word == "cuda") return DeviceKind::cuda;
  return fail(
      ErrorKind::invalid_input,
      "'" + std::string(word) +
          "'; expected cpu, or cuda for a GPU of NVIDIA, such as gpu: {kind: cuda, index: 0}");
}

// What differs by the device's kind.
void read_kind(Reader& reader, DeviceConfig& device) {
  reader.word<DeviceKind>("kind", device.kind, &parse_kind);
  reader.integer("index", device.index, 0, 1023);
  reader.integer("threads_per_lane", device.threads_per_lane, 1, 1024);
  reader.boolean("pin", device.pin);
  if (device.kind == DeviceKind::cpu) {
    if (reader.has("index"))
      reader.problem("index", "only a GPU has one; add kind: cuda, or leave it out");
    return;
  }
  // Its workers wait for the GPU more than they compute: they keep to a node only where the file says so.
  device.numa.automatic = false;
  for (const char* const key : {"threads_per_lane", "pin"}) {
    if (reader.has(key)) reader.problem(key, "the lanes of a GPU are no CPUs; leave it out");
  }
  if (device.name == kCpuName) {
    reader.problem("kind",
                   "device 'cpu' is the machine's CPU; give the GPU another name, such as gpu");
  }
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

bool is_cpu(const DeviceConfig& device) {
  return device.kind == DeviceKind::cpu;
}

// Work of one would run on the lanes of the other.
void check_distinct_cpus(Reader& reader, std::vector<DeviceConfig> devices) {
  std::erase_if(devices, [](const DeviceConfig& device) { return !is_cpu(device); });
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

void check_distinct_gpus(Reader& reader, const std::vector<DeviceConfig>& devices) {
  for (std::size_t i = 0; i < devices.size(); ++i) {
    if (is_cpu(devices[i])) continue;
    const auto before = std::span(devices).first(i);
    const auto other = std::ranges::find_if(before, [&](const DeviceConfig& device) {
      return !is_cpu(device) && device.index == devices[i].index;
    });
    if (other == before.end()) continue;
    reader.problem("devices." + devices[i].name + ".index",
                   "GPU " + std::to_string(devices[i].index) + " is device '" + other->name +
                       "' already; give each its own index, and that one more lanes if it should "
                       "run more at once");
  }
}

bool is_named(const std::vector<std::string>& names, const DeviceConfig& device) {
  return names.empty() || std::ranges::find(names, device.name) != names.end();
}

// Of those that may run on these devices; no names: on all.
std::vector<std::string> default_backends(const Config& config,
                                          const std::vector<std::string>& names) {
  const auto has = [&](DeviceKind kind) {
    return std::ranges::any_of(config.devices, [&](const DeviceConfig& device) {
      return device.kind == kind && is_named(names, device);
    });
  };
  std::vector<std::string> backends;
  if (has(DeviceKind::cuda)) backends.emplace_back("cuda");
  if (has(DeviceKind::cpu) || backends.empty()) backends.emplace_back("openvino");
  return backends;
}

// `place` says `backends`, for the devices of these names.
void check_backends(Reader& reader, const std::string& place, const Config& config,
                    const std::vector<std::string>& backends,
                    const std::vector<std::string>& names) {
  const std::string& first = backends.front();
  std::string tried;
  for (const DeviceConfig& device : config.devices) {
    if (!is_named(names, device)) continue;
    if (worker::runs_on(first, backend_device(device))) return;
    tried += (tried.empty() ? "" : ", ") + device.name;
  }
  if (tried.empty()) return;  // no such devices, which is told elsewhere
  reader.problem(
      place + ".backends",
      "'" + first + "' runs on none of the devices (" + tried + "); " +
          (first == "cuda" ? "add one of kind cuda, such as gpu: {kind: cuda}, to devices"
                           : "name one of kind cpu, or put cuda first: [cuda, " + first + "]"));
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
  for (const DeviceConfig& device : config.devices) {
    const bool owns_cpus = !device.cpus.empty() || device.numa.node;
    const auto may_come_to_it = [&](const std::string& backend) {
      const auto devices = devices_of(config, task, backend);
      return std::ranges::find(devices, &device) != devices.end();
    };
    if (!owns_cpus || device.threads_per_lane == 1) continue;
    if (std::ranges::none_of(task.backends, may_come_to_it)) continue;
    reader.problem("tasks." + task.name + ".isolation",
                   "threads can't stay on the CPUs of device '" + device.name +
                       "' with threads_per_lane: " + std::to_string(device.threads_per_lane) +
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

std::vector<std::string> read_backends(Reader& reader) {
  std::vector<std::string> backends;
  reader.texts("backends", backends);
  if (reader.is_list("backends") && backends.empty()) {
    reader.problem("backends", "names none; leave it out for those that the devices have");
  }
  return backends;
}

void read_devices(Reader& reader, std::vector<DeviceConfig>& devices) {
  reader.entries("devices", [&](const std::string& name, Reader& child) {
    DeviceConfig device;
    device.name = name;
    read_kind(child, device);
    read_lanes(child, device.lanes);
    child.word<worker::NumaPolicy>("numa", device.numa, &parse_numa);
    device.cpus = read_cpus(child);
    read_memory(child, device.memory_bytes_max);
    child.duration("memory_quiet", device.memory_quiet);
    if (device.memory_quiet <= Duration{}) {
      child.problem("memory_quiet", "expected a time above 0, such as 30s");
    }
    child.number("batch_gain_min", device.batch_gain_min, 0.0, 1.0);
    devices.push_back(device);
  });
  if (devices.empty()) devices.push_back({});
}

void complete_devices(Config& config) {
  bool needs_cpu = false;
  const auto complete = [&](std::vector<std::string>& backends,
                            const std::vector<std::string>& names) {
    if (backends.empty()) backends = default_backends(config, names);
    needs_cpu = needs_cpu || std::ranges::any_of(backends, [](const std::string& backend) {
                  return worker::runs_on(backend, kCpuName) && !worker::runs_on(backend, "cuda:0");
                });
  };
  for (TaskSpec& task : config.tasks) complete(task.backends, task.devices);
  if (config.server) complete(config.server->backends, {});
  if (needs_cpu && std::ranges::none_of(config.devices, &is_cpu)) {
    config.devices.emplace_back().name = kCpuName;
  }
}

void check_devices(Reader& reader, const Config& config) {
  using scheduler::kDevicesMax;
  if (config.devices.size() > kDevicesMax) {
    reader.problem("devices", std::to_string(config.devices.size()) +
                                  " devices; expected at most " + std::to_string(kDevicesMax));
  }
  check_distinct_cpus(reader, config.devices);
  check_distinct_gpus(reader, config.devices);
  std::vector<std::string> names;
  for (const DeviceConfig& device : config.devices) names.push_back(device.name);
  for (const TaskSpec& task : config.tasks) {
    check_task(reader, task, names);
    check_threads(reader, task, config);
    check_backends(reader, "tasks." + task.name, config, task.backends, task.devices);
  }
  if (config.server) check_backends(reader, "server", config, config.server->backends, {});
}

std::string_view to_string(DeviceKind kind) noexcept {
  return kind == DeviceKind::cuda ? "cuda" : "cpu";
}

std::string backend_device(const DeviceConfig& device) {
  if (is_cpu(device)) return "cpu";
  return "cuda:" + std::to_string(device.index);
}

bool may_run_on(const TaskSpec& task, const DeviceConfig& device) {
  return !task.backends.empty() && is_named(task.devices, device) &&
         worker::runs_on(task.backends.front(), backend_device(device));
}

std::vector<const DeviceConfig*> devices_of(const Config& config, const TaskSpec& task) {
  std::vector<const DeviceConfig*> devices;
  for (const DeviceConfig& device : config.devices) {
    if (may_run_on(task, device)) devices.push_back(&device);
  }
  return devices;
}

std::vector<const DeviceConfig*> devices_of(const Config& config, const TaskSpec& task,
                                            std::string_view backend) {
  TaskSpec other = task;
  other.backends = {std::string(backend)};
  std::vector<const DeviceConfig*> devices = devices_of(config, other);
  if (!devices.empty() || task.backends.empty() || task.backends.front() == backend) return devices;
  const auto cpu = std::ranges::find_if(config.devices, &is_cpu);
  if (cpu != config.devices.end() && worker::runs_on(backend, backend_device(*cpu))) {
    devices.push_back(&*cpu);
  }
  return devices;
}

}  // namespace takt::config
