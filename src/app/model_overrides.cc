// SPDX-License-Identifier: Apache-2.0
#include "app/model_overrides.h"

#include "repository/config_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace takt::app {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kScheme = "file:";
constexpr std::size_t kVersionDigitsMax = 18;  // fits into 64 bits
constexpr std::size_t kNameLengthMax = 255;    // of a file, in Linux's file systems

bool is_version(std::string_view text) {
  return !text.empty() && text.size() <= kVersionDigitsMax && text.front() != '0' &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool is_plain_name(std::string_view text) {
  return !text.empty() && text.size() <= kNameLengthMax && text.front() != '.' &&
         std::ranges::all_of(
             text, [](unsigned char c) { return c >= 0x20 && c != 0x7F && c != '/' && c != '\\'; });
}

// VERSION/NAME of a key.
Result<fs::path> place_of(std::string_view key) {
  const std::string_view place = key.substr(std::min(kScheme.size(), key.size()));
  if (place.size() > kNameLengthMax && place.substr(place.rfind('/') + 1).size() > kNameLengthMax) {
    // The words and the kind are those that Triton's own example of model control waits for.
    return fail(ErrorKind::internal,
                fmt::format("failed to poll from model repository: a file's name of more than {} "
                            "bytes",
                            kNameLengthMax));
  }
  const std::size_t slash = std::min(place.find('/'), place.size());
  const std::string_view version = place.substr(0, slash);
  const std::string_view name = place.substr(std::min(slash + 1, place.size()));
  if (key.starts_with(kScheme) && is_version(version) && is_plain_name(name)) {
    return fs::path(version) / name;
  }
  return fail(ErrorKind::invalid_input,
              fmt::format("'{}' names no file of a model; expected file:VERSION/NAME, such as "
                          "file:1/model.onnx",
                          key));
}

Result<void> check_size(const server::LoadOverrides& overrides, std::size_t bytes_max) {
  std::size_t bytes = 0;
  for (const auto& [key, content] : overrides.files) bytes += content.size();
  if (bytes <= bytes_max) return {};
  return fail(ErrorKind::invalid_input,
              fmt::format("the files have {} bytes; at most {} are allowed, larger models go into "
                          "the repository",
                          bytes, bytes_max));
}

std::unexpected<Error> cant_write(const fs::path& file) {
  return fail(ErrorKind::unavailable,
              file.string() + ": can't be written; free space there or set TMPDIR");
}

Result<void> write_file(const fs::path& file, std::string_view content) {
  std::error_code failure;
  fs::create_directories(file.parent_path(), failure);
  std::ofstream stream(file, std::ios::binary);
  stream.write(content.data(), static_cast<std::streamsize>(content.size()));
  stream.close();
  if (!stream) return cant_write(file);
  return {};
}

Result<void> link_versions(const fs::path& from, const fs::path& to) {
  std::error_code failure;
  for (fs::directory_iterator entry(from, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    const fs::path version = entry->path().filename();
    if (!is_version(version.string())) continue;
    fs::create_directory_symlink(entry->path(), to / version, failure);
    if (failure) return cant_write(to);
  }
  return {};
}

Result<void> fill(const fs::path& folder, const fs::path& origin, const std::string& config,
                  const server::LoadOverrides& overrides) {
  if (Result<void> written = write_file(folder / "config.pbtxt", config); !written) return written;
  if (overrides.files.empty()) return link_versions(origin, folder);
  for (const auto& [key, content] : overrides.files) {
    const Result<fs::path> place = place_of(key);
    if (!place) return std::unexpected(place.error());
    if (Result<void> written = write_file(folder / *place, content); !written) return written;
  }
  return {};
}

}  // namespace

Result<TemporaryFolder> make_override(const fs::path& repository, const std::string& name,
                                      const server::LoadOverrides& overrides,
                                      std::size_t bytes_max) {
  if (overrides.config_json.empty()) {
    return fail(ErrorKind::invalid_input,
                "files without a configuration; state config beside them, '{}' leaves all to the "
                "model's file");
  }
  const Result<std::string> config = repository::config_text_of_json(overrides.config_json);
  if (!config) return std::unexpected(config.error());
  if (Result<void> fits = check_size(overrides, bytes_max); !fits) {
    return std::unexpected(std::move(fits).error());
  }
  Result<TemporaryFolder> folder = TemporaryFolder::make();
  if (!folder) return folder;
  Result<void> filled = fill(folder->path() / name, repository / name, *config, overrides);
  if (!filled) return std::unexpected(std::move(filled).error());
  return folder;
}

}  // namespace takt::app
