// SPDX-License-Identifier: Apache-2.0
#include "server/http/model_json.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <string>
#include <string_view>

namespace takt::server::http {
namespace {

using Json = nlohmann::ordered_json;

Json tensors_json(const std::vector<TensorSpec>& specs, bool batched) {
  Json list = Json::array();
  for (const TensorSpec& spec : specs) {
    Shape shape = spec.shape;
    if (batched) shape.insert(shape.begin(), -1);
    list.push_back(
        {{"name", spec.name}, {"datatype", takt::to_string(spec.type)}, {"shape", shape}});
  }
  return list;
}

// config.pbtxt calls strings TYPE_STRING.
std::string config_type(DataType type) {
  return type == DataType::bytes ? "TYPE_STRING" : "TYPE_" + std::string(takt::to_string(type));
}

Json config_tensors_json(const std::vector<repository::TensorConfig>& tensors) {
  Json list = Json::array();
  for (const repository::TensorConfig& tensor : tensors) {
    Json json{{"name", tensor.name}, {"data_type", config_type(tensor.type)}};
    if (!tensor.format.empty()) json["format"] = tensor.format;
    json["dims"] = tensor.dims;
    if (!tensor.label_filename.empty()) json["label_filename"] = tensor.label_filename;
    list.push_back(std::move(json));
  }
  return list;
}

Json policy_json(const repository::VersionPolicy& policy) {
  using Kind = repository::VersionPolicy::Kind;
  switch (policy.kind) {
    case Kind::all:
      return {{"all", Json::object()}};
    case Kind::specific:
      return {{"specific", {{"versions", policy.versions}}}};
    case Kind::latest:
      break;
  }
  return {{"latest", {{"num_versions", policy.num_versions}}}};
}

std::string_view kind_name(repository::InstanceKind kind) {
  switch (kind) {
    case repository::InstanceKind::cpu:
      return "KIND_CPU";
    case repository::InstanceKind::gpu:
      return "KIND_GPU";
    case repository::InstanceKind::automatic:
      break;
  }
  return "KIND_AUTO";
}

Json sum_json(const engine::DurationSum& sum) {
  return {{"count", sum.count}, {"ns", sum.total.count()}};
}

}  // namespace

Json metadata_json(const ModelCard& card) {
  const Signature& signature = card.info.signature;
  const bool batched = signature.batch_max > 0;
  return {{"name", card.info.name},
          {"versions", card.versions},
          {"platform", card.backend},
          {"inputs", tensors_json(signature.inputs, batched)},
          {"outputs", tensors_json(signature.outputs, batched)}};
}

Json config_json(const ModelCard& card) {
  const repository::ModelConfig& config = card.config;
  Json json{{"name", card.info.name},
            {"platform", card.backend},
            {"backend", card.backend},
            {"version_policy", policy_json(config.version_policy)},
            {"max_batch_size", card.info.signature.batch_max},
            {"input", config_tensors_json(config.inputs)},
            {"output", config_tensors_json(config.outputs)},
            {"instance_group", Json::array()},
            {"default_model_filename", config.model_filename}};
  for (const repository::InstanceGroup& group : config.instance_groups) {
    json["instance_group"].push_back({{"name", group.name},
                                      {"kind", kind_name(group.kind)},
                                      {"count", group.count},
                                      {"gpus", group.gpus}});
  }
  if (config.dynamic_batching) {
    const auto delay = std::chrono::duration_cast<std::chrono::microseconds>(
        config.dynamic_batching->max_queue_delay);
    json["dynamic_batching"] = {
        {"preferred_batch_size", config.dynamic_batching->preferred_batch_size},
        {"max_queue_delay_microseconds", delay.count()}};
    const int queue_size_max = config.dynamic_batching->queue_size_max;
    if (queue_size_max > 0) {
      json["dynamic_batching"]["default_queue_policy"] = {{"max_queue_size", queue_size_max}};
    }
  }
  json["parameters"] = Json::object();
  for (const auto& [key, value] : config.parameters) {
    json["parameters"][key] = {{"string_value", value}};
  }
  return json;
}

Json statistics_json(const ModelCard& card, const engine::ModelStatistics& statistics) {
  const engine::DurationSum none;
  engine::DurationSum failed = statistics.fail;
  failed.count += statistics.refused.count + statistics.cancelled.count;
  failed.total += statistics.refused.total + statistics.cancelled.total;
  Json json{{"name", card.info.name},
            {"version", std::to_string(card.info.version)},
            {"last_inference", statistics.last_inference.count()},
            {"inference_count", statistics.inferences},
            {"execution_count", statistics.executions},
            {"inference_stats",
             {{"success", sum_json(statistics.success)},
              {"fail", sum_json(failed)},
              {"queue", sum_json(statistics.queue)},
              {"compute_input", sum_json(statistics.compute_input)},
              {"compute_infer", sum_json(statistics.compute_infer)},
              {"compute_output", sum_json(statistics.compute_output)},
              {"cache_hit", sum_json(none)},
              {"cache_miss", sum_json(none)}}},
            {"response_stats", Json::object()},
            {"batch_stats", Json::array()},
            {"memory_usage", Json::array()}};
  for (const engine::BatchStatistics& batch : statistics.batches) {
    json["batch_stats"].push_back({{"batch_size", batch.rows},
                                   {"compute_input", sum_json(batch.compute_input)},
                                   {"compute_infer", sum_json(batch.compute_infer)},
                                   {"compute_output", sum_json(batch.compute_output)}});
  }
  return json;
}

}  // namespace takt::server::http
