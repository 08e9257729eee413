// SPDX-License-Identifier: Apache-2.0
// The OpenAPI 3.1 description of the REST surface: src/rest/openapi.json, as it is in the program.
// Thread-safe: constant.
// Owns: the text.
#pragma once

#include <string_view>

namespace takt::rest {

[[nodiscard]] std::string_view openapi_json() noexcept;

}  // namespace takt::rest
