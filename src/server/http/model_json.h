// SPDX-License-Identifier: Apache-2.0
// Models as the protocol's JSON.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "engine/model_statistics.h"
#include "server/model_catalog.h"

#include <nlohmann/json_fwd.hpp>

namespace takt::server::http {

[[nodiscard]] nlohmann::ordered_json metadata_json(const ModelCard& card);
[[nodiscard]] nlohmann::ordered_json config_json(const ModelCard& card);
[[nodiscard]] nlohmann::ordered_json statistics_json(const ModelCard& card,
                                                     const engine::ModelStatistics& statistics);

}  // namespace takt::server::http
