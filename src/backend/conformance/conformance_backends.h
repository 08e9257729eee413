// SPDX-License-Identifier: Apache-2.0
// The backends that the conformance suite of a program runs against. Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "backend/backend.h"

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace takt::conformance {

struct BackendCase {
  using Parameters = std::vector<std::pair<std::string, std::string>>;

  std::string name;
  // Errors: unavailable skips the tests and says why.
  Result<std::unique_ptr<Backend>> (*make)() = nullptr;
  Parameters slow = {};  // with these a batch takes a while
  Parameters parameters = {};
  std::string device = "cpu";
  std::filesystem::path cache_dir = {};
  bool takes_strings = false;  // otherwise a model with strings is refused when it is loaded
  std::size_t instance_bytes_max = std::size_t{1} << 20;  // of the small models
};

// A program that links the suite says what it has: host_backends.cc or cuda_backends.cc.
[[nodiscard]] std::vector<BackendCase> conformance_backends();

}  // namespace takt::conformance
