// SPDX-License-Identifier: Apache-2.0
// `server:` of takt.yaml.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "config/config.h"
#include "config/reader.h"

namespace takt::config {

void read_server(Reader& reader, ServerConfig& server);

}  // namespace takt::config
