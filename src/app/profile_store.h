// SPDX-License-Identifier: Apache-2.0
// Execution times that outlive the process: one file for each model as a task runs it on a device.
// Thread-safe: any thread, but write() one at a time. Several programs may share the folder: files
// appear whole.
// Owns: plain values; the files stay.
#pragma once

#include "config/config.h"
#include "core/result.h"
#include "core/time.h"
#include "scheduler/profile.h"
#include "task/task.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace takt::app {

// What a profile depends on, as names and values. A profile of another key is not used.
struct ProfileKey {
  std::string model;
  std::int64_t version = 0;
  std::vector<std::pair<std::string, std::string>> conditions;

  friend bool operator==(const ProfileKey&, const ProfileKey&) = default;
};

// Files by size and time of change, backend, device with its lanes and threads, what the task says
// of instances and batches, and the processor.
[[nodiscard]] ProfileKey profile_key(const config::Config& config,
                                     const config::DeviceConfig& device, const TaskSpec& task,
                                     std::int64_t version, const std::string& backend);

// What `takt plan --measure` found out on an otherwise idle machine.
struct MeasuredProfile {
  std::vector<scheduler::ProfilePoint> points;  // nothing else ran
  double contention = 1;        // how many times longer a batch takes while every lane is busy
  Duration batch_overhead{};    // what the engine adds to a batch, which holds its lane meanwhile
  Duration request_overhead{};  // and to each request
};

struct StoredProfile {
  int batch_max = 0;                             // of the loaded model; 0: no batch dimension
  std::vector<scheduler::ProfilePoint> learned;  // while serving, as Engine::profile exports it
  std::optional<MeasuredProfile> measured;
};

class ProfileStore {
 public:
  // `cache` is models.cache; empty: nothing is stored, nothing found.
  explicit ProfileStore(const std::filesystem::path& cache);

  // Nothing when there is no such file. Errors: invalid_input (damaged, of another version of takt,
  // of another model), which names the file; the caller measures anew.
  [[nodiscard]] Result<std::optional<StoredProfile>> read(const ProfileKey& key) const;
  // Replaces the file in one step. Errors: unavailable (no folder, no space).
  [[nodiscard]] Result<void> write(const ProfileKey& key, const StoredProfile& profile) const;

  [[nodiscard]] std::filesystem::path file_of(const ProfileKey& key) const;

 private:
  std::filesystem::path folder_;
};

// What is to be kept after a run that began with `before`: a size goes on counting where the run
// began with its stored times, and a size that was executed too seldom to be trusted gives way to
// one that is.
[[nodiscard]] std::vector<scheduler::ProfilePoint> accumulate(
    const std::vector<scheduler::ProfilePoint>& before,
    std::vector<scheduler::ProfilePoint> exported);

}  // namespace takt::app
