// SPDX-License-Identifier: Apache-2.0
#include "app/command_run.h"

#include "app/commands.h"
#include "core/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace takt::app {

int report_error(const Error& error) {
  fmt::print(stderr, "takt: {}\n", error.message);
  return error.kind == ErrorKind::invalid_input ? kExitInvalid : kExitFailed;
}

void report_line(const std::string& text) {
  fmt::print(stderr, "takt: {}\n", text);
}

Result<config::Config> load_config(const std::filesystem::path& file) {
  Result<config::Loaded> loaded = config::load(file);
  if (!loaded) return std::unexpected(std::move(loaded).error());
  for (const std::string& warning : loaded->warnings) {
    report_line(file.string() + ": warning: " + warning);
  }
  return std::move(loaded->config);
}

Result<config::LineEntry> find_line(const config::Config& config, const std::string& name) {
  if (name.empty()) return config.lines.front();
  const auto found = std::ranges::find_if(
      config.lines, [&](const config::LineEntry& entry) { return entry.line.name == name; });
  if (found != config.lines.end()) return *found;
  std::vector<std::string> names;
  names.reserve(config.lines.size());
  for (const config::LineEntry& entry : config.lines) names.push_back(entry.line.name);
  return fail(ErrorKind::invalid_input,
              config.file.string() + ": no line '" + name + "'" + suggestion(name, names));
}

int finish(const Summary& summary, const std::filesystem::path& summary_file) {
  fmt::print("{}", to_table(summary));
  if (summary_file.empty()) return kExitOk;
  const Result<void> written = write_json(summary, summary_file);
  return written ? kExitOk : report_error(written.error());
}

}  // namespace takt::app
