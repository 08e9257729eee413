// SPDX-License-Identifier: Apache-2.0
// `server:` of takt.yaml.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "config/config.h"
#include "config/reader.h"

#include <filesystem>
#include <string>
#include <vector>

namespace takt::config {

// Relative paths start in `base`.
void read_server(Reader& reader, const std::filesystem::path& base, ServerConfig& server,
                 std::vector<std::string>& warnings);

}  // namespace takt::config
