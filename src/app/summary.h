// SPDX-License-Identifier: Apache-2.0
// What a run did, as a table for people and as JSON for scripts.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "app/demo_score.h"
#include "app/runtime.h"
#include "core/result.h"

#include <filesystem>
#include <optional>
#include <string>

namespace takt::app {

struct Summary {
  Counts counts;
  double seconds = 0;
  std::optional<Score> score;  // where the source knows the truth
};

[[nodiscard]] std::string to_table(const Summary& summary);

// The events that there were, "worker_lost 2, worker_back 2"; empty when there were none.
[[nodiscard]] std::string to_line(const engine::EventCounts& events);

// Keys: seconds, lines {NAME: {accepted, verdicts, pass, ...}}, engine, journal, store, score,
// peak_rss_bytes. Errors: unavailable (the file can't be written).
[[nodiscard]] Result<void> write_json(const Summary& summary, const std::filesystem::path& file);

[[nodiscard]] std::size_t peak_rss_bytes(const Counts& counts);

}  // namespace takt::app
