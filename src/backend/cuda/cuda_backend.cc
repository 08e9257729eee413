// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/cuda_backend.h"

#include "backend/cuda/compile/kernel_cache.h"
#include "backend/cuda/cuda_instance.h"
#include "backend/cuda/cuda_model.h"
#include "backend/cuda/cuda_parameters.h"
#include "backend/cuda/host_memory.h"
#include "backend/cuda/kernels/preprocess.h"
#include "backend/cuda/run/opened_device.h"
#include "backend/cuda/run/planned_build.h"
#include "core/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

constexpr std::string_view kFixedBatch =
    "the batch is fixed inside the model; export it with a dynamic first dimension, or set "
    "max_batch_size: 0";

std::unexpected<Error> refuse(std::string message) {
  return fail(ErrorKind::invalid_input, std::move(message));
}

std::unexpected<Error> refuse_fixed(std::string_view what, const std::string& name,
                                    const Shape& shape, std::int64_t batch) {
  return refuse(fmt::format("{} '{}' stays {} when the batch is {}: {}", what, name,
                            takt::to_string(shape), batch, kFixedBatch));
}

// Devices that models were loaded on: backends come and go, but each has one context.
class OpenedDevices {
 public:
  static OpenedDevices& of_process() {
    static auto* const devices = new OpenedDevices;  // models may outlive any static object
    return *devices;
  }

  Result<std::shared_ptr<const OpenedDevice>> open(const CudaBackendOptions& options, int index) {
    const std::scoped_lock guard(lock_);
    std::weak_ptr<const OpenedDevice>& known = devices_[{index, options.gate}];
    if (std::shared_ptr<const OpenedDevice> shared = known.lock()) return shared;
    Result<OpenedDevice> opened = open_device(options.search, index, options.gate);
    if (!opened) return std::unexpected(std::move(opened).error());
    const auto shared = std::make_shared<const OpenedDevice>(*std::move(opened));
    known = shared;
    return shared;
  }

 private:
  OpenedDevices() = default;
  std::mutex lock_;
  // Guarded by lock_:
  std::map<std::pair<int, const AllocationGate*>, std::weak_ptr<const OpenedDevice>> devices_;
};

// Shapes that config.pbtxt gives whole.
std::map<std::string, Shape> fixed_shapes(std::span<const TensorSpec> specs) {
  std::map<std::string, Shape> shapes;
  for (const TensorSpec& spec : specs) {
    const bool open = std::ranges::any_of(spec.shape, [](std::int64_t size) { return size < 0; });
    if (!open) shapes.emplace(spec.name, spec.shape);
  }
  return shapes;
}

Result<void> check_declared(std::span<const TensorSpec> specs, const graph::Graph& graph) {
  if (specs.empty()) return {};
  std::vector<std::string> names;
  for (const TensorSpec& spec : specs) names.push_back(spec.name);
  for (const graph::ValueId id : graph.inputs) {
    const graph::Value& input = graph.value(id);
    const auto spec = std::ranges::find(specs, input.name, &TensorSpec::name);
    if (spec == specs.end()) {
      return refuse(fmt::format("the ONNX file has an input '{}' that is not declared{}",
                                input.name, suggestion(input.name, names)));
    }
    if (spec->type != input.type.type) {
      return refuse(fmt::format("input '{}': declared as {}, but the ONNX file says {}", input.name,
                                takt::to_string(spec->type), takt::to_string(input.type.type)));
    }
  }
  return {};
}

// Without the batch dimension, which must be the first of every input and output.
Result<Signature> signature_of(const graph::Graph& graph, std::int64_t batch) {
  Signature signature;
  signature.batch_max = static_cast<int>(batch);
  const auto add = [&](graph::ValueId id, std::string_view what,
                       std::vector<TensorSpec>& specs) -> Result<void> {
    const graph::Value& value = graph.value(id);
    TensorSpec spec{value.name, value.type.type, value.type.shape};
    if (batch > 0) {
      if (spec.shape.empty() || spec.shape.front() != batch) {
        return refuse_fixed(what, spec.name, spec.shape, batch);
      }
      spec.shape.erase(spec.shape.begin());
    }
    specs.push_back(std::move(spec));
    return {};
  };
  for (const graph::ValueId id : graph.inputs) {
    if (Result<void> added = add(id, "input", signature.inputs); !added) {
      return std::unexpected(std::move(added).error());
    }
  }
  for (const graph::ValueId id : graph.outputs) {
    if (Result<void> added = add(id, "output", signature.outputs); !added) {
      return std::unexpected(std::move(added).error());
    }
  }
  return signature;
}

