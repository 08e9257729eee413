// SPDX-License-Identifier: Apache-2.0
// Frames and records for the tests of journal, store and sinks.
// Thread-safe: pure functions.
// Owns: TemporaryDirectory owns a folder and removes it.
#pragma once

#include "line/frame.h"

#include <unistd.h>

#include <filesystem>
#include <string>

namespace takt::line {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "takt-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

inline Frame sample_frame(const std::string& name) {
  Frame frame;
  frame.name = name;
  frame.part_id = "part-" + name;
  frame.trigger_seq = 7;
  frame.recipe = "pcb/1";
  frame.captured_wall_us = 1'700'000'000'000'000;
  return frame;
}

inline VerdictRecord sample_record(const std::string& line, std::uint64_t seq,
                                   Verdict verdict = Verdict::reject) {
  VerdictRecord record;
  record.line = line;
  record.seq = FrameSeq{seq};
  record.frame = "frame-" + std::to_string(seq);
  record.part_id = "part-" + std::to_string(seq);
  record.trigger_seq = seq;
  record.recipe = "pcb/1";
  record.captured_wall_us = 1'700'000'000'000'000 + static_cast<std::int64_t>(seq);
  record.verdict = verdict;
  record.reasons = {"rule:open-circuit open x1 max 0.97"};
  record.route = "bin-2";
  record.detections = {{"open", 0.9712F, {10, 20.5F, 30, 40.25F}, "defects"}};
  record.distance = 1.75F;
  TaskReport report{.task = "defects",
                    .model = "pcb-detector",
                    .version = 3,
                    .error = {},
                    .submitted = {},
                    .finished = {}};
  report.finished = TimePoint(std::chrono::milliseconds(12));
  report.compute = std::chrono::milliseconds(9);
  report.requests = 1;
  TaskReport late{.task = "kinds",
                  .model = "pcb-classifier",
                  .version = 1,
                  .error = {},
                  .submitted = {},
                  .finished = {}};
  late.error = Error{ErrorKind::deadline_exceeded, "too late"};
  TaskReport stood_in = report;
  stood_in.task = "difference";
  stood_in.stand_in = StandIn{"difference-small",
                              "pcb-matcher-small",
                              2,
                              {ErrorKind::worker_lost, "its worker ended"},
                              Error{ErrorKind::out_of_memory, "no room"}};
  record.tasks = {report, late, stood_in};
  record.latency = std::chrono::milliseconds(15);
  record.lateness = std::chrono::microseconds(-200);
  record.known_defects = {{"open", {9, 20, 31, 41}}};
  record.truth_known = true;
  return record;
}

}  // namespace takt::line
