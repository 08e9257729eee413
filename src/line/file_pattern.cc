// SPDX-License-Identifier: Apache-2.0
#include "line/file_pattern.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace takt::line {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kId = "{id}";

}  // namespace

fs::path FilePattern::file_of(const fs::path& folder, std::string_view id) const {
  std::string name = prefix;
  if (has_id) name += std::string(id) + suffix;
  return folder / subfolder / name;
}

Result<FilePattern> parse_file_pattern(std::string_view text) {
  const auto refuse = [&](const std::string& message) {
    return fail(ErrorKind::invalid_input, "pattern '" + std::string(text) + "': " + message +
                                              "; expected one such as {id}_test.png");
  };
  const fs::path path(text);
  const std::string name = path.filename().string();
  if (name.empty()) return refuse("names no file");
  if (path.is_absolute() || std::ranges::find(path, fs::path("..")) != path.end()) {
    return refuse("must stay inside the source's folder");
  }
  FilePattern pattern;
  pattern.subfolder = path.parent_path();
  if (pattern.subfolder.string().find(kId) != std::string::npos) {
    return refuse("{id} can't be part of a folder's name");
  }
  const std::size_t at = name.find(kId);
  pattern.has_id = at != std::string::npos;
  pattern.prefix = name.substr(0, at);
  if (pattern.has_id) pattern.suffix = name.substr(at + kId.size());
  if (pattern.suffix.find(kId) != std::string::npos) return refuse("{id} stands there twice");
  return pattern;
}

Result<std::vector<std::string>> matching_ids(const fs::path& folder, const FilePattern& pattern,
                                              std::size_t count_max) {
  const fs::path place = folder / pattern.subfolder;
  const std::size_t affixes = pattern.prefix.size() + pattern.suffix.size();
  std::vector<std::string> ids;
  std::error_code error;
  for (fs::directory_iterator entry(place, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const bool matches = name.size() > affixes && !name.starts_with('.') &&
                         name.starts_with(pattern.prefix) && name.ends_with(pattern.suffix);
    if (!matches) continue;
    if (ids.size() == count_max) {
      return fail(ErrorKind::invalid_input,
                  place.string() + ": more than " + std::to_string(count_max) + " files");
    }
    ids.push_back(name.substr(pattern.prefix.size(), name.size() - affixes));
  }
  if (error) {
    return fail(ErrorKind::invalid_input, place.string() + ": can't be read: " + error.message());
  }
  std::ranges::sort(ids);
  return ids;
}

}  // namespace takt::line
