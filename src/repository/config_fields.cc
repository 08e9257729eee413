// SPDX-License-Identifier: Apache-2.0
#include "repository/config_fields.h"

#include <algorithm>
#include <array>

namespace takt::repository {
namespace {

constexpr std::string_view kReshape =
    "takt feeds the model the shape that clients send; export the model with that shape, and "
    "remove the field";

// Names from Triton's model_config.proto (triton-inference-server/common, protobuf/).
constexpr std::array<UnusedField, 26> kFields{{
    {"ModelConfig", "runtime", ""},
    {"ModelConfig", "optimization", ""},
    {"ModelConfig", "cc_model_filenames", ""},
    {"ModelConfig", "metric_tags", ""},
    {"ModelConfig", "model_metrics", ""},
    {"ModelConfig", "model_warmup", ""},
    {"ModelConfig", "response_cache", ""},
    {"ModelConfig", "sequence_batching",
     "takt keeps no state between requests; serve this model with a server that does"},
    {"ModelConfig", "ensemble_scheduling",
     "write the ensemble as cascaded tasks in takt.yaml (tasks: crop: from)"},
    {"ModelConfig", "batch_input",
     "takt makes no inputs of its own; export the model with a plain batch dimension"},
    {"ModelConfig", "batch_output",
     "takt splits outputs by rows; export the model with a plain batch dimension"},
    {"ModelConfig", "model_operations",
     "custom operator libraries are not loaded; export the model with standard ONNX operators"},
    {"ModelConfig", "model_repository_agents",
     "agents are not run; put the finished model into the repository"},
    {"ModelTensor", "is_non_linear_format_io", ""},
    {"ModelTensor", "reshape", kReshape},
    {"ModelDynamicBatching", "preserve_ordering", ""},
    {"ModelDynamicBatching", "priority_levels", ""},
    {"ModelDynamicBatching", "default_priority_level", ""},
    {"ModelDynamicBatching", "priority_queue_policy", ""},
    {"ModelQueuePolicy", "timeout_action", ""},
    {"ModelQueuePolicy", "default_timeout_microseconds", ""},
    {"ModelQueuePolicy", "allow_timeout_override", ""},
    {"ModelInstanceGroup", "rate_limiter", ""},
    {"ModelInstanceGroup", "profile", ""},
    {"ModelInstanceGroup", "host_policy", ""},
    {"ModelInstanceGroup", "secondary_devices", "an instance runs on one device; remove the field"},
}};

}  // namespace

std::optional<UnusedField> find_unused_field(std::string_view message,
                                             std::string_view field) noexcept {
  const auto found = std::ranges::find_if(
      kFields, [&](const UnusedField& row) { return row.message == message && row.name == field; });
  if (found == kFields.end()) return std::nullopt;
  return *found;
}

}  // namespace takt::repository
