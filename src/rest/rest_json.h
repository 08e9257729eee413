// SPDX-License-Identifier: Apache-2.0
// What the REST surface says, as JSON. src/rest/openapi.json describes it.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "rest/rest_endpoints.h"
#include "rest/task_runner.h"
#include "rest/verdict_feed.h"

#include <nlohmann/json_fwd.hpp>

namespace takt::rest {

[[nodiscard]] nlohmann::ordered_json status_json(const server::ServerIdentity& identity,
                                                 const ServerView& view);
[[nodiscard]] nlohmann::ordered_json line_json(const LineView& line);
[[nodiscard]] nlohmann::ordered_json task_json(const TaskCard& card);
[[nodiscard]] nlohmann::ordered_json answer_json(const TaskAnswer& answer);
[[nodiscard]] nlohmann::ordered_json page_json(const VerdictFeed::Page& page);

}  // namespace takt::rest
