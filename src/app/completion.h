// SPDX-License-Identifier: Apache-2.0
// Shell completion made from the program's own argument parser, so that it can't fall behind.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include <CLI/App.hpp>

#include <string>

namespace takt::app {

// A bash completion script for `program` with the subcommands and options of `parser`.
[[nodiscard]] std::string bash_completion(const CLI::App& parser, const std::string& program);

}  // namespace takt::app
