// SPDX-License-Identifier: Apache-2.0
// What executes a version of a model: Backend loads it, LoadedModel holds its weights, Instance
// (core) runs batches. Thread-safe: Backend and LoadedModel from any thread; Instance as
// core/inference.h says. Owns: LoadedModel owns the weights and is shared by its instances, which
// keep it alive.
#pragma once

#include "core/inference.h"
#include "core/preprocess.h"
#include "core/result.h"
#include "core/time.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt {

struct ModelSource {
  std::string name;
  std::int64_t version = 1;
  std::filesystem::path onnx_path;
};

// What a load is at, and so many parts of so many of that: told on the thread that loads, as often as there is news.
using LoadProgress = std::function<void(std::string_view stage, int done, int total)>;

struct LoadOptions {
  std::vector<InputPlan> inputs;  // matched by name; an input without a plan takes finished tensors
  int batch_max = 0;              // 0: no batch dimension; otherwise batches of 1..batch_max
  // What config.pbtxt and the ONNX file agree on, without the batch dimension when batch_max > 0.
  // It fixes dimensions that the file leaves open; empty: the file alone decides.
  std::vector<TensorSpec> input_specs;
  std::vector<TensorSpec> output_specs;
  int instances = 1;  // how many will be opened and run in parallel
  // For how many that run in parallel a backend tunes; 0: `instances`. A load that opens fewer to try the model out
  // says it, so that it tries the same ways to compute that will serve.
  int tuned_instances = 0;
  int threads_per_instance = 1;  // CPU backends
  std::vector<int> cpus;         // CPUs that the instances may use; empty: any
  // Of each instance, in place of all of those; empty: it uses all of them.
  std::vector<std::vector<int>> instance_cpus;
  // How long an instance may look for the end of a batch, or its thread for the next one, before it sleeps.
  Duration spin{};
  std::filesystem::path cache_dir;  // compiled models; empty: no cache
  std::string device = "cpu";       // that its instances will be opened on; "cuda:0"
  // Mappings that the requests' inputs may lie in, whole pages; they outlive the loaded model. A backend whose
  // device reads the host's memory pins them once.
  std::vector<std::span<const std::byte>> input_memory;
  std::string precision = "fp32";  // a backend refuses what it can't do
  // Whether ways to compute may be tried out on the device, which disturbs what it serves; otherwise a backend
  // takes what it has in `cache_dir`, or refuses.
  bool may_tune = true;
  // From config.pbtxt. A backend reads the keys that begin with its name and a dot
  // ("simulated.base_us"), refuses those that it doesn't know, and leaves all others alone.
  std::vector<std::pair<std::string, std::string>> parameters;
  LoadProgress progress;  // of a load that takes long; may be empty
};

struct Partition {
  std::string device = "cpu";  // "cpu", "cuda:0"
  int index = 0;               // lane of the device
};

// That the instance's thread may use; empty: any.
[[nodiscard]] constexpr std::span<const int> cpus_of_instance(const LoadOptions& options,
                                                              int index) noexcept {
  const auto place = static_cast<std::size_t>(index);
  return place < options.instance_cpus.size() ? options.instance_cpus[place] : options.cpus;
}

class LoadedModel {
 public:
  virtual ~LoadedModel() = default;
  [[nodiscard]] virtual const Signature& signature() const noexcept = 0;
  [[nodiscard]] virtual ModelMemory memory() const noexcept = 0;
  // Errors: out_of_memory, unavailable, device_poisoned, internal.
  [[nodiscard]] virtual Result<std::unique_ptr<Instance>> open_instance(
      const Partition& partition) const = 0;
  // What whoever runs the server should know although the model works, each with what to do about it: a plan that
  // couldn't be kept, say.
  [[nodiscard]] virtual std::vector<std::string> notes() const { return {}; }
};

class Backend {
 public:
  virtual ~Backend() = default;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;  // "openvino", "simulated"
  [[nodiscard]] virtual std::string version() const = 0;             // of the library behind it
  // Parses, compiles and checks the model. Errors: invalid_input (not ONNX, truncated, an operator
  // that is not supported, a plan that doesn't fit the signature: the message names node, operator
  // or input and what to do), out_of_memory, unavailable (device or library missing). Messages
  // begin with the file; the caller adds the model's name and version.
  [[nodiscard]] virtual Result<std::shared_ptr<const LoadedModel>> load(
      const ModelSource& source, const LoadOptions& options) = 0;
};

}  // namespace takt
