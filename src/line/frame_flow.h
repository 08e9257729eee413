// SPDX-License-Identifier: Apache-2.0
// The frames in flight of one line, from acceptance to the one verdict of each.
// Thread-safe: no; the line's thread. It owns no thread and waits for nothing.
// Owns: the state of every frame that has no verdict yet.
#pragma once

#include "core/ids.h"
#include "core/time.h"
#include "engine/inference_client.h"
#include "line/event_queue.h"
#include "line/frame_state.h"
#include "line/line_config.h"
#include "line/line_plan.h"
#include "line/line_stats.h"
#include "line/stages.h"
#include "line/verdict_path.h"

#include <cstddef>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>

namespace takt::line {

class FrameFlow {
 public:
  FrameFlow(const LineConfig& config, const LinePlan& plan, InferenceClient& client,
            const Clock& clock, VerdictPath& path, LineProbe& probe,
            std::shared_ptr<EventQueue> answers);

  // Frames come `interval` apart from now on (zero: no longer): what is critical about them is
  // announced to the engine, where the line has a deadline.
  void announce(Duration interval);
  // Journals the frame and starts its tasks. Its verdict follows: at once if nothing is to be
  // waited for, otherwise from complete(), expire() or answer_all().
  void accept(Frame frame);
  // Journals the frame and answers it with its fallback, reason `dropped`.
  void drop(Frame frame);
  // An answer of the engine. After the frame's verdict it is counted and thrown away.
  void complete(Completion completion);
  // Answers every frame whose time has come.
  void expire();
  // Answers every frame as it stands.
  void answer_all();

  [[nodiscard]] bool has_room() const noexcept;
  [[nodiscard]] std::size_t in_flight() const noexcept { return frames_.size(); }
  // When expire() must be called next.
  [[nodiscard]] TimePoint next_due() const noexcept;

 private:
  [[nodiscard]] FrameState take_in(Frame frame);
  void set_deadline(FrameState& state) const;
  [[nodiscard]] Duration time_to_decide() const;  // from capture, of a line with a deadline
  void skip_all_tasks(FrameState& state, const std::string& why) const;
  [[nodiscard]] Result<TaskResult> read(const FrameState& state, const Completion& completion,
                                        const FrameRequest& request) const;
  void give_up_open_tasks(FrameState& state) const;
  void answer(FrameSeq seq);
  void judge(FrameState& state);

  const LineConfig& config_;
  const LinePlan& plan_;
  const Clock& clock_;
  VerdictPath& path_;
  LineProbe& probe_;
  Stages stages_;
  std::unordered_map<FrameSeq, FrameState> frames_;
  std::set<std::pair<TimePoint, FrameSeq>> due_;
};

}  // namespace takt::line
