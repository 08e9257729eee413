// SPDX-License-Identifier: Apache-2.0
#include "line/stages.h"

#include "line/image_request.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace takt::line {
namespace {

// Weight of the newest frame in the average number of crops: about the last sixteen frames count.
constexpr double kNewest = 1.0 / 16;

// A frame may come earlier than its interval by this part of it.
constexpr int kEarlyDivisor = 10;

}  // namespace

Stages::Stages(const LinePlan& plan, InferenceClient& client, const Clock& clock, LineProbe& probe,
               std::shared_ptr<EventQueue> answers)
    : plan_(plan),
      client_(client),
      clock_(clock),
      probe_(probe),
      answers_(std::move(answers)),
      crops_lately_(plan.tasks.size(), 1.0) {}

void Stages::start(FrameState& state) {
  for (std::size_t i = 0; i < plan_.tasks.size(); ++i) {
    if (plan_.tasks[i].parent) continue;
    state.tasks[i].requests.resize(1);
    submit(state, i);
  }
}

void Stages::announce(Duration interval, Duration time) {
  for (std::size_t i = 0; i < plan_.tasks.size(); ++i) {
    const PlannedTask& planned = plan_.tasks[i];
    // Crops come several at a time, and as many as there are.
    if (planned.parent || planned.spec.priority != PriorityClass::critical) continue;
    const Duration own = planned.spec.deadline;
    const Duration within = (own > Duration{} ? std::min(own, time) : time) - expected_after(i);
    if (within <= Duration{}) continue;
    client_.expect_arrivals(planned.model.id, plan_.flow, interval - interval / kEarlyDivisor,
                            within, 1);
  }
}

void Stages::start_children(FrameState& state, std::size_t task) {
  const TaskFinding& found = state.tasks[task].finding;
  for (const std::size_t child : plan_.tasks[task].children) {
    TaskRun& run = state.tasks[child];
    if (run.phase != TaskRun::Phase::waiting) continue;
    if (found.state != TaskState::answered) {
      give_up(state, run, TaskState::not_run,
              {ErrorKind::unavailable, "task '" + found.task + "' did not answer"}, clock_.now());
    } else {
      run.requests = crops(state, child);
      submit(state, child);
    }
    if (run.phase == TaskRun::Phase::done) start_children(state, child);
  }
}

// Sends every request of a task. One that can't be made, or none at all, ends here.
void Stages::submit(FrameState& state, std::size_t task) {
  TaskRun& run = state.tasks[task];
  run.phase = TaskRun::Phase::running;
  run.report.submitted = clock_.now();
  run.requests_open = run.requests.size();
  for (std::size_t i = 0; i < run.requests.size(); ++i) {
    if (Result<void> sent = send(state, task, i); !sent) {
      run.requests[i].open = false;
      --run.requests_open;
      take_result(run, plan_.tasks[task], run.requests[i], std::unexpected(sent.error()));
    }
  }
  if (run.requests_open == 0) finish(state, run, clock_.now());
}

Result<void> Stages::send(FrameState& state, std::size_t task, std::size_t request_index) {
  FrameRequest& sent = state.tasks[task].requests[request_index];
  const PlannedTask& asked_task = asked(plan_.tasks[task], sent);
  Result<InferRequest> made = image_request(asked_task, state.frame, sent.region, plan_.flow);
  if (!made) return std::unexpected(std::move(made).error());
  made->priority = plan_.tasks[task].spec.priority;
  made->deadline = stage_deadline(state, task, asked_task);
  sent.id = client_.submit(std::move(*made), [answers = answers_, seq = state.seq, task,
                                              request_index](Result<InferResult> result) {
    answers->post(
        {.seq = seq, .task = task, .request = request_index, .result = std::move(result)});
  });
  return {};
}

