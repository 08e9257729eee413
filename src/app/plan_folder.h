// SPDX-License-Identifier: Apache-2.0
// Where the plans of models for GPUs are kept: the folder that `takt compile` writes into is the one that a load
// looks into.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include <filesystem>
#include <string_view>

namespace takt::app {

// Below a cache as models.cache names it; empty for none.
[[nodiscard]] inline std::filesystem::path plan_folder(const std::filesystem::path& cache) {
  return cache.empty() ? cache : cache / "plans";
}

// Where a backend keeps what it has compiled.
[[nodiscard]] inline std::filesystem::path cache_of(std::string_view backend,
                                                    const std::filesystem::path& cache) {
  return backend == "cuda" ? plan_folder(cache) : cache;
}

}  // namespace takt::app
