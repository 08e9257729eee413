// SPDX-License-Identifier: Apache-2.0
// The text of a config.pbtxt as the message of model_config.proto, with messages for a person.
// Thread-safe: pure functions. Owns: plain values. Private to this layer.
#pragma once

#include "core/result.h"
#include "repository/limits.h"
#include "repository/model_config.pb.h"

#include <string>
#include <string_view>
#include <vector>

namespace takt::repository {

struct ConfigText {
  schema::ModelConfig message;
  std::vector<std::string> ignored_fields;  // "optimization (line 12)"
};

// Errors: invalid_input with "FILE:LINE:COLUMN: ...".
[[nodiscard]] Result<ConfigText> parse_config_text(std::string_view text, std::string_view file,
                                                   const Limits& limits);

}  // namespace takt::repository
