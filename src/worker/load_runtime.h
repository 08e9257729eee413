// SPDX-License-Identifier: Apache-2.0
// A version on disk becomes open instances: parity gate, warm-up, latency profile.
// Thread-safe: pure functions; takes seconds.
// Owns: nothing; the result owns its instances.
#pragma once

#include "backend/backend.h"
#include "core/model_runtime.h"
#include "core/result.h"
#include "repository/repository.h"

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace takt::worker {

struct RuntimeOptions {
  std::vector<InputPlan> inputs;  // preprocessing, by input name
  std::string device = "cpu";     // as backends know it
  int instances = 1;
  int batch_max = 0;  // less than the model's own limit; 0: that limit
  int threads_per_instance = 1;
  std::vector<int> cpus;                                 // that the instances may use; empty: any
  std::vector<std::vector<int>> instance_cpus;           // as LoadOptions
  Duration spin{};                                       // as LoadOptions
  std::filesystem::path cache_dir;                       // compiled models; empty: no cache
  std::vector<std::span<const std::byte>> input_memory;  // as LoadOptions
  bool may_tune = true;                                  // as LoadOptions
  std::string precision = "fp32";
  // Room for a row of an output without fixed size, where config.pbtxt has no parameter
  // output_bytes_max.
  std::size_t dynamic_output_bytes = std::size_t{1} << 20;
  Duration profile_time_max = std::chrono::milliseconds(500);  // spent on measuring, about
  LoadProgress progress;                                       // as LoadOptions
  // Loaded before with the same options and proven then: no parity gate and no measuring.
  bool trusted = false;
};

// Loads the version on the backend, lets it prove itself on its references (a mismatch refuses it:
// invalid_input), opens and warms its instances and measures the first one's latency profile with the
// preprocessing that it will run with. Errors: those of Backend::load and Instance::submit, each with
// the model's name and version in front.
[[nodiscard]] Result<ModelRuntime> load_runtime(Backend& backend,
                                                const repository::ModelVersion& version,
                                                const RuntimeOptions& options);

}  // namespace takt::worker
