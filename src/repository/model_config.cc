// SPDX-License-Identifier: Apache-2.0
#include "repository/model_config.h"

#include "core/suggest.h"
#include "repository/config_text.h"
#include "repository/read_file.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

namespace takt::repository {
namespace {

constexpr int kBatchMax = 4096;
constexpr int kTensorsMax = 256;
constexpr int kDimsMax = 16;
constexpr std::int64_t kDimMax = 1LL << 31;
constexpr int kInstancesMax = 64;
constexpr std::uint64_t kQueueDelayMaxUs = 10'000'000;
constexpr std::uint32_t kQueueSizeMax = 1'000'000;

// Says "FILE: FIELD: message".
class Reporter {
 public:
  explicit Reporter(std::string_view file) : file_(file) {}
  [[nodiscard]] std::unexpected<Error> operator()(const std::string& field,
                                                  const std::string& message) const {
    return fail(ErrorKind::invalid_input, file_ + ": " + field + ": " + message);
  }

 private:
  std::string file_;
};

DataType to_data_type(schema::DataType type) {
  switch (type) {
    case schema::TYPE_BOOL:
      return DataType::boolean;
    case schema::TYPE_UINT8:
      return DataType::uint8;
    case schema::TYPE_UINT16:
      return DataType::uint16;
    case schema::TYPE_UINT32:
      return DataType::uint32;
    case schema::TYPE_UINT64:
      return DataType::uint64;
    case schema::TYPE_INT8:
      return DataType::int8;
    case schema::TYPE_INT16:
      return DataType::int16;
    case schema::TYPE_INT32:
      return DataType::int32;
    case schema::TYPE_INT64:
      return DataType::int64;
    case schema::TYPE_FP16:
      return DataType::fp16;
    case schema::TYPE_BF16:
      return DataType::bf16;
    case schema::TYPE_FP64:
      return DataType::fp64;
    case schema::TYPE_STRING:
      return DataType::bytes;
    case schema::TYPE_FP32:
    case schema::TYPE_INVALID:
      break;
  }
  return DataType::fp32;
}

// Triton names a runtime per file format; takt runs ONNX files on its own backends.
Result<std::string> read_backend(const schema::ModelConfig& message, const Reporter& report) {
  static const std::vector<std::string> kBackends{"openvino", "cuda", "simulated", "onnxruntime"};
  if (!message.platform().empty() && message.platform() != "onnxruntime_onnx") {
    return report("platform", "'" + message.platform() +
                                  "' is not served; export the model to ONNX and use platform: "
                                  "\"onnxruntime_onnx\", or remove the field");
  }
  const std::string& backend = message.backend();
  if (backend.empty() || backend == "onnxruntime") return std::string();
  if (std::ranges::find(kBackends, backend) == kBackends.end()) {
    return report("backend", "no backend '" + backend + "'" + suggestion(backend, kBackends));
  }
  return backend;
}

Result<TensorConfig> read_tensor(const schema::ModelTensor& tensor, const std::string& field,
                                 const Reporter& report) {
  if (tensor.name().empty()) return report(field + ".name", "missing; every tensor has a name");
  const std::string named = field + " '" + tensor.name() + "'";
  if (!tensor.has_data_type() || tensor.data_type() == schema::TYPE_INVALID) {
    return report(named + ".data_type", "missing; expected a type such as TYPE_FP32");
  }
  if (tensor.is_shape_tensor()) {
    return report(named + ".is_shape_tensor",
                  "shape tensors belong to TensorRT engines; export the model without one");
  }
  if (tensor.allow_ragged_batch()) {
    return report(named + ".allow_ragged_batch",
                  "rows of one batch have the same shape; pad the input in the client");
  }
  if (tensor.optional()) {
    return report(named + ".optional",
                  "every input must be fed; export the model without this input");
  }
  if (tensor.dims_size() == 0 || tensor.dims_size() > kDimsMax) {
    return report(named + ".dims", "expected 1 to " + std::to_string(kDimsMax) +
                                       " dimensions, got " + std::to_string(tensor.dims_size()));
  }
  for (const std::int64_t dim : tensor.dims()) {
    if (dim != -1 && (dim < 1 || dim > kDimMax)) {
      return report(named + ".dims", "dimension " + std::to_string(dim) +
                                         "; expected -1 (any) or a positive number");
    }
  }
  const std::string& labels = tensor.label_filename();
  if (labels.find('/') != std::string::npos || labels == "." || labels == "..") {
    return report(named + ".label_filename",
                  "'" + printable(labels) + "' is no file's name; it lies beside config.pbtxt");
  }
  TensorConfig config{tensor.name(), to_data_type(tensor.data_type()),
                      Shape(tensor.dims().begin(), tensor.dims().end())};
  if (tensor.format() != schema::FORMAT_NONE) {
    config.format = schema::TensorFormat_Name(tensor.format());
  }
  config.label_filename = labels;
  return config;
}

template <typename Tensors>
Result<std::vector<TensorConfig>> read_tensors(const Tensors& tensors, const std::string& field,
                                               const Reporter& report) {
  if (tensors.size() > kTensorsMax) {
    return report(field, std::to_string(tensors.size()) + " tensors; at most " +
                             std::to_string(kTensorsMax) + " are allowed");
  }
  std::vector<TensorConfig> configs;
  std::set<std::string> names;
  for (int i = 0; i < tensors.size(); ++i) {
    const std::string place = field + "[" + std::to_string(i) + "]";
    Result<TensorConfig> config = read_tensor(tensors[i], place, report);
    if (!config) return std::unexpected(std::move(config).error());
    if (!names.insert(config->name).second) {
      return report(place, "the name '" + config->name + "' is used twice");
    }
    configs.push_back(std::move(*config));
  }
  return configs;
}

Result<DynamicBatching> read_batching(const schema::ModelConfig& message, const Reporter& report) {
  const schema::ModelDynamicBatching& batching = message.dynamic_batching();
  if (message.has_max_batch_size() && message.max_batch_size() == 0) {
    return report("dynamic_batching",
                  "needs a batch dimension, but max_batch_size is 0; raise it or remove "
                  "dynamic_batching");
  }
  DynamicBatching result;
  for (const int size : batching.preferred_batch_size()) {
    const int batch_max = message.has_max_batch_size() ? message.max_batch_size() : kBatchMax;
    if (size < 1 || size > batch_max) {
      return report("dynamic_batching.preferred_batch_size",
                    std::to_string(size) + "; expected 1 to max_batch_size (" +
                        std::to_string(batch_max) + ")");
    }
    result.preferred_batch_size.push_back(size);
  }
  std::ranges::sort(result.preferred_batch_size);
  const auto repeated = std::ranges::unique(result.preferred_batch_size);
  result.preferred_batch_size.erase(repeated.begin(), repeated.end());
  if (batching.max_queue_delay_microseconds() > kQueueDelayMaxUs) {
    return report("dynamic_batching.max_queue_delay_microseconds",
                  std::to_string(batching.max_queue_delay_microseconds()) + "; at most " +
                      std::to_string(kQueueDelayMaxUs) + " (10 s)");
  }
  result.max_queue_delay = std::chrono::microseconds(batching.max_queue_delay_microseconds());
  const std::uint32_t queue_size = batching.default_queue_policy().max_queue_size();
  if (queue_size > kQueueSizeMax) {
    return report("dynamic_batching.default_queue_policy.max_queue_size",
                  std::to_string(queue_size) + "; at most " + std::to_string(kQueueSizeMax));
  }
  result.queue_size_max = static_cast<int>(queue_size);
  return result;
}

Result<InstanceGroup> read_group(const schema::ModelInstanceGroup& group, const std::string& field,
                                 const Reporter& report) {
  const int count = group.has_count() ? group.count() : 1;
  if (count < 1 || count > kInstancesMax) {
    return report(field + ".count",
                  std::to_string(count) + "; expected 1 to " + std::to_string(kInstancesMax));
  }
  if (group.kind() == schema::ModelInstanceGroup::KIND_MODEL) {
    return report(field + ".kind",
                  "KIND_MODEL leaves the device to the model; use KIND_AUTO, KIND_CPU or KIND_GPU");
  }
  if (group.passive()) {
    return report(field + ".passive", "a passive group takes no requests; remove the group");
  }
  if (group.kind() == schema::ModelInstanceGroup::KIND_CPU && group.gpus_size() > 0) {
    return report(field + ".gpus", "KIND_CPU has no GPUs; remove the list");
  }
  InstanceGroup result{group.name(), count, InstanceKind::automatic, {}};
  if (group.kind() == schema::ModelInstanceGroup::KIND_CPU) result.kind = InstanceKind::cpu;
  if (group.kind() == schema::ModelInstanceGroup::KIND_GPU) result.kind = InstanceKind::gpu;
  for (const int gpu : group.gpus()) {
    if (gpu < 0) return report(field + ".gpus", std::to_string(gpu) + "; expected 0 or more");
    result.gpus.push_back(gpu);
  }
  return result;
}

Result<VersionPolicy> read_policy(const schema::ModelVersionPolicy& policy,
                                  const Reporter& report) {
  VersionPolicy result;
  if (policy.has_all()) result.kind = VersionPolicy::Kind::all;
  if (policy.has_latest() && policy.latest().has_num_versions()) {
    const std::uint32_t count = policy.latest().num_versions();
    if (count < 1 || count > 1024) {
      return report("version_policy.latest.num_versions",
                    std::to_string(count) + "; expected 1 to 1024");
    }
    result.num_versions = static_cast<int>(count);
  }
  if (policy.has_specific()) {
    result.kind = VersionPolicy::Kind::specific;
    for (const std::int64_t version : policy.specific().versions()) {
      if (version < 1) {
        return report("version_policy.specific.versions",
                      std::to_string(version) + "; versions count from 1");
      }
      result.versions.push_back(version);
    }
    if (result.versions.empty()) {
      return report("version_policy.specific.versions", "empty; name at least one version");
    }
  }
  return result;
}

Result<std::string> read_filename(const schema::ModelConfig& message, const Reporter& report) {
  const std::string& name = message.default_model_filename();
  if (name.empty()) return std::string("model.onnx");
  const bool plain = name.find_first_of("/\\") == std::string::npos && name.front() != '.' &&
                     std::ranges::all_of(name, [](unsigned char c) { return c >= 0x20; });
  if (!plain) {
    return report("default_model_filename",
                  "expected the plain name of a file in the version's "
                  "folder, such as model.onnx");
  }
  return name;
}

// Moves a value out of its Result into `target`, or keeps the first error.
class Gather {
 public:
  template <typename T, typename Target>
  void operator()(Result<T> result, Target& target) {
    if (error_) return;
    if (!result) {
      error_ = std::move(result).error();
    } else {
      target = std::move(*result);
    }
  }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  std::optional<Error> error_;
};

}  // namespace

Result<ModelConfig> parse_model_config(std::string_view text, std::string_view file,
                                       const Limits& limits) {
  Result<ConfigText> parsed = parse_config_text(text, file, limits);
  if (!parsed) return std::unexpected(std::move(parsed).error());
  const schema::ModelConfig& message = parsed->message;
  const Reporter report(file);

  if (message.max_batch_size() < 0 || message.max_batch_size() > kBatchMax) {
    return report("max_batch_size", std::to_string(message.max_batch_size()) + "; expected 0 to " +
                                        std::to_string(kBatchMax));
  }
  if (message.model_transaction_policy().decoupled()) {
    return report("model_transaction_policy.decoupled",
                  "a request has exactly one answer; export a model that gives one");
  }
  if (message.instance_group_size() > kInstancesMax) {
    return report("instance_group", "more than " + std::to_string(kInstancesMax) + " groups");
  }

  ModelConfig config;
  config.name = message.name();
  if (message.has_max_batch_size()) config.max_batch_size = message.max_batch_size();
  Gather gather;
  gather(read_backend(message, report), config.backend);
  gather(read_filename(message, report), config.model_filename);
  gather(read_tensors(message.input(), "input", report), config.inputs);
  gather(read_tensors(message.output(), "output", report), config.outputs);
  gather(read_policy(message.version_policy(), report), config.version_policy);
  if (message.has_dynamic_batching()) {
    gather(read_batching(message, report), config.dynamic_batching);
  }
  for (int i = 0; i < message.instance_group_size(); ++i) {
    gather(
        read_group(message.instance_group(i), "instance_group[" + std::to_string(i) + "]", report),
        config.instance_groups.emplace_back());
  }
  if (gather.error()) return std::unexpected(*gather.error());

  for (const auto& [key, value] : message.parameters()) {
    config.parameters.emplace_back(key, value.string_value());
  }
  std::ranges::sort(config.parameters);
  config.ignored_fields = std::move(parsed->ignored_fields);
  return config;
}

Result<ModelConfig> read_model_config(const std::filesystem::path& file, const Limits& limits) {
  const Result<std::string> text = read_file(file, limits.config_bytes_max);
  if (!text) return std::unexpected(text.error());
  return parse_model_config(*text, file.string(), limits);
}

}  // namespace takt::repository
