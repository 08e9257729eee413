// SPDX-License-Identifier: Apache-2.0
#include "scheduler/state.h"

#include <algorithm>

namespace takt::scheduler {

TimePoint time_after_work(std::vector<TimePoint>& free_at, Duration work) {
  std::sort(free_at.begin(), free_at.end());
  TimePoint level = free_at.front();
  for (std::size_t lanes = 1; lanes < free_at.size(); ++lanes) {
    const Duration room = (free_at[lanes] - level) * static_cast<std::int64_t>(lanes);
    if (work <= room) return level + work / static_cast<std::int64_t>(lanes);
    work -= room;
    level = free_at[lanes];
  }
  return level + work / static_cast<std::int64_t>(free_at.size());
}

Duration ModelState::p99_least(std::int64_t rows) const {
  Duration least = Duration::max();
  for (const Replica& replica : replicas) {
    if (usable(replica)) least = std::min(least, replica.profile.p99(rows));
  }
  return least;
}

Duration ModelState::p99_most(std::int64_t rows) const {
  Duration most{};
  for (const Replica& replica : replicas) {
    if (usable(replica)) most = std::max(most, replica.profile.p99(rows));
  }
  return most;
}

LatencyProfile::Line ModelState::least_line() const {
  LatencyProfile::Line least{.overhead = 1e18, .per_row = 1e18};
  for (const Replica& replica : replicas) {
    if (!usable(replica)) continue;
    const LatencyProfile::Line line = replica.profile.least_line();
    least = {std::min(least.overhead, line.overhead), std::min(least.per_row, line.per_row)};
  }
  return least;
}

Duration ModelState::least_work(std::int64_t rows) const {
  if (replicas.size() == 1) return replicas.front().profile.least_work(rows);
  if (rows <= 0) return Duration{};
  const LatencyProfile::Line least = least_line();
  const std::int64_t batches = (rows + batch_rows_max() - 1) / batch_rows_max();
  return Duration(static_cast<std::int64_t>(static_cast<double>(batches) * least.overhead +
                                            static_cast<double>(rows) * least.per_row));
}

std::int64_t ModelState::share_of_full_batches_ns(int rows) const {
  const LatencyProfile::Line line = least_line();
  return static_cast<std::int64_t>(rows * (line.overhead / batch_rows_max() + line.per_row));
}

void Scheduler::State::refuse(RequestId request, ModelId model, RefusalReason reason,
                              std::int64_t limit, Duration late_by) {
  ErrorKind kind = ErrorKind::unavailable;
  if (reason == RefusalReason::cannot_meet_deadline) kind = ErrorKind::deadline_exceeded;
  if (reason == RefusalReason::rows_out_of_range) kind = ErrorKind::invalid_input;
  if (reason == RefusalReason::queue_full || reason == RefusalReason::queue_bytes_full ||
      reason == RefusalReason::shed) {
    kind = ErrorKind::overloaded;
  }
  ++statistics_.refused[static_cast<std::size_t>(reason)];
  out_->emplace_back(Refuse{request, model, kind, reason, limit, late_by});
}

TimePoint Scheduler::State::hopeless_at(const ModelState& model, TimePoint deadline,
                                        int rows) const {
  if (deadline == kNever) return kNever;
  const TimePoint start_latest = deadline - model.p99_least(rows);
  return std::min(deadline, start_latest + Duration(1));
}

bool Scheduler::State::hopeless(const WaitingRequest& request) const {
  return hopeless_at(*models_[request.model.value], request.urgency.deadline, request.rows) <= now_;
}

Urgency Scheduler::State::urgency_of(const RequestArrived& event) {
  std::uint64_t turn = 0;
  if (event.deadline == kNever) {
    const std::uint64_t flow = std::uint64_t{event.model.value} << 32U | event.flow.value;
    turn = turns_[static_cast<std::size_t>(event.priority)].next(flow, event.rows);
  }
  return {event.priority, event.deadline, turn, arrivals_++};
}

// Drops what the model's profiles learned too long ago; false when there was nothing to drop.
bool Scheduler::State::forget_stale(ModelState& model) {
  bool forgot = false;
  for (Replica& replica : model.replicas) {
    if (!replica.profile.learned() ||
        now_ - replica.profile.last_recorded() <= options_.profile_memory) {
      continue;
    }
    replica.profile.forget();
    ++statistics_.profiles_forgotten;
    forgot = true;
  }
  if (forgot) model_changed(model);
  return forgot;
}

bool Scheduler::State::fits(const RequestArrived& event, const ModelState& model) const {
  const ModelLimits& limits = model.limits;
  return model.queue.depth() < limits.places(event.priority) &&
         (limits.queue_bytes_max == 0 ||
          event.bytes <= limits.queue_bytes_max - model.bytes_up_to(PriorityClass::background));
}

// Why the request finds no room though every lower class gave way; nothing when it finds some.
std::optional<RefusalReason> Scheduler::State::no_room(const RequestArrived& event,
                                                       const ModelState& model) const {
  if (fits(event, model)) return std::nullopt;
  const ModelLimits& limits = model.limits;
  if (model.depth_up_to(event.priority) >= limits.places(event.priority))
    return RefusalReason::queue_full;
  if (limits.queue_bytes_max > 0 &&
      event.bytes > limits.queue_bytes_max - model.bytes_up_to(event.priority))
    return RefusalReason::queue_bytes_full;
  return std::nullopt;
}

void Scheduler::State::shed(std::uint32_t index) {
  const WaitingRequest& request = pool_[index];
  ++statistics_.shed[static_cast<std::size_t>(request.urgency.priority)];
  refuse(request.id, request.model, RefusalReason::shed);
  leave_queue(index);
}

void Scheduler::State::admit(const RequestArrived& event, ModelState& model) {
  const Urgency urgency = urgency_of(event);
  if (event.deadline != kNever) {
    TimePoint finish = earliest_finish(model, urgency, event.rows);
    if (finish > event.deadline && forget_stale(model))
      finish = earliest_finish(model, urgency, event.rows);
    if (finish > event.deadline || event.deadline <= now_) {
      refuse(event.request, event.model, RefusalReason::cannot_meet_deadline, 0,
             std::max(Duration{}, finish - event.deadline));
      return;
    }
  }
  while (!fits(event, model)) shed(model.queue.last());
  const std::uint32_t index =
      pool_.acquire(event.request, event.model, urgency, event.rows, event.bytes);
  by_id_.emplace(event.request.value, index);
  pool_[index].work_ns = model.share_of_full_batches_ns(event.rows);
  model.queue.insert(index);
  if (pools_[model.pool].indexed) pools_[model.pool].requests.insert(pool_, index);
  ++model.waiting[static_cast<std::size_t>(event.priority)];
  model.waiting_bytes[static_cast<std::size_t>(event.priority)] += event.bytes;
  if (event.priority == PriorityClass::background) count_background(model, 1);
  if (event.deadline != kNever) {
    hopeless_at_.set(index, hopeless_at(model, event.deadline, event.rows));
  }
  model_changed(model);
}

// A time before which the request can't finish by the profiles, given that all accepted work that
// goes before it is done: everything is taken from below, so that a refusal is never wrong. Of other
// models' work only that counts which may run on exactly the same devices: what may go elsewhere, or
// can't fill all of them, may be passed. Tried first with all that waits there, which is one addition; only when that would be late is
// it looked at what really goes before.
TimePoint Scheduler::State::earliest_finish(const ModelState& model, const Urgency& urgency,
                                            int rows) {
  const Duration own = model.p99_least(rows);
  const Duration own_model = model.least_work(model.queue.rows() + rows) - own;
  const Backlog everything{pools_[model.pool].waiting_work - model.waiting_work, own_model,
                           Duration{}};
  const TimePoint finish = start_after(model, everything) + own;
  if (finish <= urgency.deadline) return finish;
  return start_after(model, backlog_before(model, urgency, rows)) + own;
}

Scheduler::State::Backlog Scheduler::State::backlog_before(const ModelState& model,
                                                           const Urgency& urgency, int rows) {
  const std::int64_t rows_before = model.queue.rows_up_to(urgency);
  Backlog backlog;
  backlog.own_model = model.least_work(rows_before + rows) - model.p99_least(rows);
  backlog.longest = model.p99_most(model.batch_rows_max());
  // Background with a share of its own doesn't wait for the others.
  if (urgency.priority == PriorityClass::background && options_.background_share_min > 0) {
    return backlog;
  }

  // The most urgent batch that it may ride in is led by the first request from which on the rows
  // fit.
  const std::int64_t rows_outside =
      std::max<std::int64_t>(0, rows_before + rows - model.batch_rows_max());
  const std::uint32_t leader = model.queue.first_after_rows(rows_outside);
  const Urgency rides_with =
      leader == kNoRequest ? urgency : std::min(urgency, pool_[leader].urgency);
  Pool& pool = pools_[model.pool];
  if (pool.waiting.size() > kModelsLookedAt) {
    add_others_by_sum(pool, model, rides_with, backlog);
  } else {
    add_others(pool, model, rides_with, backlog);
  }
  return backlog;
}

void Scheduler::State::add_others(const Pool& pool, const ModelState& model,
                                  const Urgency& rides_with, Backlog& backlog) {
  if (!pool.ready) return;
  others_.clear();
  for (const std::uint32_t index : pool.waiting) {
    const ModelState& other = *models_[index];
    if (index == model.id.value) continue;
    if (rides_with < pool_[other.queue.first()].urgency) continue;
    const Duration work = other.least_work(other.queue.rows_up_to(rides_with));
    others_.push_back({work, other.concurrency()});
    backlog.others += work;
    backlog.longest = std::max(backlog.longest, other.p99_most(other.batch_rows_max()));
  }
  if (pool.lanes > 1) backlog.others -= passable_work(pool.lanes - 1);
}

// The same from below, without a look at each model: requests count as their part of full batches,
// the models with most work are passed, and every batch may be as long as the longest.
void Scheduler::State::add_others_by_sum(Pool& pool, const ModelState& model,
                                         const Urgency& rides_with, Backlog& backlog) {
  if (!pool.ready) return;
  if (!pool.indexed) index_pool(pool);
  const std::int64_t all = pool.requests.load_up_to(pool_, rides_with).work_ns;
  const std::int64_t own = model.queue.load_up_to(rides_with).work_ns;
  const std::int64_t passable = -pool.most_work.top_key() * (pool.lanes - 1);
  backlog.others = Duration(std::max<std::int64_t>(0, all - own - passable));
  backlog.longest = std::max(backlog.longest, pool.longest);
}

void Scheduler::State::index_pool(Pool& pool) {
  pool.indexed = true;
  members_.clear();
  for (const std::uint32_t model : pool.waiting) {
    models_[model]->queue.append_to(members_);
    pool.most_work.set(model, -models_[model]->waiting_work.count());
  }
  for (const std::uint32_t index : members_) pool.requests.insert(pool_, index);
}

// Models with few instances can't fill the device: whoever comes after them passes them on the
// lanes left. At least one lane must stay for the passer, so models with up to `lanes_max`
// instances between them may be passed. The most work that can be passed is a knapsack; its
// fractional relaxation bounds it from above.
Duration Scheduler::State::passable_work(int lanes_max) {
  std::erase_if(others_,
                [lanes_max](const OthersWork& other) { return other.instances > lanes_max; });
  std::sort(others_.begin(), others_.end(), [](const OthersWork& a, const OthersWork& b) {
    return a.work.count() * b.instances > b.work.count() * a.instances;
  });
  Duration passable{};
  for (const OthersWork& other : others_) {
    const int used = std::min(lanes_max, other.instances);
    passable += other.work * used / other.instances;
    lanes_max -= used;
  }
  return passable;
}

// Work before goes to the lanes, and up to lanes - 1 batches of it may still run beside the request
// when it starts. The same holds for the instances of its own model.
TimePoint Scheduler::State::start_after(const ModelState& model, const Backlog& backlog) {
  const auto fill = [this, &backlog](Duration work) {
    const auto beside = static_cast<std::int64_t>(free_at_.size() - 1);
    return time_after_work(free_at_, std::max(Duration{}, work - backlog.longest * beside));
  };
  free_at_.clear();
  for (const Replica& replica : model.replicas) {
    if (!model.usable(replica)) continue;
    const DeviceState& device = devices_[replica.device];
    free_at_.insert(free_at_.end(), static_cast<std::size_t>(device.free_lanes()), now_);
    for (const std::uint32_t running : device.running) {
      free_at_.push_back(std::max(now_, instances_[running].expected_end));
    }
  }
  const TimePoint lane = fill(backlog.others + backlog.own_model);
  if (model.ready == 0) return lane;
  free_at_.assign(static_cast<std::size_t>(std::max(0, model.startable())), now_);
  for (const Replica& replica : model.replicas) {
    for (const std::uint32_t index : replica.instances) {
      if (instances_[index].busy)
        free_at_.push_back(std::max(now_, instances_[index].expected_end));
    }
  }
  return std::max(lane, fill(backlog.own_model));
}

}  // namespace takt::scheduler
