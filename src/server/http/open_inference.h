// SPDX-License-Identifier: Apache-2.0
// The OpenAPI 3.1 description of the Open Inference Protocol as it is served here:
// src/server/http/open_inference.json, as it is in the program.
// Thread-safe: constant.
// Owns: the text.
#pragma once

#include <string_view>

namespace takt::server::http {

[[nodiscard]] std::string_view open_inference_json() noexcept;

}  // namespace takt::server::http
