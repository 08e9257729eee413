// SPDX-License-Identifier: Apache-2.0
// One entry of the `lines:` section of takt.yaml.
// Thread-safe: no; one thread reads one file.
// Owns: nothing.
#pragma once

#include "config/config.h"
#include "config/reader.h"

#include <filesystem>
#include <string>

namespace takt::config {

// `base` is the folder that relative paths start in.
[[nodiscard]] LineEntry read_line(const std::string& name, const std::filesystem::path& base,
                                  Reader& reader);

// A path as the file says it: "~/" is the home folder, relative ones start in `base`.
[[nodiscard]] std::filesystem::path resolve(const std::string& path,
                                            const std::filesystem::path& base);

}  // namespace takt::config
