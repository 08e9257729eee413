// SPDX-License-Identifier: Apache-2.0
#include "backend/openvino/compile.h"

#include "backend/openvino/ov_types.h"
#include "backend/openvino/read_model.h"
#include "core/suggest.h"

#include <malloc.h>
#include <openvino/core/preprocess/pre_post_process.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/runtime/properties.hpp>

#include <algorithm>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

// Where the program that loads this module has mimalloc for its allocator.
extern "C" void mi_collect(bool force) __attribute__((weak));

namespace takt::ov_backend {
namespace {

std::unexpected<Error> refuse(const std::string& message) {
  return fail(ErrorKind::invalid_input, message);
}

Result<void> check_options(const LoadOptions& options) {
  if (options.precision != "fp32") {
    return refuse("precision '" + options.precision +
                  "' is not offered by the openvino backend; use fp32 (a quantised ONNX file keeps "
                  "its int8 layers)");
  }
  if (options.batch_max < 0 || options.batch_max > 4096) {
    return refuse("batch_max " + std::to_string(options.batch_max) + " is outside 0..4096");
  }
  if (options.instances < 1 || options.threads_per_instance < 1) {
    return refuse("instances and threads_per_instance must be at least 1");
  }
  if (!options.cpus.empty() && options.threads_per_instance > 1) {
    return refuse(
        "cpus can confine only instances of one thread, because OpenVINO's further "
        "threads are shared by all models; set threads_per_instance: 1, leave cpus out, "
        "or confine the whole process with taskset");
  }
  for (const auto& [key, value] : options.parameters) {
    if (!key.starts_with("openvino.")) continue;
    return refuse("parameter '" + key + "' is unknown; the openvino backend has none");
  }
  if (!options.cache_dir.empty()) {
    std::error_code error;
    std::filesystem::create_directories(options.cache_dir, error);
    if (error) {
      return refuse("cache_dir " + options.cache_dir.string() + " can't be made: " +
                    error.message() + "; name a folder that can be written, or leave it out");
    }
  }
  return {};
}

Result<void> refuse_strings(const LoadOptions& options) {
  for (const std::vector<TensorSpec>* side : {&options.input_specs, &options.output_specs}) {
    const auto found = std::ranges::find(*side, DataType::bytes, &TensorSpec::type);
    if (found == side->end()) continue;
    return refuse("'" + found->name +
                  "' holds strings, which the openvino backend can't pass; export the model "
                  "without them");
  }
  return {};
}

ov::AnyMap properties(const LoadOptions& options) {
  const bool shared = shares_compilation(options);
  const int instances = shared ? options.instances : 1;
  ov::AnyMap map{
      ov::num_streams(ov::streams::Num(shared ? instances : 0)),
      ov::inference_num_threads(instances * options.threads_per_instance),
      // OpenVINO's own pinning starts at the first core for every model, so that models would
      // share cores while others idle. The threads that run instances are confined by takt.
      ov::hint::enable_cpu_pinning(false),
      ov::hint::enable_hyper_threading(false),
      ov::hint::execution_mode(ov::hint::ExecutionMode::ACCURACY),
      ov::hint::inference_precision(ov::element::f32),
  };
  if (!options.cache_dir.empty()) map.insert(ov::cache_dir(options.cache_dir.string()));
  return map;
}

// "NCHW" and the like; a model without a batch dimension may still have the leading 1.
std::string layout_text(std::size_t rank, bool channels_last) {
  const std::string image = channels_last ? "HWC" : "CHW";
  return rank == 4 ? "N" + image : image;
}

void add_preprocessing(ov::preprocess::InputInfo& info, const ImageInput& image, std::size_t rank) {
  info.tensor()
      .set_element_type(ov::element::u8)
      .set_layout(ov::Layout(layout_text(rank, image.staged.channels_last)));
  info.model().set_layout(ov::Layout(layout_text(rank, image.preprocess.channels_last)));
  const ImagePreprocess& wanted = image.preprocess;
  if (wanted.scale == 1 && wanted.mean.empty() && wanted.stddev.empty()) return;
  // OpenVINO computes (x - m) / s; ours is (x * scale - mean) / stddev.
  ov::preprocess::PreProcessSteps& steps = info.preprocess();
  steps.convert_element_type(ov::element::f32);
  if (!wanted.mean.empty()) {
    std::vector<float> mean = wanted.mean;
    for (float& value : mean) value /= wanted.scale;
    steps.mean(mean);
  }
  if (wanted.stddev.empty()) {
    steps.scale(1.0F / wanted.scale);
    return;
  }
  std::vector<float> divisor = wanted.stddev;
  for (float& value : divisor) value /= wanted.scale;
  steps.scale(divisor);
}

std::shared_ptr<ov::Model> with_preprocessing(const std::shared_ptr<ov::Model>& model,
                                              const BatchRules& rules) {
  ov::preprocess::PrePostProcessor processor(model);
  for (std::size_t i = 0; i < rules.images.size(); ++i) {
    if (!rules.images[i]) continue;
    add_preprocessing(processor.input(i), *rules.images[i],
                      model->input(i).get_partial_shape().size());
  }
  return processor.build();
}

template <typename Side>
Result<std::vector<TensorSpec>> specs_of(const Side& side, bool batched) {
  std::vector<TensorSpec> specs;
  for (const auto& port : side) {
    const std::string name = port.get_any_name();
    const Result<DataType> type = from_ov(port.get_element_type());
    if (!type) return std::unexpected(type.error().within("'" + name + "'"));
    if (port.get_partial_shape().rank().is_dynamic()) {
      return refuse("'" + name +
                    "' has no known number of dimensions; export the model with shape "
                    "inference (onnx.shape_inference)");
    }
    Shape shape = from_ov(port.get_partial_shape());
    if (batched) shape.erase(shape.begin());
    specs.push_back({name, *type, std::move(shape)});
  }
  return specs;
}

Result<void> check_declared(std::span<const TensorSpec> outputs,
                            std::span<const TensorSpec> declared) {
  std::vector<std::string> names;
  for (const TensorSpec& output : outputs) names.push_back(output.name);
  for (const TensorSpec& spec : declared) {
    const auto found = std::ranges::find(outputs, spec.name, &TensorSpec::name);
    if (found == outputs.end()) {
      return refuse("the ONNX file has no output '" + spec.name + "'" +
                    suggestion(spec.name, names));
    }
    const bool fits =
        found->type == spec.type &&
        std::ranges::equal(found->shape, spec.shape, [](std::int64_t a, std::int64_t b) {
          return a == b || a == -1 || b == -1;
        });
    if (fits) continue;
    return refuse("output '" + spec.name + "': declared as " + std::string(to_string(spec.type)) +
                  to_string(spec.shape) + ", but the model gives " +
                  std::string(to_string(found->type)) + to_string(found->shape));
  }
  return {};
}

std::size_t constant_bytes(const ov::Model& model) {
  std::size_t bytes = 0;
  for (const std::shared_ptr<ov::Node>& node : model.get_ops()) {
    if (const auto constant = ov::as_type_ptr<ov::op::v0::Constant>(node)) {
      bytes += constant->get_byte_size();
    }
  }
  return bytes;
}

Result<BatchRules> rules_of(const ov::Model& model, const LoadOptions& options) {
  const bool batched = options.batch_max > 0;
  Result<std::vector<TensorSpec>> inputs = specs_of(model.inputs(), batched);
  if (!inputs) return std::unexpected(std::move(inputs).error());
  Result<std::vector<TensorSpec>> outputs = specs_of(model.outputs(), batched);
  if (!outputs) return std::unexpected(std::move(outputs).error());
  if (Result<void> fits = check_declared(*outputs, options.output_specs); !fits) {
    return std::unexpected(std::move(fits).error());
  }
  return make_batch_rules({*std::move(inputs), *std::move(outputs), options.batch_max},
                          options.inputs);
}

Result<ov::CompiledModel> compile_variant(ov::Core& core, const ov::Model& model,
                                          const BatchRules& rules, const ov::AnyMap& properties) {
  const auto build = [&]() -> Result<ov::CompiledModel> {
    // A clone, because preprocessing is added in place.
    return core.compile_model(with_preprocessing(model.clone(), rules), "CPU", properties);
  };
  Result<ov::CompiledModel> compiled = guarded(ErrorKind::invalid_input, build);
  if (!compiled) {
    return std::unexpected(std::move(compiled).error().within("OpenVINO can't compile the model"));
  }
  return compiled;
}

}  // namespace

Result<CompilableModel> CompilableModel::read(std::shared_ptr<ov::Core> core,
                                              const ModelSource& source,
                                              const LoadOptions& options) {
  if (Result<void> valid = check_options(options); !valid) return std::unexpected(valid.error());
  if (Result<void> numbers = refuse_strings(options); !numbers) {
    return std::unexpected(std::move(numbers).error());
  }
  Result<std::shared_ptr<ov::Model>> model = read_onnx_file(source.onnx_path);
  if (!model) return std::unexpected(std::move(model).error());
  const std::shared_ptr<ov::Model> wide = options.batch_max > 1 ? (*model)->clone() : nullptr;

  CompilableModel made;
  const auto batch = options.batch_max > 0 ? std::optional<ov::Dimension>(1) : std::nullopt;
  if (Result<void> shaped = set_shapes(**model, options.input_specs, batch); !shaped) {
    return std::unexpected(std::move(shaped).error());
  }
  Result<BatchRules> rules = rules_of(**model, options);
  if (!rules) return std::unexpected(std::move(rules).error());
  if (wide != nullptr) {
    const ov::Dimension any_batch(1, options.batch_max);
    if (Result<void> shaped = set_shapes(*wide, options.input_specs, any_batch); !shaped) {
      return std::unexpected(std::move(shaped).error());
    }
  }
  made.core_ = std::move(core);
  made.rules_ = *std::move(rules);
  made.weights_bytes_ = constant_bytes(**model) * (wide != nullptr ? 2 : 1);
  made.single_ = *std::move(model);
  made.batched_ = wide;
  made.properties_ = properties(options);
  return made;
}

Result<CompiledVariants> CompilableModel::compile() const {
  CompiledVariants variants;
  variants.core = core_;
  Result<ov::CompiledModel> single = compile_variant(*core_, *single_, rules_, properties_);
  if (!single) return std::unexpected(std::move(single).error());
  variants.single = *std::move(single);
  if (batched_ == nullptr) return variants;
  Result<ov::CompiledModel> batched = compile_variant(*core_, *batched_, rules_, properties_);
  if (!batched) return std::unexpected(std::move(batched).error());
  variants.batched = *std::move(batched);
  return variants;
}

CompiledVariants Compilations::first() const {
  const std::scoped_lock lock(mutex_);
  return all_.front();
}

void Compilations::add(CompiledVariants further) {
  const std::scoped_lock lock(mutex_);
  all_.push_back(std::move(further));
}

void Compilations::release_memory() const {
  std::vector<CompiledVariants> all;  // handles that share what they name
  {
    const std::scoped_lock lock(mutex_);
    all = all_;
  }
  for (CompiledVariants& variants : all) {
    variants.single.release_memory();
    if (variants.batched) variants.batched->release_memory();
  }
  ::malloc_trim(0);
  if (::mi_collect != nullptr) ::mi_collect(true);
}

}  // namespace takt::ov_backend