// The node that finds out that the batch is fixed doesn't know what that means.
Result<graph::Graph> read_batched(const std::filesystem::path& onnx, const ModelOptions& options,
                                  std::int64_t batch) {
  Result<graph::Graph> graph = read_graph(onnx, options, batch);
  if (graph || batch <= 1 || !read_graph(onnx, options, 1)) return graph;
  return refuse(fmt::format("{}; a batch of 1 works, one of {} doesn't: {}", graph.error().message,
                            batch, kFixedBatch));
}

// The kernels that make inputs of images, at every batch size.
Result<void> add_image_kernels(CudaModel& model, const CompiledModel& compiled,
                               KernelCache& cache) {
  for (const auto& [batch, program] : compiled.programs()) {
    std::vector<std::optional<ImageKernel>>& kernels = model.images[batch];
    for (std::size_t i = 0; i < model.rules.images.size(); ++i) {
      kernels.emplace_back();
      if (!model.rules.images[i]) continue;
      Result<KernelSource> source =
          preprocess_kernel(*model.rules.images[i], program.program.inputs[i], "preprocess");
      if (!source) return std::unexpected(std::move(source).error());
      Result<Kernel> kernel = cache.kernel(*source);
      if (!kernel) return std::unexpected(std::move(kernel).error());
      kernels.back().emplace(
          *std::move(kernel),
          LaunchShape{{source->blocks, 1, 1}, {source->threads_x, source->threads_y, 1}, 0});
    }
  }
  return {};
}

std::vector<std::string> notes_of(const PlannedModel& planned, const PinnedInputs& pinned) {
  std::vector<std::string> notes;
  if (!planned.remade.empty()) {
    notes.push_back("its plan was made again: " + planned.remade);
  }
  if (planned.file.empty()) {
    notes.push_back(
        "its plan is not kept, so that every start tunes it again; name a folder as models.cache");
  } else if (!planned.unsaved.empty()) {
    notes.push_back("its plan can't be kept, so that every start tunes it again: " +
                    planned.unsaved);
  }
  if (!pinned.unpinned().empty()) {
    notes.push_back(
        "the device can't read the input slots, whose contents are copied first, which is "
        "slower: " +
        pinned.unpinned());
  }
  return notes;
}

class LoadedCudaModel final : public LoadedModel {
 public:
  explicit LoadedCudaModel(std::shared_ptr<const CudaModel> model) : model_(std::move(model)) {}

  [[nodiscard]] const Signature& signature() const noexcept override {
    return model_->rules.signature;
  }
  [[nodiscard]] ModelMemory memory() const noexcept override {
    return {model_->compiled->weights_bytes(), CudaInstance::device_bytes(*model_)};
  }
  [[nodiscard]] Result<std::unique_ptr<Instance>> open_instance(
      const Partition& partition) const override {
    if (partition.device != model_->options.device) {
      return fail(ErrorKind::unavailable,
                  fmt::format("the model was loaded on device '{}', not '{}'",
                              model_->options.device, partition.device));
    }
    return CudaInstance::open(model_, partition.index);
  }
  [[nodiscard]] std::vector<std::string> notes() const override { return model_->notes; }

