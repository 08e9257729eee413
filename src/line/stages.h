// SPDX-License-Identifier: Apache-2.0
// Turns the tasks of a frame into requests: whole frames first, crops of what was found after that.
// Thread-safe: no; the line's thread.
// Owns: how many crops a frame has needed lately.
#pragma once

#include "core/time.h"
#include "engine/inference_client.h"
#include "line/event_queue.h"
#include "line/frame_state.h"
#include "line/line_plan.h"
#include "line/line_stats.h"

#include <cstddef>
#include <memory>
#include <vector>

namespace takt::line {

class Stages {
 public:
  Stages(const LinePlan& plan, InferenceClient& client, const Clock& clock, LineProbe& probe,
         std::shared_ptr<EventQueue> answers);

  // Starts every task that looks at the whole frame.
  void start(FrameState& state);
  // Starts the tasks that look at crops of what `task` found, or ends them if it didn't answer.
  void start_children(FrameState& state, std::size_t task);
  // Asks the task's fallback instead of its own model, which failed with `cause`. False where there
  // is none, where it would fail as well, or where no time is left.
  [[nodiscard]] bool fall_back(FrameState& state, std::size_t task, std::size_t request,
                               const Error& cause);
  // Withdraws what has not been answered.
  void cancel(const FrameState& state);

  // Tells the engine when to expect the critical tasks of whole frames that come `interval` apart and
  // are decided `time` after their capture; an interval of zero takes that back.
  void announce(Duration interval, Duration time);

  // The image geometry of a request, for post-processing.
  [[nodiscard]] Placement placement(const FrameState& state, std::size_t task,
                                    const FrameRequest& request) const;

 private:
  void submit(FrameState& state, std::size_t task);
  [[nodiscard]] Result<void> send(FrameState& state, std::size_t task, std::size_t request);
  [[nodiscard]] std::vector<FrameRequest> crops(const FrameState& state, std::size_t child);
  [[nodiscard]] TimePoint stage_deadline(const FrameState& state, std::size_t task,
                                         const PlannedTask& asked_task) const;
  [[nodiscard]] Duration expected_after(std::size_t task) const;
  // Of `asked_task`'s model, for as many rows as `task` needs.
  [[nodiscard]] Duration expected_of(std::size_t task, const PlannedTask& asked_task) const;

  const LinePlan& plan_;
  InferenceClient& client_;
  const Clock& clock_;
  LineProbe& probe_;
  const std::shared_ptr<EventQueue> answers_;
  std::vector<double> crops_lately_;  // by task: a moving average of its crops per frame
};

}  // namespace takt::line
