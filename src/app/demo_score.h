// SPDX-License-Identifier: Apache-2.0
// Compares verdicts and detections with the defects that the simulator drew.
// Thread-safe: on_verdict on the line's thread, score from any.
// Owns: its counts.
#pragma once

#include "line/sink.h"

#include <cstdint>
#include <mutex>

namespace takt::app {

struct Score {
  std::uint64_t boards = 0;               // with a known truth
  std::uint64_t boards_judged = 0;        // of those, by models and not by a fallback
  std::uint64_t defects = 0;              // drawn on judged boards
  std::uint64_t defects_found = 0;        // with the right class
  std::uint64_t defects_wrong_class = 0;  // found, but under another name
  std::uint64_t false_alarms = 0;         // detections where nothing was drawn
  std::uint64_t escapes = 0;              // defective boards that passed
  std::uint64_t overkill = 0;             // good boards that were rejected
};

// A detection of at least `score_min` finds a defect when their boxes overlap by IoU > 0.33, the
// rule of the DeepPCB benchmark.
class DemoScore final : public line::VerdictObserver {
 public:
  explicit DemoScore(float score_min = 0.5F) : score_min_(score_min) {}
  void on_verdict(const line::VerdictRecord& record) override;
  [[nodiscard]] Score score() const;

 private:
  const float score_min_;
  mutable std::mutex mutex_;
  Score score_;  // guarded by mutex_
};

}  // namespace takt::app
