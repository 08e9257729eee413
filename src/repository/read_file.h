// SPDX-License-Identifier: Apache-2.0
// Small files as a whole, with a limit; names from files, fit for a message.
// Thread-safe: pure functions.
// Owns: the bytes read.
#pragma once

#include "core/result.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace takt::repository {

// Errors: invalid_input, which names the file: missing, not a regular file, unreadable, or larger
// than `bytes_max`.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& file,
                                            std::uint64_t bytes_max);

// Size of a regular file. Errors as above.
[[nodiscard]] Result<std::uint64_t> regular_file_size(const std::filesystem::path& file,
                                                      std::uint64_t bytes_max);

// A name that came from a file or the network, fit for a message: at most 80 characters, control
// characters as \xHH.
[[nodiscard]] std::string printable(std::string_view name);

}  // namespace takt::repository
