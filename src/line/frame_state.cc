// SPDX-License-Identifier: Apache-2.0
#include "line/frame_state.h"

#include <algorithm>
#include <utility>

namespace takt::line {
namespace {

void take_error(TaskRun& run, Error error) {
  const bool time_ran_out =
      error.kind == ErrorKind::deadline_exceeded || error.kind == ErrorKind::cancelled;
  const TaskState state = time_ran_out ? TaskState::late : TaskState::failed;
  // A fault says more than a delay, and the first of each says enough.
  if (run.finding.state == TaskState::failed || run.finding.state == state) return;
  run.finding.state = state;
  run.finding.error = std::move(error);
}

void take_detections(TaskFinding& finding, const PlannedTask& task,
                     const std::vector<Detection>& detections) {
  for (const Detection& detection : detections) {
    finding.detections.push_back(
        {task.class_name(detection.class_index), detection.score, detection.box});
  }
}

void take_distance(TaskFinding& finding, DistanceResult result) {
  if (!finding.distance) {
    finding.distance = std::move(result);
    return;
  }
  finding.distance->distance = std::max(finding.distance->distance, result.distance);
  std::ranges::move(result.differences, std::back_inserter(finding.distance->differences));
}

// Names that a sure classification gives to detections of `task`, by index; empty: keep.
std::vector<std::string> new_names(const FrameFindings& findings, const TaskFinding& task,
                                   const RelabelOptions& relabel) {
  std::vector<std::string> names(task.detections.size());
  if (!relabel.enabled) return names;
  std::vector<float> scores(task.detections.size());
  for (const TaskFinding& classifier : findings.tasks) {
    if (classifier.from_task != task.task) continue;
    for (const SeenClass& seen : classifier.classes) {
      if (!seen.detection || seen.score < relabel.score_min) continue;
      if (seen.class_name == relabel.false_alarm_class || seen.score <= scores[*seen.detection]) {
        continue;
      }
      names[*seen.detection] = seen.class_name;
      scores[*seen.detection] = seen.score;
    }
  }
  return names;
}

std::vector<NamedDetection> detections_of(const FrameFindings& findings,
                                          const RelabelOptions& relabel) {
  std::vector<NamedDetection> detections;
  for (const TaskFinding& task : findings.tasks) {
    const std::vector<std::string> names = new_names(findings, task, relabel);
    for (std::size_t i = 0; i < task.detections.size(); ++i) {
      const SeenDetection& seen = task.detections[i];
      detections.push_back(
          {names[i].empty() ? seen.class_name : names[i], seen.score, seen.box, task.task});
    }
  }
  return detections;
}

std::optional<float> distance_of(const FrameFindings& findings) {
  for (const TaskFinding& task : findings.tasks) {
    if (task.distance) return task.distance->distance;
  }
  return std::nullopt;
}

}  // namespace

FrameState new_frame(FrameSeq seq, Frame frame, const LinePlan& plan) {
  FrameState state;
  state.seq = seq;
  state.frame = std::move(frame);
  state.tasks.resize(plan.tasks.size());
  state.tasks_open = plan.tasks.size();
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    const PlannedTask& task = plan.tasks[i];
    state.tasks[i].finding.task = task.spec.name;
    state.tasks[i].finding.fallback = task.spec.fallback;
    if (task.parent) state.tasks[i].finding.from_task = plan.tasks[*task.parent].spec.name;
    state.tasks[i].report.task = task.spec.name;
    state.tasks[i].report.model = task.model.name;
    state.tasks[i].report.version = task.model.version;
  }
  return state;
}

const PlannedTask& asked(const PlannedTask& task, const FrameRequest& request) {
  return request.to_fallback ? *task.fallback : task;
}

void take_result(TaskRun& run, const PlannedTask& task, const FrameRequest& request,
                 Result<TaskResult> result) {
  TaskFinding& finding = run.finding;
  if (!result && request.to_fallback) {
    if (!finding.stand_in->error) finding.stand_in->error = std::move(result).error();
    take_error(run, finding.stand_in->cause);
    return;
  }
  if (!result) {
    take_error(run, std::move(result).error());
    return;
  }
  const PlannedTask& asked_task = asked(task, request);
  if (const auto* detections = std::get_if<std::vector<Detection>>(&*result)) {
    take_detections(finding, asked_task, *detections);
  } else if (const auto* classification = std::get_if<Classification>(&*result)) {
    finding.classes.push_back({asked_task.class_name(classification->class_index),
                               classification->score, request.detection});
  } else if (auto* distance = std::get_if<DistanceResult>(&*result)) {
    take_distance(finding, std::move(*distance));
  }
  // A raw result has no meaning that a decision could read.
}

void finish(FrameState& state, TaskRun& run, TimePoint now) {
  if (run.phase == TaskRun::Phase::done) return;
  if (run.phase != TaskRun::Phase::running) run.report.submitted = now;  // it never was
  run.phase = TaskRun::Phase::done;
  run.report.finished = now;
  run.report.requests = static_cast<int>(run.requests.size());
  run.report.error = run.finding.error;
  run.report.stand_in = run.finding.stand_in;
  --state.tasks_open;
}

void give_up(FrameState& state, TaskRun& run, TaskState why, Error error, TimePoint now) {
  if (run.phase == TaskRun::Phase::done) return;
  if (run.finding.state == TaskState::answered) {
    run.finding.state = why;
    if (run.finding.stand_in && !run.finding.stand_in->error) run.finding.stand_in->error = error;
    run.finding.error = std::move(error);
  }
  finish(state, run, now);
}

FrameFindings take_findings(FrameState& state) {
  FrameFindings findings;
  findings.damage = state.frame.damage;
  findings.dropped = state.dropped;
  findings.tasks.reserve(state.tasks.size());
  for (TaskRun& run : state.tasks) findings.tasks.push_back(std::move(run.finding));
  return findings;
}

VerdictRecord take_record(FrameState& state, const LineConfig& config,
                          const FrameFindings& findings, Decision decision, TimePoint now) {
  Frame& frame = state.frame;
  VerdictRecord record;
  record.seq = state.seq;
  record.line = config.name;
  record.frame = std::move(frame.name);
  record.part_id = std::move(frame.part_id);
  record.trigger_seq = frame.trigger_seq;
  record.recipe = std::move(frame.recipe);
  record.captured_wall_us = frame.captured_wall_us;
  record.verdict = decision.verdict;
  record.reasons = std::move(decision.reasons);
  record.route = std::move(decision.route);
  record.by_fallback = decision.by_fallback;
  record.detections = detections_of(findings, config.relabel);
  record.distance = distance_of(findings);
  for (TaskRun& run : state.tasks) record.tasks.push_back(std::move(run.report));
  record.latency = now - frame.captured;
  if (config.deadline) record.lateness = now - state.deadline;
  record.images = std::move(frame.images);
  record.known_defects = std::move(frame.known_defects);
  record.truth_known = frame.truth_known;
  return record;
}

}  // namespace takt::line
