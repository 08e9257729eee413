// SPDX-License-Identifier: Apache-2.0
#include "scheduler/state.h"

#include <algorithm>

namespace takt::scheduler {

void Scheduler::State::dispatch(std::uint32_t device_index) {
  DeviceState& device = devices_[device_index];
  holds_.erase(device_index);
  while (device.free_lanes() > 0 && !device.runnable.empty()) {
    const std::uint32_t leader = choose_leader(device);
    ModelState& model = model_of(pool_[leader].model.value);
    if (hopeless(pool_[leader])) {
      expire(leader);
      model_changed(model);
      continue;
    }
    if (hold(device_index, model)) return;
    start(device, leader);
  }
}

// The most urgent request that has an idle instance; the most urgent background one when that class
// is owed its share and no critical request wants the lane.
std::uint32_t Scheduler::State::choose_leader(DeviceState& device) {
  const std::uint32_t first = model_of(device.runnable.top()).queue.first();
  const PriorityClass priority = pool_[first].urgency.priority;
  if (priority == PriorityClass::background || device.background_owed <= Duration{}) return first;
  const std::uint32_t background = first_background(device);
  return background != kNoRequest && priority != PriorityClass::critical ? background : first;
}

std::uint32_t Scheduler::State::first_background(const DeviceState& device) const {
  std::uint32_t best = kNoRequest;
  for (const std::uint32_t index : device.waiting) {
    if (models_[index]->startable() <= 0) continue;
    const std::uint32_t first = models_[index]->queue.first_of(PriorityClass::background);
    if (first == kNoRequest) continue;
    if (best == kNoRequest || pool_[first].urgency < pool_[best].urgency) best = first;
  }
  return best;
}

// True when the device idles for a while so that the model's batch may fill: only for a model that
// asks for it, with nothing else to run, and never beyond the time at which a full batch would
// still be in time.
bool Scheduler::State::hold(std::uint32_t device_index, ModelState& model) {
  if (model.limits.batch_delay_max <= Duration{} || devices_[device_index].runnable.size() > 1) {
    return false;
  }
  if (model.draining || stopping_ || !model.profile.known()) return false;
  if (model.queue.rows() >= model.batch_rows_max()) return false;
  const TimePoint started = std::min(model.hold_started, now_);
  TimePoint until = started + model.limits.batch_delay_max;
  for (int i = 0; i < kPriorityClassCount; ++i) {
    const std::uint32_t first = model.queue.first_of(static_cast<PriorityClass>(i));
    if (first == kNoRequest) continue;
    const TimePoint deadline = pool_[first].urgency.deadline;
    if (deadline == kNever) continue;
    until = std::min(until, deadline - model.profile.p99(model.batch_rows_max()));
  }
  if (until <= now_) return false;
  model.hold_started = started;
  holds_.set(device_index, until);
  return true;
}

void Scheduler::State::start(DeviceState& device, std::uint32_t leader) {
  ModelState& model = model_of(pool_[leader].model.value);
  const std::uint32_t instance_index = model.idle.back();
  model.idle.pop_back();
  InstanceState& instance = instances_[instance_index];
  instance.requests.clear();
  instance.leader = pool_[leader].urgency.priority;
  const bool background_only = instance.leader == PriorityClass::background;

  Batch batch{.model = &model, .instance = &instance};
  take(batch, leader);
  grow(device, batch, background_only);

  if (!background_only && device.background_waiting > 0 && device.background_owed > Duration{}) {
    ++statistics_.background_unmet;
  }
  instance.busy = true;
  instance.batch = BatchId{++batches_};
  instance.rows = batch.rows;
  instance.expected_end = now_ + model.profile.p99(batch.rows);
  instance.background_waited = device.background_waiting > 0;
  instance.charged = model.profile.p99(batch.rows);
  charge(device, instance, instance.charged);
  device.running.push_back(instance_index);
  ++running_;
  ++statistics_.batches;
  statistics_.started += instance.requests.size();
  out_->emplace_back(StartBatch{instance.batch, model.id, InstanceId{instance_index},
                                instance.requests, batch.rows, instance.expected_end});
  model_changed(model);
}

void Scheduler::State::take(Batch& batch, std::uint32_t index) {
  const WaitingRequest& request = pool_[index];
  batch.instance->requests.push_back(request.id);
  batch.rows += request.rows;
  batch.deadline_min = std::min(batch.deadline_min, request.urgency.deadline);
  turns_[static_cast<std::size_t>(request.urgency.priority)].started(request.urgency.turn);
  leave_queue(index);
}

// Adds requests in order of urgency while the batch keeps every deadline: of its members, and of
// more urgent requests of other models that wait for this lane.
void Scheduler::State::grow(DeviceState& device, Batch& batch, bool background_only) {
  ModelState& model = *batch.model;
  const int rows_max = rows_worth_taking(device, batch);
  const TimePoint finish_alone = now_ + model.profile.p99(batch.rows);
  // The lane that the others could have instead, taken as free for each of them.
  TimePoint other_lane = device.free_lanes() > 1 ? now_ : kNever;
  for (const std::uint32_t running : device.running) {
    other_lane = std::min(other_lane, instances_[running].expected_end);
  }
  bool collected = false;
  std::size_t seen = 0;
  TimePoint start_latest = kNever;
  while (batch.rows < rows_max && !model.queue.empty()) {
    const std::uint32_t next =
        background_only ? model.queue.first_of(PriorityClass::background) : model.queue.first();
    if (next == kNoRequest) return;
    const WaitingRequest& request = pool_[next];
    if (hopeless(request)) {
      expire(next);
      continue;
    }
    if (batch.rows + request.rows > rows_max) return;
    const TimePoint finish = now_ + model.profile.p99(batch.rows + request.rows);
    if (finish > std::min(batch.deadline_min, request.urgency.deadline)) return;
    if (!collected) collect_claims(device, model, finish_alone);
    collected = true;
    for (; seen < claims_.size() && claims_[seen].urgency < request.urgency; ++seen) {
      start_latest = std::min(start_latest, claims_[seen].start_latest);
    }
    if (std::min(finish, other_lane) > start_latest) return;
    take(batch, next);
  }
}

// The latest times at which the first waiting requests of the other models must have this lane, in
// order of urgency, each behind those before it where that is still possible. One that would be
// late behind the batch as it is doesn't hold the batch back.
void Scheduler::State::collect_claims(const DeviceState& device, const ModelState& own,
                                      TimePoint finish_alone) {
  claims_.clear();
  for (const std::uint32_t index : device.waiting) {
    const ModelState& other = *models_[index];
    if (&other == &own) continue;
    for (int i = 0; i < kPriorityClassCount; ++i) {
      const std::uint32_t first = other.queue.first_of(static_cast<PriorityClass>(i));
      if (first == kNoRequest) continue;
      const WaitingRequest& request = pool_[first];
      claims_.push_back({.urgency = request.urgency, .exec = other.profile.p99(request.rows)});
    }
  }
  std::sort(claims_.begin(), claims_.end(),
            [](const Claim& a, const Claim& b) { return a.urgency < b.urgency; });
  Duration before{};
  for (Claim& claim : claims_) {
    const bool timed = claim.urgency.deadline != kNever;
    const TimePoint alone = timed ? claim.urgency.deadline - claim.exec : kNever;
    if (alone < finish_alone) continue;  // late already: start_latest stays kNever, no claim
    const TimePoint behind_others = timed ? alone - before : kNever;
    claim.start_latest = behind_others < finish_alone ? alone : behind_others;
    before += claim.exec;
  }
}

// batch_max, or less when further lanes and instances of the model are free: what they could start
// at once is not queued behind this batch's own rows.
int Scheduler::State::rows_worth_taking(const DeviceState& device, const Batch& batch) const {
  const ModelState& model = *batch.model;
  const int rows_max = model.batch_rows_max();
  const int others = static_cast<int>(device.runnable.size()) - 1;
  const int lanes = std::min(device.free_lanes() - others, model.startable() + 1);
  if (lanes <= 1) return rows_max;
  const std::int64_t share = (batch.rows + model.queue.rows() + lanes - 1) / lanes;
  return static_cast<int>(
      std::min<std::int64_t>(rows_max, std::max<std::int64_t>(share, batch.rows)));
}

// Keeps the account of the background share: other classes' lane time raises what is owed while
// background waits, its own lowers it, in the proportion that leaves zero at exactly the share.
void Scheduler::State::charge(DeviceState& device, const InstanceState& instance,
                              Duration lane_time) {
  const double share = options_.background_share_min;
  if (share <= 0) return;
  double factor = 0;
  if (instance.leader == PriorityClass::background) {
    factor = share - 1;
  } else if (instance.background_waited) {
    factor = share;
  }
  const auto change = static_cast<std::int64_t>(factor * static_cast<double>(lane_time.count()));
  device.background_owed = std::clamp(device.background_owed + Duration(change),
                                      -options_.background_owed_max, options_.background_owed_max);
}

}  // namespace takt::scheduler
