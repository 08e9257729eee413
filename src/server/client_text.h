// SPDX-License-Identifier: Apache-2.0
// Messages as clients of a server may see them: without the server's file system.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include <filesystem>
#include <span>
#include <string>

namespace takt::server {

// What lies below one of the roots is named from there; of other absolute paths the last part stays.
[[nodiscard]] std::string without_paths(std::string text,
                                        std::span<const std::filesystem::path> roots);

}  // namespace takt::server