 private:
  const std::shared_ptr<const CudaModel> model_;
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(CudaBackendOptions options, std::shared_ptr<const Driver> driver)
      : options_(std::move(options)), driver_(std::move(driver)) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "cuda"; }
  [[nodiscard]] std::string version() const override {
    return "CUDA " + version_text(driver_->version());
  }

  [[nodiscard]] Result<std::shared_ptr<const LoadedModel>> load(
      const ModelSource& source, const LoadOptions& options) override {
    try {
      return load_model(source, options);
    } catch (const std::bad_alloc&) {
      return fail(ErrorKind::out_of_memory,
                  source.onnx_path.string() + ": the host's memory doesn't suffice to load it");
    } catch (const std::system_error&
                 error) {  // no thread to compile with, or a path that can't be looked at
      return fail(ErrorKind::unavailable, source.onnx_path.string() + ": " + error.what());
    } catch (const std::exception& error) {
      return fail(ErrorKind::internal, source.onnx_path.string() + ": " + error.what());
    }
  }

 private:
  Result<std::shared_ptr<const LoadedModel>> load_model(const ModelSource& source,
                                                        const LoadOptions& options) {
    const std::string file = source.onnx_path.string();
    const auto within = [&](Error error) {
      return std::unexpected(error.message.starts_with(file) ? std::move(error)
                                                             : std::move(error).within(file));
    };
    Result<CudaParameters> parameters = read_parameters(options);
    if (!parameters) return within(std::move(parameters).error());
    Result<std::shared_ptr<const OpenedDevice>> device =
        OpenedDevices::of_process().open(options_, parameters->device);
    if (!device) return within(std::move(device).error());

    ModelOptions build;
    build.batches = parameters->batches;
    build.input_shapes = fixed_shapes(options.input_specs);
    build.precision = parameters->precision;
    build.tuning.may_tune = parameters->may_tune;
    build.tuning.effort = parameters->effort;
    build.tuning.concurrent = parameters->concurrent;
    build.tuning.workspace_bytes_max = parameters->workspace_bytes_max;
    const std::int64_t batch = build.batches.back();
    const Result<graph::Graph> graph = read_batched(source.onnx_path, build, batch);
    if (!graph) return within(graph.error());
    if (Result<void> fits = check_declared(options.input_specs, *graph); !fits) {
      return within(std::move(fits).error());
    }
    Result<Signature> signature = signature_of(*graph, batch);
    if (!signature) return within(std::move(signature).error());
    Result<BatchRules> rules = make_batch_rules(*std::move(signature), options.inputs);
    if (!rules) return within(std::move(rules).error());
    for (const std::optional<ImageInput>& image : rules->images) {
      build.inputs_made_on_device.push_back(image.has_value());
    }
    const auto model = std::make_shared<CudaModel>();
    model->rules = *std::move(rules);
    model->options = options;
    model->options.progress = {};
    const PlanUse use{{},
                      options.cache_dir,
                      fmt::format("{}-{}", source.name, source.version),
                      options_.takt_version};
    Result<PlannedModel> planned = build_with_plan(
        *device, source.onnx_path, build, use, options.progress,
        [&](const CompiledModel& compiled, KernelCache& kernels) -> Result<void> {
          for (const auto& [size, program] : compiled.programs()) {
            Result<void> fits = check_rows(program.program, size, model->rules.signature);
            if (!fits) return fits;
          }
          return add_image_kernels(*model, compiled, kernels);
        });
    if (!planned) return within(std::move(planned).error());
    model->compiled = std::move(planned->model);
    Result<PinnedInputs> pinned =
        HostMemory::of_process().pin((*device)->context, options.input_memory);
    if (!pinned) return within(std::move(pinned).error());
    model->pinned = *std::move(pinned);
    model->notes = notes_of(*planned, model->pinned);
    return std::make_shared<const LoadedCudaModel>(model);
  }

  // Constant.
  const CudaBackendOptions options_;
  const std::shared_ptr<const Driver> driver_;
};

}  // namespace

Result<void> check_rows(const Program& program, std::int64_t batch, const Signature& signature) {
  if (batch == 0) return {};
  const auto check = [&](std::string_view what, const std::vector<View>& views,
                         const std::vector<TensorSpec>& specs) -> Result<void> {
    for (std::size_t i = 0; i < std::min(views.size(), specs.size()); ++i) {
      // What the device makes of an image may have its lines in pairs.
      const Shape& shape = views[i].shape;
      const bool fits = !shape.empty() && shape.front() == batch &&
                        element_count(std::span(shape).subspan(1)).value_or(0) ==
                            element_count(specs[i].shape).value_or(1);
      if (!fits) return refuse_fixed(what, specs[i].name, shape, batch);
    }
    return {};
  };
  Result<void> fits = check("input", program.inputs, signature.inputs);
  return fits ? check("output", program.outputs, signature.outputs) : fits;
}

Result<std::unique_ptr<Backend>> make_cuda_backend(CudaBackendOptions options) {
  Result<std::shared_ptr<const Driver>> driver = Driver::open(options.search);
  if (!driver) return std::unexpected(std::move(driver).error());
  return std::make_unique<CudaBackend>(std::move(options), *std::move(driver));
}

}  // namespace takt::cuda
