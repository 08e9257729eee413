// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/model_messages.h"

#include <chrono>
#include <string>

namespace takt::server::rpc {
namespace {

inference::DataType config_type(DataType type) {
  switch (type) {
    case DataType::boolean:
      return inference::TYPE_BOOL;
    case DataType::uint8:
      return inference::TYPE_UINT8;
    case DataType::uint16:
      return inference::TYPE_UINT16;
    case DataType::uint32:
      return inference::TYPE_UINT32;
    case DataType::uint64:
      return inference::TYPE_UINT64;
    case DataType::int8:
      return inference::TYPE_INT8;
    case DataType::int16:
      return inference::TYPE_INT16;
    case DataType::int32:
      return inference::TYPE_INT32;
    case DataType::int64:
      return inference::TYPE_INT64;
    case DataType::fp16:
      return inference::TYPE_FP16;
    case DataType::bf16:
      return inference::TYPE_BF16;
    case DataType::fp32:
      return inference::TYPE_FP32;
    case DataType::fp64:
      return inference::TYPE_FP64;
    case DataType::bytes:
      return inference::TYPE_STRING;
  }
  return inference::TYPE_INVALID;
}

template <typename Tensor>
void put_config(const repository::TensorConfig& config, Tensor& tensor) {
  tensor.set_name(config.name);
  tensor.set_data_type(config_type(config.type));
  tensor.mutable_dims()->Assign(config.dims.begin(), config.dims.end());
}

void put_policy(const repository::VersionPolicy& policy, inference::ModelVersionPolicy& message) {
  using Kind = repository::VersionPolicy::Kind;
  switch (policy.kind) {
    case Kind::all:
      message.mutable_all();
      return;
    case Kind::specific:
      message.mutable_specific()->mutable_versions()->Assign(policy.versions.begin(),
                                                             policy.versions.end());
      return;
    case Kind::latest:
      message.mutable_latest()->set_num_versions(static_cast<std::uint32_t>(policy.num_versions));
  }
}

inference::ModelInstanceGroup::Kind group_kind(repository::InstanceKind kind) {
  switch (kind) {
    case repository::InstanceKind::cpu:
      return inference::ModelInstanceGroup::KIND_CPU;
    case repository::InstanceKind::gpu:
      return inference::ModelInstanceGroup::KIND_GPU;
    case repository::InstanceKind::automatic:
      break;
  }
  return inference::ModelInstanceGroup::KIND_AUTO;
}

void put_groups(const repository::ModelConfig& config, inference::ModelConfig& message) {
  for (const repository::InstanceGroup& group : config.instance_groups) {
    auto& added = *message.add_instance_group();
    added.set_name(group.name);
    added.set_count(group.count);
    added.set_kind(group_kind(group.kind));
    added.mutable_gpus()->Assign(group.gpus.begin(), group.gpus.end());
  }
}

void put_tensors(
    const std::vector<TensorSpec>& specs, bool batched,
    google::protobuf::RepeatedPtrField<inference::ModelMetadataResponse::TensorMetadata>& tensors) {
  for (const TensorSpec& spec : specs) {
    auto& added = *tensors.Add();
    added.set_name(spec.name);
    added.set_datatype(std::string(to_string(spec.type)));
    if (batched) added.add_shape(-1);
    added.mutable_shape()->Add(spec.shape.begin(), spec.shape.end());
  }
}

void put_sum(const engine::DurationSum& sum, inference::StatisticDuration& message) {
  message.set_count(sum.count);
  message.set_ns(static_cast<std::uint64_t>(sum.total.count()));
}

}  // namespace

inference::ModelMetadataResponse metadata_message(const ModelCard& card) {
  const Signature& signature = card.info.signature;
  inference::ModelMetadataResponse message;
  message.set_name(card.info.name);
  message.mutable_versions()->Assign(card.versions.begin(), card.versions.end());
  message.set_platform(card.backend);
  put_tensors(signature.inputs, signature.batch_max > 0, *message.mutable_inputs());
  put_tensors(signature.outputs, signature.batch_max > 0, *message.mutable_outputs());
  return message;
}

inference::ModelConfig config_message(const ModelCard& card) {
  const repository::ModelConfig& config = card.config;
  inference::ModelConfig message;
  message.set_name(card.info.name);
  message.set_platform(card.backend);
  message.set_backend(card.backend);
  message.set_max_batch_size(card.info.signature.batch_max);
  message.set_default_model_filename(config.model_filename);
  put_policy(config.version_policy, *message.mutable_version_policy());
  for (const auto& input : config.inputs) {
    inference::ModelInput& added = *message.add_input();
    put_config(input, added);
    inference::ModelInput::Format format = inference::ModelInput::FORMAT_NONE;
    inference::ModelInput::Format_Parse(input.format, &format);  // else as it is
    added.set_format(format);
  }
  for (const auto& output : config.outputs) {
    inference::ModelOutput& added = *message.add_output();
    put_config(output, added);
    added.set_label_filename(output.label_filename);
  }
  put_groups(config, message);
  if (config.dynamic_batching) {
    const auto& sizes = config.dynamic_batching->preferred_batch_size;
    const auto delay = std::chrono::duration_cast<std::chrono::microseconds>(
        config.dynamic_batching->max_queue_delay);
    auto& batching = *message.mutable_dynamic_batching();
    batching.mutable_preferred_batch_size()->Assign(sizes.begin(), sizes.end());
    batching.set_max_queue_delay_microseconds(static_cast<std::uint64_t>(delay.count()));
    const int queue_size_max = config.dynamic_batching->queue_size_max;
    if (queue_size_max > 0) {
      batching.mutable_default_queue_policy()->set_max_queue_size(
          static_cast<std::uint32_t>(queue_size_max));
    }
  }
  for (const auto& [key, value] : config.parameters) {
    (*message.mutable_parameters())[key].set_string_value(value);
  }
  return message;
}

inference::ModelStatistics statistics_message(const ModelCard& card,
                                              const engine::ModelStatistics& statistics) {
  inference::ModelStatistics message;
  message.set_name(card.info.name);
  message.set_version(std::to_string(card.info.version));
  message.set_last_inference(static_cast<std::uint64_t>(statistics.last_inference.count()));
  message.set_inference_count(statistics.inferences);
  message.set_execution_count(statistics.executions);
  // The protocol counts as failed whatever has no answer.
  engine::DurationSum failed = statistics.fail;
  failed.count += statistics.refused.count + statistics.cancelled.count;
  failed.total += statistics.refused.total + statistics.cancelled.total;
  auto& sums = *message.mutable_inference_stats();
  put_sum(statistics.success, *sums.mutable_success());
  put_sum(failed, *sums.mutable_fail());
  put_sum(statistics.queue, *sums.mutable_queue());
  put_sum(statistics.compute_input, *sums.mutable_compute_input());
  put_sum(statistics.compute_infer, *sums.mutable_compute_infer());
  put_sum(statistics.compute_output, *sums.mutable_compute_output());
  put_sum({}, *sums.mutable_cache_hit());
  put_sum({}, *sums.mutable_cache_miss());
  for (const engine::BatchStatistics& batch : statistics.batches) {
    auto& added = *message.add_batch_stats();
    added.set_batch_size(static_cast<std::uint64_t>(batch.rows));
    put_sum(batch.compute_input, *added.mutable_compute_input());
    put_sum(batch.compute_infer, *added.mutable_compute_infer());
    put_sum(batch.compute_output, *added.mutable_compute_output());
  }
  return message;
}

}  // namespace takt::server::rpc
