// SPDX-License-Identifier: Apache-2.0
// The configuration of a model: config.pbtxt in Triton's field names, as plain values.
// Thread-safe: pure functions and plain values.
// Owns: plain values.
#pragma once

#include "core/result.h"
#include "core/tensor.h"
#include "core/time.h"
#include "repository/limits.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::repository {

// One input or output. `dims` leave out the batch dimension when max_batch_size > 0; -1 is any.
struct TensorConfig {
  std::string name;
  DataType type = DataType::fp32;
  Shape dims;
  std::string format{};               // of an image: FORMAT_NCHW, FORMAT_NHWC; empty: not stated
  std::string label_filename{};       // of an output, beside config.pbtxt
  std::vector<std::string> labels{};  // that the file holds; empty: none, or it can't be read
};

struct DynamicBatching {
  std::vector<int> preferred_batch_size;  // rising, each 1..max_batch_size
  Duration max_queue_delay{};             // max_queue_delay_microseconds
  int queue_size_max = 0;                 // default_queue_policy.max_queue_size; 0: not stated
};

enum class InstanceKind : std::uint8_t { automatic, cpu, gpu };

struct InstanceGroup {
  std::string name;
  int count = 1;
  InstanceKind kind = InstanceKind::automatic;
  std::vector<int> gpus;
};

// Which of the versions on disk are served.
struct VersionPolicy {
  enum class Kind : std::uint8_t { latest, all, specific };
  Kind kind = Kind::latest;
  int num_versions = 1;                // latest: the highest n
  std::vector<std::int64_t> versions;  // specific
};

struct ModelConfig {
  std::string name;     // empty or the folder's name
  std::string backend;  // "openvino", "cuda", "simulated"; empty: any backend that reads ONNX
  std::string model_filename = "model.onnx";  // default_model_filename
  // Empty in the text: not stated. Always set in a ModelVersion (0: no batch dimension).
  std::optional<int> max_batch_size;
  std::vector<TensorConfig> inputs;
  std::vector<TensorConfig> outputs;
  std::optional<DynamicBatching> dynamic_batching;
  std::vector<InstanceGroup> instance_groups;
  VersionPolicy version_policy;
  std::vector<std::pair<std::string, std::string>> parameters;  // sorted by key
  // Fields of Triton's that were accepted and have no effect, with their place:
  // "optimization (line 12)".
  std::vector<std::string> ignored_fields;
};

// Reads the text of a config.pbtxt; `file` is named in messages. Errors: invalid_input with
// "FILE:LINE:COLUMN: ..." for syntax, unknown fields and values, with "FILE: FIELD: ..." for values
// out of range and for fields of Triton's that takt can't honour.
[[nodiscard]] Result<ModelConfig> parse_model_config(std::string_view text, std::string_view file,
                                                     const Limits& limits = {});
// The same from a file. Errors also: invalid_input (unreadable, too large).
[[nodiscard]] Result<ModelConfig> read_model_config(const std::filesystem::path& file,
                                                    const Limits& limits = {});

}  // namespace takt::repository
