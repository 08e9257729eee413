// SPDX-License-Identifier: Apache-2.0
// Patterns such as "{id}_test.png": which files of a folder belong together.
// Thread-safe: pure functions and plain values.
// Owns: plain values.
#pragma once

#include "core/result.h"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace takt::line {

// PREFIX{id}SUFFIX below a folder; the prefix may name subfolders ("golden/{id}.png"). Without {id}
// every id means the same file ("golden.png").
struct FilePattern {
  std::filesystem::path subfolder;
  std::string prefix;
  std::string suffix;
  bool has_id = true;

  [[nodiscard]] std::filesystem::path file_of(const std::filesystem::path& folder,
                                              std::string_view id) const;
};

// Errors: invalid_input (empty, {id} twice or in a folder's name, '..' or an absolute path).
[[nodiscard]] Result<FilePattern> parse_file_pattern(std::string_view text);

// The ids of the files that match, sorted; hidden files don't. Errors: invalid_input (the folder
// can't be read, or more than `count_max` files match).
[[nodiscard]] Result<std::vector<std::string>> matching_ids(const std::filesystem::path& folder,
                                                            const FilePattern& pattern,
                                                            std::size_t count_max);

}  // namespace takt::line
