// SPDX-License-Identifier: Apache-2.0
// Base64 (RFC 4648, section 4).
// Thread-safe: pure function.
// Owns: nothing.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace takt::server::http {

// Nothing: it is none.
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text);

}  // namespace takt::server::http
