// SPDX-License-Identifier: Apache-2.0
// Text that JSON, protobuf and clients accept: well-formed UTF-8.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include <string>
#include <string_view>

namespace takt {

[[nodiscard]] bool is_utf8(std::string_view text) noexcept;
// `text` with '?' for each byte that is no part of a UTF-8 sequence: protobuf refuses a message with
// one such byte as a whole.
[[nodiscard]] std::string to_utf8(std::string text);

}  // namespace takt
