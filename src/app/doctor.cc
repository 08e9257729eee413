// SPDX-License-Identifier: Apache-2.0
#include "app/doctor.h"

#include "app/doctor_gpu.h"
#include "worker/backends.h"
#include "worker/topology.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

namespace takt::app {
namespace {

using Level = Finding::Level;

// The first value of `key` in a file of "key : value" lines, such as /proc/cpuinfo.
std::string proc_value(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (!line.starts_with(key) || colon == std::string::npos) continue;
    const std::size_t value = line.find_first_not_of(" \t", colon + 1);
    return value == std::string::npos ? "" : line.substr(value);
  }
  return {};
}

Finding examine_cpu() {
  const std::string flags = " " + proc_value("/proc/cpuinfo", "flags") + " ";
  std::string found;
  for (const char* flag : {"avx2", "fma", "avx512f", "avx512_vnni", "amx_tile"}) {
    if (flags.find(" " + std::string(flag) + " ") != std::string::npos) {
      found += (found.empty() ? "" : " ") + std::string(flag);
    }
  }
  Finding finding{
      Level::ok, "cpu",
      fmt::format("{}, {} cores, {}", proc_value("/proc/cpuinfo", "model name"),
                  std::thread::hardware_concurrency(), found.empty() ? "no AVX2" : found),
      ""};
  if (found.find("avx2") == std::string::npos) {
    finding.level = Level::note;
    finding.remedy = "without AVX2 inference on the CPU is several times slower";
  }
  return finding;
}

Finding examine_topology() {
  const auto topology = worker::machine_topology();
  if (topology) return {Level::ok, "topology", worker::describe(*topology), ""};
  return {Level::note, "topology", topology.error().message,
          "workers are not placed on NUMA nodes"};
}

Finding examine_memory() {
  std::istringstream available(proc_value("/proc/meminfo", "MemAvailable"));
  std::uint64_t kib = 0;
  available >> kib;
  constexpr std::uint64_t kComfortableKib = std::uint64_t{2} << 20;
  if (kib >= kComfortableKib)
    return {Level::ok, "memory", fmt::format("{} MiB available", kib >> 10U), ""};
  return {Level::note, "memory", fmt::format("{} MiB available", kib >> 10U),
          "the demo needs about 700 MiB; lower lines.*.ring.capacity or use smaller models"};
}

Finding examine_shared_memory() {
  const int descriptor = ::memfd_create("takt-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) {
    return {Level::problem, "shared memory", "memfd_create fails",
            "frames live in shared memory: use Linux 5.1 or newer, or allow memfd_create in the "
            "sandbox"};
  }
  ::close(descriptor);
  return {Level::ok, "shared memory", "memfd with seals", ""};
}

Finding examine_openvino() {
  const auto backend = worker::make_backend("openvino");
  if (!backend) {
    return {Level::problem, "openvino", backend.error().message,
            "no model runs on the CPU without it: `make setup`, then `make build`"};
  }
  return {Level::ok, "openvino", (*backend)->version(), ""};
}

Finding examine_cache(const std::filesystem::path& directory) {
  std::error_code failure;
  std::filesystem::create_directories(directory, failure);
  if (::access(directory.c_str(), W_OK) == 0)
    return {Level::ok, "model cache", directory.string(), ""};
  return {Level::note, "model cache", directory.string() + " can't be written",
          "models are compiled anew at each start; set models.cache to a writable folder"};
}

}  // namespace

std::vector<Finding> examine(const std::filesystem::path& cache_dir) {
  std::vector<Finding> findings{examine_cpu(),      examine_topology(),
                                examine_memory(),   examine_shared_memory(),
                                examine_openvino(), examine_cache(cache_dir)};
  std::ranges::move(examine_gpus(), std::back_inserter(findings));
  return findings;
}

int run_doctor(const std::filesystem::path& cache_dir) {
  constexpr std::array<const char*, 3> kMarks{"ok", "note", "PROBLEM"};
  bool problem = false;
  for (const Finding& finding : examine(cache_dir)) {
    problem = problem || finding.level == Level::problem;
    fmt::print("{:<8} {:<14} {}\n", kMarks[static_cast<std::size_t>(finding.level)], finding.what,
               finding.detail);
    if (!finding.remedy.empty()) fmt::print("{:<24}{}\n", "", finding.remedy);
  }
  return problem ? 1 : 0;
}

}  // namespace takt::app
