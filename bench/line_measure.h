// SPDX-License-Identifier: Apache-2.0
// The measurements of takt-bench-line. Each prints nothing and returns its figures as JSON.
// Thread-safe: no; the main thread.
// Owns: nothing.
#pragma once

#include "core/result.h"
#include "line_setup.h"

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace takt::bench {

struct RunOptions {
  std::filesystem::path input;  // PNG pairs; empty: decoded boards in memory
  std::filesystem::path jsonl;  // verdicts go there; empty: no sink
  int boards = 32;              // in memory
  double warm_up_s = 2;
  double seconds = 10;
  // With input: the run is so many times through the folder in place of `seconds`, so that no frame
  // is decoded that isn't judged.
  int repeat = 0;
};
// The line as fast as it goes: frames a second, CPU time a frame, and how much of it inside infer().
[[nodiscard]] Result<nlohmann::json> measure_run(Setup& setup, const RunOptions& options);

struct CropsOptions {
  std::string task = "kinds";
  int boards = 32;
  int frames_in_flight = 8;
  double warm_up_s = 2;
  double seconds = 10;
};
// The cascade's model alone, on the engine, fed with the crops around the boards' own defects.
[[nodiscard]] Result<nlohmann::json> measure_crops(Setup& setup, const CropsOptions& options);

struct IdleOptions {
  std::string task;
  int requests = 2000;
  double pause_ms = 1;
};
// One request at a time: from submit to the call of `done`, less exec_start to exec_end.
[[nodiscard]] Result<nlohmann::json> measure_idle(Setup& setup, const IdleOptions& options);

struct HeapOptions {
  std::vector<std::uint64_t> marks{2'000, 5'000, 10'000, 15'000, 20'000};  // frames
  int side = 64;                                                           // pixels
};
// Memory in use when the line has judged so many frames and rests. With store and JSON Lines.
[[nodiscard]] Result<nlohmann::json> measure_heap(Setup& setup, const HeapOptions& options);

// Share q of the values lies at or below it. The values are sorted.
[[nodiscard]] double quantile(std::span<const double> sorted, double q);

}  // namespace takt::bench
