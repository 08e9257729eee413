// SPDX-License-Identifier: Apache-2.0
// The answer to an inference as the protocol's JSON, with binary tensors behind it.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "server/api_error.h"
#include "server/infer_call.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace takt::server::http {

// Appends the JSON to `json` and lists the binary outputs, in their order, in `binary`; those look
// into the answer. Errors: invalid_argument (JSON can't hold the values: 16-bit floats, infinities,
// strings that are no UTF-8); `json` is as it was then.
[[nodiscard]] ApiResult<void> write_answer(const InferAnswer& answer, std::string& json,
                                           std::vector<std::span<const std::byte>>& binary);

// As a JSON string, with its quotes. The text must be UTF-8.
void append_quoted(std::string& json, std::string_view text);

// {"error":"..."}; what is no UTF-8 in the message is replaced.
[[nodiscard]] std::string error_json(std::string_view message);

}  // namespace takt::server::http
