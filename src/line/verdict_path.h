// SPDX-License-Identifier: Apache-2.0
// The last stretch of a frame's way: number and journal it, journal its verdict, then report.
// Thread-safe: no; the line's thread.
// Owns: verdicts that wait for an earlier frame's; everything else belongs to the line.
#pragma once

#include "core/ids.h"
#include "line/frame.h"
#include "line/line_config.h"
#include "line/line_stats.h"
#include "line/sink.h"
#include "line/sink_queue.h"

#include <cstddef>
#include <map>
#include <optional>
#include <vector>

namespace takt::line {

class VerdictPath {
 public:
  VerdictPath(const LineConfig& config, FrameJournal& journal,
              std::vector<VerdictObserver*> observers, SinkQueue& sinks, LineProbe& probe);

  // Answers the frames that an earlier run accepted and did not judge.
  void answer_unanswered();

  struct Accepted {
    FrameSeq seq;
    bool journalled = true;
  };
  [[nodiscard]] Accepted accept(const Frame& frame);

  // Takes the one verdict of a frame. Without a whole entry in the journal a `pass` becomes
  // `review`, reason `journal`: what can't be proven later doesn't leave as good.
  void report(VerdictRecord record, bool journalled);

  // Verdicts that wait for an earlier frame's, when they leave in order.
  [[nodiscard]] std::size_t waiting() const noexcept { return waiting_; }

 private:
  void distrust(VerdictRecord& record) const;
  void release(VerdictRecord record);
  void to_sinks(VerdictRecord record);

  const LineConfig& config_;
  const bool in_order_;
  FrameJournal& journal_;
  const std::vector<VerdictObserver*> observers_;
  SinkQueue& sinks_;
  LineProbe& probe_;
  // In order only: every frame that owes the sinks a verdict, with the verdict once it is there.
  std::map<FrameSeq, std::optional<VerdictRecord>> owed_;
  std::size_t waiting_ = 0;
};

}  // namespace takt::line
