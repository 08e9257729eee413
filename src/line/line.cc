// SPDX-License-Identifier: Apache-2.0
#include "line/line.h"

#include "line/frame_flow.h"
#include "line/verdict_path.h"

#include <algorithm>
#include <utility>

namespace takt::line {
namespace {

SinkQueueOptions sink_options(const LineConfig& config) {
  return {.queue_max = config.sink_queue_max,
          .pictures_max = config.sink_pictures_max,
          .when_full = config.deadline ? WhenFull::skip : WhenFull::wait};
}

}  // namespace

Result<std::unique_ptr<Line>> Line::create(LineConfig config, std::span<const TaskSpec> tasks,
                                           LineParts parts) {
  Result<LinePlan> plan = make_plan(config, tasks, *parts.client);
  if (!plan) return std::unexpected(std::move(plan).error());
  return std::unique_ptr<Line>(new Line(std::move(config), std::move(*plan), std::move(parts)));
}

Line::Line(LineConfig config, LinePlan plan, LineParts parts)
    : config_(std::move(config)),
      plan_(std::move(plan)),
      parts_(std::move(parts)),
      clock_(parts_.clock == nullptr ? static_cast<const Clock&>(system_clock_) : *parts_.clock),
      probe_(plan_.names()),
      sinks_(sink_options(config_), parts_.sinks),
      ring_(config_.ring.capacity, config_.ring.policy),
      events_(std::make_shared<EventQueue>(config_.ring.capacity)) {}

Line::~Line() {
  stop();
  join();
}

void Line::start() {
  const std::scoped_lock lock(join_mutex_);
  line_thread_ = std::thread([this] { run(); });
  source_thread_ = std::thread([this] { pull(); });
}

void Line::stop() {
  stopping_ = true;
  parts_.source->stop();
  events_->wake();
}

bool Line::wait_for(Duration time) const {
  std::unique_lock lock(finished_mutex_);
  return finished_changed_.wait_for(lock, time, [this] { return finished_; });
}

void Line::join() {
  const std::scoped_lock lock(join_mutex_);
  if (source_thread_.joinable()) source_thread_.join();
  if (line_thread_.joinable()) line_thread_.join();
}

LineStats Line::stats() const {
  LineStats stats = probe_.stats();
  stats.frames_waiting = ring_.size();
  stats.sink_queue = sinks_.size();
  stats.sinks = sinks_.stats();
  return stats;
}

// The source's thread. What gives way is handed to the line's thread, which answers it.
void Line::pull() {
  while (!stopping_) {
    std::optional<Frame> frame = parts_.source->next();
    if (!frame) break;
    if (frame->captured == TimePoint{}) frame->captured = clock_.now();
    if (std::optional<Frame> gave_way = ring_.push(std::move(*frame))) {
      events_->post_dropped(std::move(*gave_way));
    }
    events_->wake();
  }
  source_ended_ = true;
  events_->wake();
}

// The line's thread.
void Line::run() {
  VerdictPath path(config_, *parts_.journal, parts_.observers, sinks_, probe_);
  FrameFlow flow(config_, plan_, *parts_.client, clock_, path, probe_, events_);
  path.answer_unanswered();
  const Duration interval = parts_.source->interval();
  if (interval > Duration{}) flow.announce(interval);
  while (true) {
    const bool ended = source_ended_;  // read first: nothing comes after what it says is over
    const bool idle = flow.in_flight() == 0;
    handle_events(flow, ended && idle ? TimePoint{} : std::min(flow.next_due(), drain_until_));
    look_at_drain(flow);
    take_frames(flow);
    if (ended && flow.in_flight() == 0 && ring_.size() == 0) break;
  }
  if (interval > Duration{}) flow.announce({});
  events_->close();
  sinks_.close();
  const std::scoped_lock lock(finished_mutex_);
  finished_ = true;
  finished_changed_.notify_all();
}

// Between any two events the clock may have reached a deadline.
void Line::handle_events(FrameFlow& flow, TimePoint due) {
  EventQueue::Events events = events_->wait(clock_, due);
  for (Completion& completion : events.completions) {
    flow.complete(std::move(completion));
    flow.expire();
  }
  for (Frame& frame : events.dropped) {
    flow.drop(std::move(frame));
    flow.expire();
  }
  flow.expire();
}

void Line::take_frames(FrameFlow& flow) {
  while (drained_ || flow.has_room()) {
    std::optional<Frame> frame = ring_.try_pop();
    if (!frame) break;
    if (drained_) {
      flow.drop(std::move(*frame));
    } else {
      flow.accept(std::move(*frame));
    }
  }
}

// A line with deadlines drains by them.
void Line::look_at_drain(FrameFlow& flow) {
  if (!stopping_ || drained_ || config_.deadline) return;
  if (drain_until_ == kNever) drain_until_ = clock_.now() + config_.drain_max;
  if (clock_.now() < drain_until_) return;
  drained_ = true;
  drain_until_ = kNever;
  flow.answer_all();
}

}  // namespace takt::line
