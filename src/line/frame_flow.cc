// SPDX-License-Identifier: Apache-2.0
#include "line/frame_flow.h"

#include <algorithm>
#include <utility>

namespace takt::line {

FrameFlow::FrameFlow(const LineConfig& config, const LinePlan& plan, InferenceClient& client,
                     const Clock& clock, VerdictPath& path, LineProbe& probe,
                     std::shared_ptr<EventQueue> answers)
    : config_(config),
      plan_(plan),
      clock_(clock),
      path_(path),
      probe_(probe),
      stages_(plan, client, clock, probe, std::move(answers)) {}

FrameState FrameFlow::take_in(Frame frame) {
  if (frame.recipe.empty()) frame.recipe = config_.recipe;
  const VerdictPath::Accepted accepted = path_.accept(frame);
  FrameState state = new_frame(accepted.seq, std::move(frame), plan_);
  state.journalled = accepted.journalled;
  set_deadline(state);
  return state;
}

void FrameFlow::set_deadline(FrameState& state) const {
  if (!config_.deadline) {
    state.decide_at = clock_.now() + config_.patience;
    return;
  }
  state.deadline = state.frame.captured + *config_.deadline;
  state.decide_at = state.frame.captured + time_to_decide();
}

Duration FrameFlow::time_to_decide() const {
  return *config_.deadline - std::min(config_.verdict_margin, *config_.deadline / 10);
}

void FrameFlow::announce(Duration interval) {
  if (config_.deadline) stages_.announce(interval, time_to_decide());
}

void FrameFlow::accept(Frame frame) {
  FrameState taken = take_in(std::move(frame));
  if (taken.frame.damage) {
    probe_.damaged();
    skip_all_tasks(taken, "the frame could not be read");
    judge(taken);
    return;
  }
  const FrameSeq seq = taken.seq;
  FrameState& state = frames_.emplace(seq, std::move(taken)).first->second;
  due_.emplace(state.decide_at, seq);
  if (state.decide_at > clock_.now()) stages_.start(state);
  for (std::size_t i = 0; i < state.tasks.size(); ++i) {
    if (state.tasks[i].phase == TaskRun::Phase::done) stages_.start_children(state, i);
  }
  if (state.tasks_open == 0 || state.decide_at <= clock_.now()) answer(seq);
}

void FrameFlow::drop(Frame frame) {
  FrameState state = take_in(std::move(frame));
  state.dropped = true;
  probe_.dropped();
  skip_all_tasks(state, "the frame gave way to others");
  judge(state);
}

void FrameFlow::skip_all_tasks(FrameState& state, const std::string& why) const {
  for (TaskRun& run : state.tasks) {
    give_up(state, run, TaskState::not_run, {ErrorKind::unavailable, why}, clock_.now());
  }
}

void FrameFlow::complete(Completion completion) {
  const auto found = frames_.find(completion.seq);
  if (found == frames_.end()) {
    const bool withdrawn =
        !completion.result && completion.result.error().kind == ErrorKind::cancelled;
    if (!withdrawn) probe_.late_result();
    return;
  }
  FrameState& state = found->second;
  TaskRun& run = state.tasks[completion.task];
  FrameRequest& request = run.requests[completion.request];
  if (!request.open) return;
  if (completion.result) {
    const BatchTimes& times = completion.result->timings.batch;
    run.report.compute += times.compute_end - times.compute_start;
  }
  Result<TaskResult> result = read(state, completion, request);
  if (!result && stages_.fall_back(state, completion.task, completion.request, result.error())) {
    return;
  }
  request.open = false;
  --run.requests_open;
  take_result(run, plan_.tasks[completion.task], request, std::move(result));
  if (run.requests_open > 0) return;
  finish(state, run, clock_.now());
  stages_.start_children(state, completion.task);
  if (state.tasks_open == 0) answer(completion.seq);
}

Result<TaskResult> FrameFlow::read(const FrameState& state, const Completion& completion,
                                   const FrameRequest& request) const {
  if (!completion.result) return std::unexpected(completion.result.error());
  return asked(plan_.tasks[completion.task], request)
      .postprocessor->run(completion.result->outputs,
                          stages_.placement(state, completion.task, request));
}

void FrameFlow::expire() {
  while (next_due() <= clock_.now()) answer(due_.begin()->second);
}

void FrameFlow::answer_all() {
  while (!due_.empty()) answer(due_.begin()->second);
}

void FrameFlow::give_up_open_tasks(FrameState& state) const {
  for (std::size_t i = 0; i < state.tasks.size(); ++i) {
    TaskRun& run = state.tasks[i];
    const bool waits_for_another = run.phase == TaskRun::Phase::waiting && plan_.tasks[i].parent;
    give_up(state, run, waits_for_another ? TaskState::not_run : TaskState::late,
            {ErrorKind::deadline_exceeded, "no answer when the verdict was due"}, clock_.now());
  }
}

void FrameFlow::answer(FrameSeq seq) {
  auto node = frames_.extract(seq);
  FrameState& state = node.mapped();
  due_.erase({state.decide_at, seq});
  if (state.tasks_open > 0) {
    stages_.cancel(state);
    give_up_open_tasks(state);
  }
  judge(state);
}

// The only place where a verdict comes into being.
void FrameFlow::judge(FrameState& state) {
  for (std::size_t i = 0; i < state.tasks.size(); ++i) {
    probe_.task(i, state.tasks[i].finding.state, state.tasks[i].report);
  }
  const FrameFindings findings = take_findings(state);
  Decision decision = decide(config_.decision, findings);
  path_.report(take_record(state, config_, findings, std::move(decision), clock_.now()),
               state.journalled);
}

bool FrameFlow::has_room() const noexcept {
  return in_flight() < config_.frames_in_flight_max &&
         in_flight() + path_.waiting() < 2 * config_.frames_in_flight_max;
}

TimePoint FrameFlow::next_due() const noexcept {
  return due_.empty() ? kNever : due_.begin()->first;
}

}  // namespace takt::line
