// SPDX-License-Identifier: Apache-2.0
// The parameters of a request's query, checked.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "server/api_error.h"
#include "task/task.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace takt::rest {

using Query = std::map<std::string, std::string>;

// Errors of all: invalid_argument, which names the parameter and what is expected.

[[nodiscard]] server::ApiResult<void> check_query(const Query& query,
                                                  const std::vector<std::string>& known);
// "" where it isn't there.
[[nodiscard]] std::string text_of(const Query& query, const std::string& key);
// A whole number; nothing where the parameter isn't there.
[[nodiscard]] server::ApiResult<std::optional<std::int64_t>> number_of(const Query& query,
                                                                       const std::string& key,
                                                                       std::int64_t min,
                                                                       std::int64_t max);
// true or false.
[[nodiscard]] server::ApiResult<std::optional<bool>> flag_of(const Query& query,
                                                             const std::string& key);
[[nodiscard]] server::ApiResult<std::optional<Verdict>> verdict_of(const Query& query,
                                                                   const std::string& key);

}  // namespace takt::rest
