// SPDX-License-Identifier: Apache-2.0
// The configuration of a model: config.pbtxt, and the JSON that a load may bring in its place.
#include "repository/config_json.h"
#include "repository/model_config.h"
#include "target.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace takt::fuzz {
namespace {

using repository::ModelConfig;

enum class Part : std::uint8_t { text, json, count };

void check_error(const Error& error, std::string_view place) {
  require(error.kind == ErrorKind::invalid_input, "a bad configuration is invalid input");
  require(error.message.starts_with(place), "errors say where");
  require(error.message.size() > place.size() + 2, "errors have words");
}

void check_tensors(const std::vector<repository::TensorConfig>& tensors) {
  for (const repository::TensorConfig& tensor : tensors) {
    require(!tensor.name.empty(), "tensors have names");
    require(tensor.type <= DataType::bytes, "types are known");
    require(std::ranges::all_of(tensor.dims, [](auto dim) { return dim >= -1; }),
            "dimensions are counts, or any");
  }
}

void check(const ModelConfig& config) {
  require(config.max_batch_size.value_or(0) >= 0, "batches have a size");
  require(!config.model_filename.empty(), "the model's file has a name");
  check_tensors(config.inputs);
  check_tensors(config.outputs);
  if (const auto& batching = config.dynamic_batching) {
    require(std::ranges::is_sorted(batching->preferred_batch_size), "preferred sizes rise");
    require(std::ranges::all_of(
                batching->preferred_batch_size,
                [&](int size) { return size >= 1 && size <= config.max_batch_size.value_or(0); }),
            "preferred sizes are batches");
    require(batching->max_queue_delay >= Duration{}, "delays aren't negative");
    require(batching->queue_size_max >= 0, "queues have a size");
  }
  for (const repository::InstanceGroup& group : config.instance_groups) {
    require(group.count >= 1, "groups have instances");
  }
  require(config.version_policy.num_versions >= 1, "a version is served");
  require(std::ranges::is_sorted(config.parameters), "parameters are sorted");
}

void run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const auto part = static_cast<Part>(input.take<std::uint8_t>() % static_cast<int>(Part::count));
  const std::string_view text(reinterpret_cast<const char*>(input.rest().data()),
                              input.rest().size());
  if (part == Part::text) {
    const Result<ModelConfig> config = repository::parse_model_config(text, "config.pbtxt");
    if (config) return check(*config);
    return check_error(config.error(), "config.pbtxt:");
  }
  const Result<std::string> written = repository::config_text_of_json(text);
  if (!written) return check_error(written.error(), "config:");
  const Result<ModelConfig> config = repository::parse_model_config(*written, "config.pbtxt");
  require(config.has_value(), "what was written is a config.pbtxt");
  check(*config);
}

Seed seed(const std::string& name, Part part, std::string_view text) {
  return {name, Script().put(part).put_bytes(std::as_bytes(std::span(text))).bytes()};
}

std::vector<Seed> seeds() {
  return {
      seed("small", Part::text,
           "name: \"m\"\nbackend: 'openvino' # here\nmax_batch_size: 8\n"
           "input [ { name: \"x\" data_type: TYPE_FP32 dims: [ 3, -1 ] } ]\n"
           "output { name: \"y\" data_type: TYPE_INT64 dims: 1 }\n"),
      seed("batching", Part::text,
           "max_batch_size: 16 dynamic_batching { preferred_batch_size: [ 4, 8 ] "
           "max_queue_delay_microseconds: 100 default_queue_policy { max_queue_size: 7 } }"),
      seed("instances", Part::text,
           "instance_group [ { name: \"g\" count: 2 kind: KIND_CPU }, { kind: KIND_GPU gpus: [ 0 ] "
           "} ] version_policy: { specific { versions: [ 1, 3 ] } }"),
      seed("parameters", Part::text,
           "parameters { key: \"k\" value { string_value: \"a\\\"\\101\\n\" } } "
           "parameters: < key: 'l' value: < string_value: 'v' > > version_policy { all {} }"),
      seed("unused", Part::text,
           "optimization { graph { level: 1 } } model_warmup [ ] version_policy { latest { "
           "num_versions: 2 } } sequence_batching { }"),
      seed("mistyped", Part::text, "max_batch_sice: 8\ninput { data_type: TYPE_FLOAT }"),
      seed("json", Part::json,
           R"({"name":"m","max_batch_size":8,"input":[{"name":"x","data_type":"TYPE_FP32",)"
           R"("dims":[3,"-1"]}],"dynamic_batching":{"preferred_batch_size":[4]},)"
           R"("instance_group":[{"count":1,"kind":"KIND_CPU","gpus":[]}]})"),
      seed("json-maps", Part::json,
           R"({"version_policy":{"latest":{"num_versions":2}},"parameters":{"k":)"
           R"({"string_value":"v\n\u00e9"}},"optimization":{"graph":{"level":1}},)"
           R"("model_warmup":[]})"),
  };
}

}  // namespace

Target model_config() {
  return {"model_config", &run, &seeds};
}

}  // namespace takt::fuzz
