// SPDX-License-Identifier: Apache-2.0
// Where verdicts go: the journal takes frames and verdicts first, then sinks and observers report.
// Thread-safe: a Sink is called by one thread at a time, a FrameJournal by the threads of all lines.
// Owns: nothing; implementations own their files.
#pragma once

#include "core/ids.h"
#include "core/result.h"
#include "line/frame.h"

#include <string_view>
#include <vector>

namespace takt::line {

// Reports verdicts to somewhere slow: a file, a database, a network. Never called on the verdict
// path.
class Sink {
 public:
  virtual ~Sink() = default;

  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  // Takes one verdict, which is already in the journal. The pixels of record.images are readable
  // during the call only. A failure is counted by the line and the next verdict is offered all the
  // same; whether and when to try the failed one again is the sink's affair.
  [[nodiscard]] virtual Result<void> write(const VerdictRecord& record) = 0;

  // Everything written so far is where others can read it. Called when the queue runs empty and at
  // the end.
  [[nodiscard]] virtual Result<void> flush() = 0;
};

// Frames and verdicts in the order in which they happened, kept over the death of the process.
// Called on the verdict path: appending to mapped memory is fine, waiting for a disk or a lock that
// is held over a disk access is not.
class FrameJournal {
 public:
  virtual ~FrameJournal() = default;

  // The number of the next frame of `line`: from 1, rising, given once, also over restarts. It
  // can't fail: what it needs is reserved when the journal is opened, so that a full disk doesn't
  // stop the counting.
  [[nodiscard]] virtual FrameSeq next_seq(std::string_view line) = 0;

  // Records that frame `seq` owes a verdict, before anything is done with it.
  // Errors: unavailable (no room).
  [[nodiscard]] virtual Result<void> accept(FrameSeq seq, const Frame& frame,
                                            std::string_view line) = 0;

  // Records the one verdict of an accepted frame, before it is reported to anybody.
  // Errors: unavailable (no room).
  [[nodiscard]] virtual Result<void> verdict(const VerdictRecord& record) = 0;

  // Frames of `line` that an earlier run accepted and did not judge, oldest first: seq, line,
  // frame, part_id, trigger_seq, recipe and captured_wall_us are filled in. Asked once, before the
  // line's first frame; the line answers each by verdict() with `review`, reason `restart`.
  [[nodiscard]] virtual Result<std::vector<VerdictRecord>> unanswered(std::string_view line) = 0;
};

// Sees verdicts at once, on the line's thread, after the journal: for the live view and for signals
// to a machine. Must be quick, must not block, must not throw.
class VerdictObserver {
 public:
  virtual ~VerdictObserver() = default;
  virtual void on_verdict(const VerdictRecord& record) = 0;
};

}  // namespace takt::line
