// SPDX-License-Identifier: Apache-2.0
// A model configuration as JSON, as clients of Triton send it with a request to load.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/result.h"
#include "repository/limits.h"

#include <string>
#include <string_view>

namespace takt::repository {

// The text of a config.pbtxt that says the same, checked as one: what parse_model_config() accepts.
// Fields have the names of config.pbtxt, maps are objects, enumeration values and 64-bit numbers may
// be strings. Errors: invalid_input, "config: FIELD: ...".
[[nodiscard]] Result<std::string> config_text_of_json(std::string_view json,
                                                      const Limits& limits = {});

}  // namespace takt::repository
