// SPDX-License-Identifier: Apache-2.0
#include "scheduler/expected_arrivals.h"

namespace takt::scheduler {

namespace {

constexpr int kDeadlinesMax = 20'000;  // looked at before a set counts as too tight to promise

std::uint64_t key_of(ModelId model, FlowId flow) {
  return std::uint64_t{model.value} << 32U | flow.value;
}

// Demand of the tasks that is released and due within `length`.
Duration demand(std::span<const SporadicTask> tasks, Duration length) {
  Duration sum{};
  for (const SporadicTask& task : tasks) {
    if (length < task.deadline) continue;
    sum += task.exec * ((length - task.deadline) / task.min_interval + 1);
  }
  return sum;
}

// The next deadline after `length` in the synchronous arrival of all tasks.
Duration next_deadline(std::span<const SporadicTask> tasks, Duration length) {
  Duration next = Duration::max();
  for (const SporadicTask& task : tasks) {
    const std::int64_t passed =
        length < task.deadline ? 0 : (length - task.deadline) / task.min_interval + 1;
    next = std::min(next, task.deadline + task.min_interval * passed);
  }
  return next;
}

}  // namespace

std::optional<Duration> blocking_slack(std::span<const SporadicTask> tasks) {
  double utilisation = 0;
  double carried = 0;  // slack(L) >= L (1 - utilisation) - carried
  for (const SporadicTask& task : tasks) {
    const double share =
        static_cast<double>(task.exec.count()) / static_cast<double>(task.min_interval.count());
    utilisation += share;
    const Duration early = std::max(Duration{}, task.min_interval - task.deadline);
    carried += share * static_cast<double>(early.count());
  }
  if (tasks.empty() || utilisation >= 1) return std::nullopt;

  Duration least = Duration::max();
  Duration length{};
  for (int i = 0; i < kDeadlinesMax; ++i) {
    length = next_deadline(tasks, length);
    const Duration slack = length - demand(tasks, length);
    Duration own_blocking{};
    Duration deadline_max{};
    for (const SporadicTask& task : tasks) {
      if (task.deadline > length) own_blocking = std::max(own_blocking, task.exec);
      deadline_max = std::max(deadline_max, task.deadline);
    }
    if (slack < own_blocking) return std::nullopt;
    least = std::min(least, slack);
    const double at_least = static_cast<double>(length.count()) * (1 - utilisation) - carried;
    if (length >= deadline_max && at_least >= static_cast<double>(least.count())) return least;
  }
  return std::nullopt;
}

void RecentMinimum::add(Duration value) noexcept {
  current_ = std::min(current_, value);
  if (++count_ < kWindow) return;
  previous_ = current_;
  current_ = Duration::max();
  count_ = 0;
}

ExpectedArrivals::Flow& ExpectedArrivals::make(std::uint64_t key, ModelId model) {
  std::uint32_t id = 0;
  if (free_.empty()) {
    id = static_cast<std::uint32_t>(flows_.size());
    flows_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  ids_.emplace(key, id);
  if (flows_of_.size() <= model.value) flows_of_.resize(model.value + std::size_t{1});
  ++flows_of_[model.value];
  flows_[id] = Flow{};
  flows_[id].key = key;
  flows_[id].model = model;
  return flows_[id];
}

void ExpectedArrivals::announce(const ArrivalsExpected& announced, const LatencyProfile& profile) {
  withdraw(announced.model, announced.flow);
  const std::uint64_t key = key_of(announced.model, announced.flow);
  Flow& flow = make(key, announced.model);
  flow.announced = true;
  flow.rows = announced.rows;
  flow.task = {announced.min_interval, announced.deadline, profile.p99(announced.rows)};
  const std::uint32_t id = ids_.at(key);
  announced_.push_back(id);
  open(id);
  refresh_slack();
}

void ExpectedArrivals::withdraw(ModelId model, FlowId flow) {
  const auto found = ids_.find(key_of(model, flow));
  if (found == ids_.end()) return;
  const bool was_announced = flows_[found->second].announced;
  forget(found->second);
  if (was_announced) refresh_slack();
}

void ExpectedArrivals::withdraw(ModelId model) {
  for (std::uint32_t id = 0; id < flows_.size(); ++id) {
    if (flows_[id].model == model && slack_.contains(id)) forget(id);
  }
  refresh_slack();
}

void ExpectedArrivals::forget(std::uint32_t id) {
  if (flows_[id].announced && open_.contains(id)) --announced_open_;
  std::erase(announced_, id);
  ids_.erase(flows_[id].key);
  --flows_of_[flows_[id].model.value];
  ahead_.erase(id);
  open_.erase(id);
  reserved_.erase(id);
  slack_.erase(id);
  free_.push_back(id);
}

void ExpectedArrivals::arrived(const RequestArrived& request, TimePoint now,
                               const LatencyProfile& profile) {
  const std::uint64_t key = key_of(request.model, request.flow);
  const auto found = ids_.find(key);
  if (found != ids_.end() && flows_[found->second].announced) {
    expect_at(found->second, now + flows_[found->second].task.min_interval, now);
    return;
  }
  if (request.deadline == kNever || request.deadline <= now) return;
  if (found != ids_.end()) return learn(found->second, request, now, profile);
  if (ids_.size() >= kFlowsMax) return;
  (void)make(key, request.model);
  learn(ids_.at(key), request, now, profile);
}

void ExpectedArrivals::learn(std::uint32_t id, const RequestArrived& request, TimePoint now,
                             const LatencyProfile& profile) {
  Flow& flow = flows_[id];
  if (flow.last != kNever) flow.intervals.add(now - flow.last);
  flow.last = now;
  flow.deadlines.add(request.deadline - now);
  flow.rows = std::max(flow.rows, request.rows);
  flow.task.deadline = flow.deadlines.so_far();
  flow.task.exec = profile.p99(flow.rows);
  slack_.set(id, flow.task.deadline - flow.task.exec);
  const Duration interval = flow.intervals.value();
  expect_at(id, interval == Duration::max() ? now : now + interval, now);
}

void ExpectedArrivals::expect_at(std::uint32_t id, TimePoint next, TimePoint now) {
  Flow& flow = flows_[id];
  flow.last = now;
  if (flow.announced && open_.contains(id)) --announced_open_;
  open_.erase(id);
  if (next <= now) return open(id);
  ahead_.set(id, next);
  if (flow.announced) reserved_.set(id, next);
}

void ExpectedArrivals::open(std::uint32_t id) {
  ahead_.erase(id);
  if (flows_[id].announced) ++announced_open_;
  open_.set(id, flows_[id].announced ? kNever : flows_[id].last + memory_);
}

void ExpectedArrivals::profile_changed(ModelId model, const LatencyProfile& profile) {
  bool changed = false;
  for (const std::uint32_t id : announced_) {
    Flow& flow = flows_[id];
    if (flow.model != model || flow.task.exec == profile.p99(flow.rows)) continue;
    flow.task.exec = profile.p99(flow.rows);
    changed = true;
  }
  if (changed) refresh_slack();
}

void ExpectedArrivals::refresh_slack() {
  std::vector<SporadicTask> tasks;
  for (const std::uint32_t id : announced_) tasks.push_back(flows_[id].task);
  slack_announced_ = blocking_slack(tasks);
  for (const std::uint32_t id : announced_) {
    const SporadicTask& task = flows_[id].task;
    slack_.set(id, slack_announced_.value_or(task.deadline - task.exec));
  }
}

void ExpectedArrivals::roll(TimePoint now) {
  while (!ahead_.empty() && ahead_.top_key() <= now) open(ahead_.top());
  while (!open_.empty() && open_.top_key() <= now) forget(open_.top());
}

TimePoint ExpectedArrivals::end_latest(TimePoint now, PriorityClass of) {
  if (ids_.empty()) return kNever;
  roll(now);
  if (of == PriorityClass::critical) {
    if (!slack_announced_) return kNever;
    return (announced_open_ > 0 ? now : reserved_.top_key()) + *slack_announced_;
  }
  if (slack_.empty()) return kNever;
  return (open_.empty() ? ahead_.top_key() : now) + std::max(Duration{}, slack_.top_key());
}

std::optional<ExpectedArrivals::Reservation> ExpectedArrivals::reservation(TimePoint now,
                                                                           TimePoint end) {
  if (!slack_announced_) return std::nullopt;
  while (!reserved_.empty()) {
    const Flow& flow = flows_[reserved_.top()];
    const TimePoint until = reserved_.top_key() + flow.task.min_interval / kWindowDivisor;
    if (until > now) {
      if (end <= std::max(now, reserved_.top_key()) + *slack_announced_) return std::nullopt;
      return Reservation{flow.model, until};
    }
    reserved_.erase(reserved_.top());
  }
  return std::nullopt;
}

}  // namespace takt::scheduler
