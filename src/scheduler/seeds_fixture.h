// SPDX-License-Identifier: Apache-2.0
// For tests: how many random workloads to try, and how to replay the one that failed.
// Thread-safe: yes.
// Owns: nothing.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

namespace takt::scheduler {

inline std::optional<std::uint64_t> number_from_environment(const char* name) {
  const char* const text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  return std::strtoull(text, nullptr, 10);
}

inline bool replays() {
  return number_from_environment("TAKT_SIM_SEED").has_value();
}

// Seeds from 1: `count_default` of them, 10,000 with TAKT_LONG, or TAKT_SIM_WORKLOADS; with
// TAKT_SIM_SEED that one alone.
inline std::vector<std::uint64_t> seeds(std::uint64_t count_default) {
  if (const auto seed = number_from_environment("TAKT_SIM_SEED")) return {*seed};
  constexpr std::uint64_t kLong = 10'000;
  std::uint64_t count = std::getenv("TAKT_LONG") == nullptr ? count_default : kLong;
  count = number_from_environment("TAKT_SIM_WORKLOADS").value_or(count);
  std::vector<std::uint64_t> all;
  for (std::uint64_t seed = 1; seed <= count; ++seed) all.push_back(seed);
  return all;
}

inline std::string replay(std::uint64_t seed, const std::string& filter) {
  const std::string number = std::to_string(seed);
  return "workload " + number + " fails; replay it alone with\n  TAKT_SIM_SEED=" + number +
         " takt-scheduler-tests --gtest_filter='" + filter + "'";
}

}  // namespace takt::scheduler
