// SPDX-License-Identifier: Apache-2.0
// What flows through a line: a frame goes in, one record with its verdict comes out.
// Thread-safe: plain values; pixels in slots are written before the frame is handed on and never
// after. Owns: a frame shares its slots; a record owns everything it holds but the pixels.
#pragma once

#include "core/ids.h"
#include "core/image.h"
#include "core/result.h"
#include "core/time.h"
#include "line/findings.h"
#include "memory/slot_pool.h"
#include "task/task.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace takt::line {

struct FrameImage {
  std::string role;  // "board", "golden"
  ImageView view;
  Slot slot;  // holds the pixels
};

// A ground-truth defect, known when the source made the frame (board-simulator); for scoring the
// demo.
struct KnownDefect {
  std::string class_name;
  Box box;
};

struct Frame {
  std::string name;  // file stem, or "<line>-<number>"
  std::string part_id;
  std::uint64_t trigger_seq = 0;  // counted by the source, gaps mean missed triggers
  std::string recipe;
  TimePoint captured;
  std::int64_t captured_wall_us = 0;
  std::vector<FrameImage> images;
  std::optional<Error> damage;  // the source could not read it: it is judged by its fallback
  std::vector<KnownDefect> known_defects;
  bool truth_known = false;
};

struct NamedDetection {
  std::string class_name;
  float score = 0;
  Box box;
  std::string task;
};

// What one task said about a frame, or why it could not.
struct TaskReport {
  std::string task;
  std::string model;
  std::int64_t version = 0;
  std::optional<Error> error;  // set: the task's fallback stands in
  TimePoint submitted;
  TimePoint finished;
  Duration compute{};  // compute_start to compute_end, the sum over its requests
  int requests = 0;    // 1, or the number of crops
  std::optional<StandIn> stand_in{};
};

struct VerdictRecord {
  FrameSeq seq;
  std::string line;
  std::string frame;
  std::string part_id;
  std::uint64_t trigger_seq = 0;
  std::string recipe;
  std::int64_t captured_wall_us = 0;
  Verdict verdict = Verdict::review;
  std::vector<std::string> reasons;  // never empty for reject and review
  std::string route;
  bool by_fallback = false;  // at least one task did not answer in time
  std::vector<NamedDetection> detections;
  std::optional<float> distance;  // of the matcher, when there is one
  std::vector<TaskReport> tasks;
  Duration latency{};  // captured to verdict
  Duration
      lateness{};  // how far behind its deadline the verdict came; zero or negative when in time
  std::vector<FrameImage> images;  // still alive for sinks that keep pictures
  std::vector<KnownDefect> known_defects;
  bool truth_known = false;
};

}  // namespace takt::line
