// SPDX-License-Identifier: Apache-2.0
#include "worker/load_runtime.h"

#include "worker/batch_run.h"
#include "worker/parity.h"
#include "worker/profile_run.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace takt::worker {
namespace {

constexpr int kOpenedAtOnceMax = 4;  // instances; compiling one takes memory beyond what stays

ModelSource source_of(const repository::ModelVersion& version) {
  return {.name = version.name, .version = version.version, .onnx_path = version.onnx_path};
}

LoadOptions load_options(const repository::ModelVersion& version, const RuntimeOptions& options) {
  LoadOptions load;
  load.inputs = options.inputs;
  load.batch_max = version.signature.batch_max;
  if (options.batch_max > 0) load.batch_max = std::min(load.batch_max, options.batch_max);
  load.input_specs = version.signature.inputs;
  load.output_specs = version.signature.outputs;
  load.instances = options.instances;
  load.threads_per_instance = options.threads_per_instance;
  load.spin = options.spin;
  load.cpus = options.cpus;
  load.instance_cpus = options.instance_cpus;
  load.cache_dir = options.cache_dir;
  load.device = options.device;
  load.input_memory = options.input_memory;
  load.may_tune = options.may_tune;
  load.precision = options.precision;
  load.parameters = version.config.parameters;
  load.progress = options.progress;
  return load;
}

// The parameter output_bytes_max of config.pbtxt, or what the options say.
Result<std::size_t> dynamic_bytes(const repository::ModelVersion& version,
                                  const RuntimeOptions& options) {
  constexpr std::size_t kMax = std::size_t{1} << 30;
  for (const auto& [key, text] : version.config.parameters) {
    if (key != "output_bytes_max") continue;
    std::size_t bytes = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
    if (error == std::errc() && end == text.data() + text.size() && bytes >= 1 && bytes <= kMax) {
      return bytes;
    }
    return fail(ErrorKind::invalid_input, "config.pbtxt: parameter output_bytes_max is '" + text +
                                              "'; expected bytes, 1 to " + std::to_string(kMax));
  }
  return options.dynamic_output_bytes;
}

// References are tensors, so the version is loaded once without image preprocessing for them.
Result<void> prove(Backend& backend, const repository::ModelVersion& version,
                   const RuntimeOptions& options, std::size_t open_bytes) {
  const auto reference = repository::read_reference(version.reference_path, version.signature);
  if (!reference) return std::unexpected(reference.error());
  if (reference->cases.empty()) return {};
  LoadOptions load = load_options(version, options);
  load.inputs.clear();
  load.input_memory.clear();
  load.instances = 1;
  load.tuned_instances = options.instances;
  if (load.batch_max > 0) {  // a case may have more rows than this task takes
    for (const repository::ReferenceCase& one : reference->cases) {
      load.batch_max = std::max(load.batch_max, static_cast<int>(one.rows));
    }
    load.batch_max = std::min(load.batch_max, version.signature.batch_max);
  }
  const auto model = backend.load(source_of(version), load);
  if (!model) return std::unexpected(model.error());
  auto instance = (*model)->open_instance({.device = options.device, .index = 0});
  if (!instance) return std::unexpected(instance.error());
  const auto bytes = output_bytes((*model)->signature(), open_bytes);
  if (!bytes) return std::unexpected(bytes.error());
  return check_parity(*reference, (*model)->signature(), **instance, *bytes);
}

struct WarmInstance {
  std::unique_ptr<Instance> instance;
  std::vector<LatencyPoint> profile;
};
using Opened = Result<WarmInstance>;

// Without time to measure, each size is only run to be warm.
Opened open_warm(const LoadedModel& model, const RuntimeOptions& options,
                 const ModelRuntime& runtime, int index, Duration measure_time) {
  auto instance = model.open_instance({.device = options.device, .index = index});
  if (!instance) return std::unexpected(std::move(instance).error());
  auto profile = measure_profile(**instance, runtime.signature, options.inputs,
                                 runtime.output_bytes_max, measure_time);
  if (!profile) return std::unexpected(std::move(profile).error());
  return WarmInstance{std::move(*instance), std::move(*profile)};
}

// Those that are missing, a few at the same time: an instance may be compiled anew. Tied to no lane,
// whose CPU may be busy for others.
std::vector<Opened> open_rest(const LoadedModel& model, const RuntimeOptions& options,
                              const ModelRuntime& runtime) {
  const int first = static_cast<int>(runtime.instances.size());
  const int count = options.instances - first;
  std::vector<Opened> opened;
  for (int i = 0; i < count; ++i) opened.emplace_back(WarmInstance{});
  std::atomic<int> next{0};
  const auto open = [&] {
    for (int i = next++; i < count; i = next++) {
      opened[static_cast<std::size_t>(i)] =
          open_warm(model, options, runtime, first + i, Duration::zero());
    }
  };
  const int cpus = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  {
    std::vector<std::jthread> threads;
    try {
      for (int i = 0; i < std::min({count, cpus, kOpenedAtOnceMax}); ++i) {
        threads.emplace_back(open);
      }
    } catch (const std::system_error&) {
      if (threads.empty()) open();  // no thread to be had, but there is this one
    }
  }
  return opened;
}

Result<ModelRuntime> load(Backend& backend, const repository::ModelVersion& version,
                          const RuntimeOptions& options) {
  const Result<std::size_t> open_bytes = dynamic_bytes(version, options);
  if (!open_bytes) return std::unexpected(open_bytes.error());
  if (!options.trusted) {
    const Result<void> proven = prove(backend, version, options, *open_bytes);
    if (!proven) return std::unexpected(proven.error());
  }
  const auto model = backend.load(source_of(version), load_options(version, options));
  if (!model) return std::unexpected(model.error());

  ModelRuntime runtime;
  runtime.name = version.name;
  runtime.version = version.version;
  runtime.backend = backend.name();
  runtime.backend_version = backend.version();
  runtime.device = options.device;
  runtime.signature = (*model)->signature();
  runtime.memory = (*model)->memory();
  runtime.notes = (*model)->notes();
  auto bytes = output_bytes(runtime.signature, *open_bytes);
  if (!bytes) return std::unexpected(std::move(bytes).error());
  runtime.output_bytes_max = std::move(*bytes);
  // The first one's profile stands for all, measured while nothing else runs.
  if (!options.trusted) {
    Opened first = open_warm(**model, options, runtime, 0, options.profile_time_max);
    if (!first) return std::unexpected(std::move(first).error());
    runtime.profile = std::move(first->profile);
    runtime.instances.push_back(std::move(first->instance));
  }
  for (Opened& opened : open_rest(**model, options, runtime)) {
    if (!opened) return std::unexpected(std::move(opened).error());
    if (runtime.profile.empty()) runtime.profile = std::move(opened->profile);
    runtime.instances.push_back(std::move(opened->instance));
  }
  return runtime;
}

}  // namespace

Result<ModelRuntime> load_runtime(Backend& backend, const repository::ModelVersion& version,
                                  const RuntimeOptions& options) {
  Result<ModelRuntime> runtime = load(backend, version, options);
  if (runtime) return runtime;
  return std::unexpected(std::move(runtime).error().within("model '" + version.name + "' version " +
                                                           std::to_string(version.version)));
}

}  // namespace takt::worker