bool Stages::fall_back(FrameState& state, std::size_t task, std::size_t request_index,
                       const Error& cause) {
  const PlannedTask& planned = plan_.tasks[task];
  TaskRun& run = state.tasks[task];
  FrameRequest& failed = run.requests[request_index];
  if (!planned.fallback || failed.to_fallback) return false;
  // What is wrong with the input is wrong for every model, and nobody waits for what was withdrawn.
  if (cause.kind == ErrorKind::invalid_input || cause.kind == ErrorKind::cancelled) return false;
  if (clock_.now() >= state.decide_at) return false;
  failed.to_fallback = true;
  if (!run.finding.stand_in) {
    const ModelInfo& model = planned.fallback->model;
    run.finding.stand_in =
        StandIn{planned.spec.fallback_task, model.name, model.version, cause, {}};
  }
  const Result<void> sent = send(state, task, request_index);
  if (!sent && !run.finding.stand_in->error) run.finding.stand_in->error = sent.error();
  return sent.has_value();
}

std::vector<FrameRequest> Stages::crops(const FrameState& state, std::size_t child) {
  const CropSpec& spec = *plan_.tasks[child].spec.crop;
  const TaskFinding& found = state.tasks[*plan_.tasks[child].parent].finding;
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < found.detections.size(); ++i) {
    if (found.detections[i].score >= spec.score_min) chosen.push_back(i);
  }
  std::ranges::stable_sort(chosen, std::greater{},
                           [&](std::size_t i) { return found.detections[i].score; });
  double& lately = crops_lately_[child];
  lately += kNewest * (static_cast<double>(chosen.size()) - lately);
  const auto crops_max = static_cast<std::size_t>(std::max(spec.crops_max, 0));
  if (chosen.size() > crops_max) {
    probe_.crops_left_out(child, chosen.size() - crops_max);
    chosen.resize(crops_max);
  }
  std::vector<FrameRequest> requests;
  requests.reserve(chosen.size());
  for (const std::size_t i : chosen) {
    FrameRequest& request = requests.emplace_back();
    request.region = crop_window(found.detections[i].box, spec);
    request.detection = i;
  }
  return requests;
}

void Stages::cancel(const FrameState& state) {
  for (const TaskRun& run : state.tasks) {
    for (const FrameRequest& request : run.requests) {
      if (request.open) client_.cancel(request.id);
    }
  }
}

Placement Stages::placement(const FrameState& state, std::size_t task,
                            const FrameRequest& request) const {
  return placement_of(asked(plan_.tasks[task], request), state.frame, request.region);
}

// What a task's answer is needed by, so that what follows it can still be in time. Where that can't
// be reached any more, the later stages are given up rather than the first.
TimePoint Stages::stage_deadline(const FrameState& state, std::size_t task,
                                 const PlannedTask& asked_task) const {
  const TaskSpec& spec = plan_.tasks[task].spec;
  TimePoint end = state.decide_at;
  if (spec.deadline > Duration::zero()) end = std::min(end, state.frame.captured + spec.deadline);
  const Duration after = expected_after(task);
  if (end == kNever || after == Duration::zero()) return end;
  const TimePoint early = end - after;
  return early < clock_.now() + expected_of(task, asked_task) ? end : early;
}

// The longest way from a task's answer to the last answer that depends on it.
Duration Stages::expected_after(std::size_t task) const {
  Duration longest{};
  for (const std::size_t child : plan_.tasks[task].children) {
    longest = std::max(longest, expected_of(child, plan_.tasks[child]) + expected_after(child));
  }
  return longest;
}

Duration Stages::expected_of(std::size_t task, const PlannedTask& asked_task) const {
  const int rows = std::max(1, static_cast<int>(std::ceil(crops_lately_[task])));
  const int batch_max = std::max(1, asked_task.model.signature.batch_max);
  const int batches = (rows + batch_max - 1) / batch_max;
  return client_.expected_p99(asked_task.model.id, std::min(rows, batch_max)) * batches;
}

}  // namespace takt::line
