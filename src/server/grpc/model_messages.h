// SPDX-License-Identifier: Apache-2.0
// Models as the protocol's messages.
// Thread-safe: pure functions. Private to server/grpc.
// Owns: nothing.
#pragma once

#include "engine/model_statistics.h"
#include "server/grpc/inference.pb.h"
#include "server/model_catalog.h"

namespace takt::server::rpc {

[[nodiscard]] inference::ModelMetadataResponse metadata_message(const ModelCard& card);
[[nodiscard]] inference::ModelConfig config_message(const ModelCard& card);
[[nodiscard]] inference::ModelStatistics statistics_message(
    const ModelCard& card, const engine::ModelStatistics& statistics);

}  // namespace takt::server::rpc
