// SPDX-License-Identifier: Apache-2.0
// What the subcommands share: errors for people, loading a configuration, ending a run.
// Thread-safe: no; the main thread.
// Owns: nothing.
#pragma once

#include "app/summary.h"
#include "config/config.h"

#include <filesystem>
#include <functional>
#include <string>

namespace takt::app {

// "takt: ..." on standard error; returns the exit code that the error's kind stands for.
int report_error(const Error& error);
// A line on standard error for what takes time or deserves attention.
void report_line(const std::string& text);

// The configuration, its warnings printed.
[[nodiscard]] Result<config::Config> load_config(const std::filesystem::path& file);

// The entry of that name, or the first one for an empty name. Errors: invalid_input, with a
// suggestion.
[[nodiscard]] Result<config::LineEntry> find_line(const config::Config& config,
                                                  const std::string& name);

// Prints the table and writes the JSON where one was asked for. Returns the exit code.
int finish(const Summary& summary, const std::filesystem::path& summary_file);

}  // namespace takt::app
