// SPDX-License-Identifier: Apache-2.0
#include "core/suggest.h"
#include "repository/read_file.h"
#include "repository/repository.h"

#include <algorithm>
#include <utility>

namespace takt::repository {
namespace {

std::string describe(const OnnxTensor& tensor) {
  return std::string(to_string(tensor.type)) +
         (tensor.shape_known ? to_string(tensor.shape) : "[unknown shape]");
}

std::vector<std::string> names_of(const std::vector<OnnxTensor>& tensors) {
  std::vector<std::string> names;
  names.reserve(tensors.size());
  for (const OnnxTensor& tensor : tensors) names.push_back(tensor.name);
  return names;
}

class Completion {
 public:
  Completion(ModelConfig config, const OnnxModel& onnx, std::string_view where,
             const ScanOptions& options)
      : config_(std::move(config)), onnx_(onnx), where_(where), options_(options) {}

  Result<ModelConfig> run() {
    settle_batch();
    for (const auto& [side, configs, tensors] :
         {Side{"input", &config_.inputs, &onnx_.inputs},
          Side{"output", &config_.outputs, &onnx_.outputs}}) {
      if (Result<void> batch = check_batch(side, *tensors); !batch) {
        return std::unexpected(std::move(batch).error());
      }
      if (Result<void> done = complete(side, *configs, *tensors); !done) {
        return std::unexpected(std::move(done).error());
      }
    }
    if (config_.dynamic_batching && batch_max() == 0) {
      return refuse("dynamic_batching",
                    "needs a batch dimension, but the ONNX file has none that is dynamic; export "
                    "it with a dynamic first dimension, or remove dynamic_batching");
    }
    return std::move(config_);
  }

 private:
  struct Side {
    std::string_view name;
    std::vector<TensorConfig>* configs;
    const std::vector<OnnxTensor>* tensors;
  };

  [[nodiscard]] std::unexpected<Error> refuse(const std::string& field,
                                              const std::string& message) const {
    return fail(ErrorKind::invalid_input, where_ + ": " + field + ": " + message);
  }
  [[nodiscard]] int batch_max() const { return config_.max_batch_size.value_or(0); }

  // Triton's rule: with tensors listed, a missing max_batch_size means 0. With nothing said, the
  // ONNX file decides.
  void settle_batch() {
    if (config_.max_batch_size) return;
    const bool listed = !config_.inputs.empty() || !config_.outputs.empty();
    config_.max_batch_size = !listed && batch_is_dynamic() ? options_.default_max_batch_size : 0;
  }

  // Every first dimension is free, and they share one name as far as they have names.
  [[nodiscard]] bool batch_is_dynamic() const {
    std::string shared;
    for (const std::vector<OnnxTensor>* tensors : {&onnx_.inputs, &onnx_.outputs}) {
      for (const OnnxTensor& tensor : *tensors) {
        if (!tensor.shape_known || tensor.shape.empty() || tensor.shape.front() != -1) return false;
        const std::string& name = tensor.dim_params.front();
        if (name.empty()) continue;
        if (!shared.empty() && shared != name) return false;
        shared = name;
      }
    }
    return true;
  }

  // A fixed batch of 1 is accepted: a backend can usually make that dimension free.
  [[nodiscard]] Result<void> check_batch(std::string_view side,
                                         const std::vector<OnnxTensor>& tensors) const {
    if (batch_max() == 0) return {};
    for (const OnnxTensor& tensor : tensors) {
      if (!tensor.shape_known) continue;
      const bool fits =
          !tensor.shape.empty() && (tensor.shape.front() == -1 || tensor.shape.front() == 1);
      if (fits) continue;
      return refuse("max_batch_size",
                    std::to_string(batch_max()) + ", but " + std::string(side) + " '" +
                        printable(tensor.name) + "' of the ONNX file is " + describe(tensor) +
                        ": its first dimension is no free batch; set max_batch_size: 0, or export "
                        "the model with a dynamic first dimension");
    }
    return {};
  }

  [[nodiscard]] Shape without_batch(const OnnxTensor& tensor) const {
    Shape shape = tensor.shape;
    if (batch_max() > 0 && !shape.empty()) shape.erase(shape.begin());
    return shape;
  }

  // Puts one side into the ONNX file's order, with what the file adds.
  [[nodiscard]] Result<void> complete(std::string_view side, std::vector<TensorConfig>& configs,
                                      const std::vector<OnnxTensor>& tensors) const {
    for (const TensorConfig& config : configs) {
      if (std::ranges::find(tensors, config.name, &OnnxTensor::name) != tensors.end()) continue;
      return refuse(field_of(side, config), "the ONNX file has no " + std::string(side) +
                                                " of that name" +
                                                suggestion(config.name, names_of(tensors)));
    }
    std::vector<TensorConfig> ordered;
    for (const OnnxTensor& tensor : tensors) {
      const auto found = std::ranges::find(configs, tensor.name, &TensorConfig::name);
      if (found != configs.end()) {
        if (Result<void> same = compare(side, *found, tensor); !same) return same;
        ordered.push_back(*found);
        continue;
      }
      if (side == "input" && !configs.empty()) {
        return refuse("input", "'" + printable(tensor.name) + "' is missing: the ONNX file needs " +
                                   describe(tensor) + " there; list every input or none");
      }
      if (!tensor.shape_known) {
        return refuse(std::string(side) + " '" + printable(tensor.name) + "'.dims",
                      "the ONNX file gives no shape; state dims (-1 where the size varies)");
      }
      ordered.push_back({tensor.name, tensor.type, without_batch(tensor)});
    }
    configs = std::move(ordered);
    return {};
  }

  [[nodiscard]] Result<void> compare(std::string_view side, const TensorConfig& config,
                                     const OnnxTensor& tensor) const {
    if (config.type != tensor.type) {
      return refuse(field_of(side, config) + ".data_type",
                    "TYPE_" + std::string(to_string(config.type)) + ", but the ONNX file says " +
                        std::string(to_string(tensor.type)));
    }
    if (!tensor.shape_known) return {};
    const Shape shape = without_batch(tensor);
    const bool fits = std::ranges::equal(
        config.dims, shape,
        [](std::int64_t ours, std::int64_t theirs) { return theirs == -1 || ours == theirs; });
    if (fits) return {};
    return refuse(
        field_of(side, config) + ".dims",
        to_string(config.dims) + ", but the ONNX file says " + to_string(shape) +
            (batch_max() > 0 ? " without its batch dimension (max_batch_size is " +
                                   std::to_string(batch_max()) + ")"
                             : " (max_batch_size is 0, so dims include every dimension)"));
  }

  static std::string field_of(std::string_view side, const TensorConfig& config) {
    return std::string(side) + " '" + printable(config.name) + "'";
  }

  ModelConfig config_;
  const OnnxModel& onnx_;
  std::string where_;
  const ScanOptions& options_;
};

}  // namespace

Result<ModelConfig> complete_config(ModelConfig config, const OnnxModel& onnx,
                                    std::string_view where, const ScanOptions& options) {
  return Completion(std::move(config), onnx, where, options).run();
}

}  // namespace takt::repository
