// SPDX-License-Identifier: Apache-2.0
// gzip and deflate for bodies, by zlib.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "server/api_error.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace takt::server::http {

enum class Coding : std::uint8_t { identity, gzip, deflate };

// Of a Content-Encoding header; nothing: one that takt doesn't know. Empty is identity.
[[nodiscard]] std::optional<Coding> parse_coding(std::string_view name);
// The coding that an Accept-Encoding header asks for; q-values of 0 are honoured, others are not
// compared.
[[nodiscard]] Coding choose_coding(std::string_view accepted);
[[nodiscard]] std::string_view to_string(Coding coding) noexcept;

// "deflate" may be with or without zlib's header. Errors: invalid_argument (not of this coding, cut
// off), payload_too_large (more than `bytes_max`).
[[nodiscard]] ApiResult<std::string> decompress(std::string_view body, Coding coding,
                                                std::size_t bytes_max);
[[nodiscard]] std::string compress(std::span<const std::string_view> parts, Coding coding);

}  // namespace takt::server::http
