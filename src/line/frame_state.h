// SPDX-License-Identifier: Apache-2.0
// One frame between its acceptance and its verdict: which tasks have run, and what they found.
// Thread-safe: no; the line's thread.
// Owns: the frame (and through it the slots of its pixels) and the results so far.
#pragma once

#include "core/ids.h"
#include "core/time.h"
#include "line/decision.h"
#include "line/findings.h"
#include "line/frame.h"
#include "line/line_config.h"
#include "line/line_plan.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace takt::line {

struct FrameRequest {
  RequestId id;
  Region region;                         // width 0: the whole image
  std::optional<std::size_t> detection;  // of the parent, for a crop
  bool open = true;                      // not answered yet
  bool to_fallback = false;              // the task's own model has failed
};

struct TaskRun {
  enum class Phase : std::uint8_t { waiting, running, done };
  Phase phase = Phase::waiting;
  std::vector<FrameRequest> requests;
  std::size_t requests_open = 0;
  TaskFinding finding;
  TaskReport report;
};

struct FrameState {
  FrameSeq seq;
  Frame frame;
  bool journalled = true;
  bool dropped = false;
  TimePoint deadline = kNever;   // of the verdict
  TimePoint decide_at = kNever;  // when the timer decides
  std::vector<TaskRun> tasks;    // in the plan's order
  std::size_t tasks_open = 0;
};

// A frame none of whose tasks has begun.
[[nodiscard]] FrameState new_frame(FrameSeq seq, Frame frame, const LinePlan& plan);

// The task whose model a request goes to.
[[nodiscard]] const PlannedTask& asked(const PlannedTask& task, const FrameRequest& request);

// Adds what one request found. An error makes the task failed, or late when time ran out.
void take_result(TaskRun& run, const PlannedTask& task, const FrameRequest& request,
                 Result<TaskResult> result);
// Ends a task: nothing that comes later counts.
void finish(FrameState& state, TaskRun& run, TimePoint now);
// Ends a task without an answer.
void give_up(FrameState& state, TaskRun& run, TaskState why, Error error, TimePoint now);

// What the decision looks at; moved out of the state.
[[nodiscard]] FrameFindings take_findings(FrameState& state);
// The record of a judged frame; takes the frame's images and the tasks' reports with it.
[[nodiscard]] VerdictRecord take_record(FrameState& state, const LineConfig& config,
                                        const FrameFindings& findings, Decision decision,
                                        TimePoint now);

}  // namespace takt::line
