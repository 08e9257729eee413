// SPDX-License-Identifier: Apache-2.0
#include "scheduler/state.h"

#include <algorithm>

namespace takt::scheduler {
namespace {

// Batches that could have been larger than is worth it by the profile, of which the last one is.
constexpr int kBatchesBetweenTries = 32;

}  // namespace

void Scheduler::State::dispatch_touched() {
  const std::uint64_t batches_before = batches_;
  for (std::size_t i = 0; i < touched_.size(); ++i) dispatch(touched_[i]);
  // What was left to a faster device is looked at again when any device has taken something else.
  std::uint64_t seen = batches_before;
  while (!deferring_.empty() && batches_ != seen) {
    seen = batches_;
    touched_.swap(deferring_);
    deferring_.clear();
    for (std::size_t i = 0; i < touched_.size(); ++i) dispatch(touched_[i]);
  }
}

void Scheduler::State::dispatch(std::uint32_t device_index) {
  DeviceState& device = devices_[device_index];
  holds_.erase(device_index);
  if (device.reserved_since != kNever) statistics_.reserved_time += now_ - device.reserved_since;
  device.reserved_since = kNever;
  std::erase(deferring_, device_index);
  deferred_.clear();
  bool owed_first = true;  // background goes ahead when it is owed its share
  while (device.free_lanes() > 0 && !device.runnable.empty()) {
    const std::uint32_t leader = choose_leader(device, owed_first);
    ModelState& model = model_of(pool_[leader].model.value);
    if (hopeless(pool_[leader])) {
      expire(leader);
      model_changed(model);
      continue;
    }
    const TimePoint until = deferred_until(device_index, model, pool_[leader]);
    if (until > now_ && leader != model.queue.first()) {
      owed_first = false;
      continue;
    }
    if (until > now_) {
      wake(device_index, until);
      device.runnable.erase(model.id.value);
      deferred_.push_back(model.id.value);
      continue;
    }
    if (reserve(device_index, pool_[leader]) || hold(device_index, model)) break;
    start(device_index, leader);
  }
  if (deferred_.empty()) return;
  deferring_.push_back(device_index);
  for (const std::uint32_t index : deferred_) {
    const ModelState& model = *models_[index];
    if (!model.queue.empty()) device.runnable.set(index, pool_[model.queue.first()].urgency);
  }
}

// True when the device leaves the lane idle: the leader's run would make an announced critical
// arrival late.
bool Scheduler::State::reserve(std::uint32_t device_index, const WaitingRequest& leader) {
  DeviceState& device = devices_[device_index];
  if (leader.urgency.priority == PriorityClass::critical || stopping_) return false;
  if (!device.expected.guaranteed()) return false;
  ModelState& model = model_of(leader.model.value);
  const Replica& replica = *model.on(device_index);
  const auto idle_others = static_cast<int>(replica.idle.size()) - 1;
  const TimePoint end = std::min(now_ + replica.profile.p99(leader.rows),
                                 other_place(device, model, replica, idle_others));
  const auto reservation = device.expected.reservation(now_, end);
  if (!reservation) return false;
  ModelState& expected = model_of(reservation->model.value);
  if (expected.suspended || expected.on(device_index)->instances.empty()) return false;
  wake(device_index, reservation->until);
  device.reserved_since = now_;
  if (device.reserved_until == reservation->until) return true;
  device.reserved_until = reservation->until;
  ++statistics_.reservations;
  out_->emplace_back(LaneReserved{DeviceId{device_index}, reservation->model, reservation->until});
  return true;
}

// When another lane than the one that is about to be taken is free.
TimePoint Scheduler::State::other_lane(const DeviceState& device) const {
  TimePoint lane = device.free_lanes() > 1 ? now_ : kNever;
  for (const std::uint32_t running : device.running) {
    lane = std::min(lane, instances_[running].expected_end);
  }
  return lane;
}

// The same, and another instance, if critical requests are expected for the model itself.
TimePoint Scheduler::State::other_place(const DeviceState& device, const ModelState& model,
                                        const Replica& replica, int idle_others) const {
  TimePoint instance = idle_others > 0 || !device.expected.expects(model.id) ? now_ : kNever;
  for (const std::uint32_t index : replica.instances) {
    if (instances_[index].busy) instance = std::min(instance, instances_[index].expected_end);
  }
  return std::max(other_lane(device), instance);
}

// The latest end of the batch with a member of that class that leaves expected critical requests
// their time.
TimePoint Scheduler::State::end_latest(DeviceState& device, const Batch& batch,
                                       PriorityClass priority) {
  if (device.expected.flows() == 0) return kNever;
  const TimePoint latest = device.expected.end_latest(now_, priority);
  if (latest == kNever) return kNever;
  const Replica& replica = *batch.replica;
  const auto idle_others = static_cast<int>(replica.idle.size());
  return other_place(device, *batch.model, replica, idle_others) <= latest ? kNever : latest;
}

// Looks at the device again at this time, if not before.
void Scheduler::State::wake(std::uint32_t device_index, TimePoint at) {
  if (at == kNever || (holds_.contains(device_index) && holds_.key(device_index) <= at)) return;
  holds_.set(device_index, at);
}

// Until when the device leaves the model's work to another one: while another is expected to have
// done all of it before this one could do the first request, or while that would be late here.
// `now_` or before: it starts here. Waiting is bounded by what it can gain, so that an estimate
// that doesn't come true costs at most as much again.
TimePoint Scheduler::State::deferred_until(std::uint32_t device_index, ModelState& model,
                                           const WaitingRequest& leader) {
  if (model.replicas.size() == 1) return now_;
  Replica& here = *model.on(device_index);
  if (!here.profile.known()) return now_;
  const Duration exec = here.profile.p99(leader.rows);
  const Duration gain = exec - model.p99_least(leader.rows);
  if (gain <= Duration{}) return now_;
  if (now_ + exec > leader.urgency.deadline) return kNever;  // not hopeless, so in time elsewhere
  if (finish_elsewhere(model, here) >= now_ + exec) return now_;
  here.deferred_since = std::min(here.deferred_since, now_);
  return here.deferred_since + gain;
}

// When the fastest of the other devices is expected to have done all that waits for the model.
TimePoint Scheduler::State::finish_elsewhere(const ModelState& model, const Replica& here) const {
  TimePoint best = kNever;
  const std::int64_t rows = model.queue.rows();
  for (const Replica& replica : model.replicas) {
    if (&replica == &here || replica.instances.empty() || !replica.profile.known()) continue;
    best = std::min(best, free_from(replica) + replica.profile.least_work(rows));
  }
  return best;
}

// When a lane of the replica's device and one of its instances are expected to be free.
TimePoint Scheduler::State::free_from(const Replica& replica) const {
  const DeviceState& device = devices_[replica.device];
  TimePoint lane = device.free_lanes() > 0 ? now_ : kNever;
  for (const std::uint32_t running : device.running) {
    lane = std::min(lane, std::max(now_, instances_[running].expected_end));
  }
  TimePoint instance = replica.idle.empty() ? kNever : now_;
  for (const std::uint32_t index : replica.instances) {
    if (instances_[index].busy)
      instance = std::min(instance, std::max(now_, instances_[index].expected_end));
  }
  return std::max(lane, instance);
}

// The most urgent request that has an idle instance; the most urgent background one when that class
// is owed its share and no critical request wants the lane.
std::uint32_t Scheduler::State::choose_leader(const DeviceState& device, bool owed_first) const {
  const std::uint32_t first = models_[device.runnable.top()]->queue.first();
  const PriorityClass priority = pool_[first].urgency.priority;
  const bool owed = owed_first && device.background_owed > Duration{};
  if (priority == PriorityClass::background || !owed) return first;
  const std::uint32_t background = first_background(device);
  return background != kNoRequest && priority != PriorityClass::critical ? background : first;
}

std::uint32_t Scheduler::State::first_background(const DeviceState& device) const {
  std::uint32_t best = kNoRequest;
  for (const std::uint32_t index : device.waiting) {
    if (!device.runnable.contains(index)) continue;
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
  const LatencyProfile& profile = model.on(device_index)->profile;
  if (model.draining || stopping_ || !profile.known()) return false;
  const int rows_max = full_batch(devices_[device_index], *model.on(device_index));
  if (model.queue.rows() >= rows_max) return false;
  const TimePoint started = std::min(model.hold_started, now_);
  TimePoint until = started + model.limits.batch_delay_max;
  for (int i = 0; i < kPriorityClassCount; ++i) {
    const std::uint32_t first = model.queue.first_of(static_cast<PriorityClass>(i));
    if (first == kNoRequest) continue;
    const TimePoint deadline = pool_[first].urgency.deadline;
    if (deadline == kNever) continue;
    until = std::min(until, deadline - profile.p99(rows_max));
  }
  if (until <= now_) return false;
  model.hold_started = started;
  wake(device_index, until);
  return true;
}

void Scheduler::State::start(std::uint32_t device_index, std::uint32_t leader) {
  DeviceState& device = devices_[device_index];
  ModelState& model = model_of(pool_[leader].model.value);
  Replica& replica = *model.on(device_index);
  const std::uint32_t instance_index = take_idle(device, replica);
  ++model.running;
  for (Replica& other : model.replicas) other.deferred_since = kNever;
  InstanceState& instance = instances_[instance_index];
  instance.requests.clear();
  instance.leader = pool_[leader].urgency.priority;
  const bool background_only = instance.leader == PriorityClass::background;

  Batch batch{.model = &model, .replica = &replica, .instance = &instance};
  take(batch, leader);
  batch.rows_worth = std::max(full_batch(device, replica), batch.rows);
  grow(device_index, batch, background_only);
  if (batch.rows > batch.rows_worth) replica.batches_since_try = 0;

  if (!background_only && device.background_waiting > 0 && device.background_owed > Duration{}) {
    ++statistics_.background_unmet;
  }
  instance.busy = true;
  instance.batch = BatchId{++batches_};
  instance.rows = batch.rows;
  instance.started = now_;
  instance.expected_end = now_ + replica.profile.p99(batch.rows);
  instance.background_waited = device.background_waiting > 0;
  instance.charged = replica.profile.p99(batch.rows);
  charge(device, instance, instance.charged);
  device.running.push_back(instance_index);
  ++device.at_home[static_cast<std::size_t>(instance.home)];
  ++running_;
  ++statistics_.batches;
  statistics_.started += instance.requests.size();
  out_->emplace_back(StartBatch{instance.batch, model.id, InstanceId{instance_index},
                                instance.requests, batch.rows, instance.expected_end,
                                replica.profile.p50(batch.rows)});
  model_changed(model);
}

// The idle instance that ran last of those whose home lane nobody uses, where there is one.
std::uint32_t Scheduler::State::take_idle(const DeviceState& device, Replica& replica) {
  const auto at_home = [&](std::uint32_t index) {
    return device.at_home[static_cast<std::size_t>(instances_[index].home)] == 0;
  };
  const auto last = std::find_if(replica.idle.rbegin(), replica.idle.rend(), at_home);
  const auto chosen = last == replica.idle.rend() ? replica.idle.end() - 1 : last.base() - 1;
  const std::uint32_t index = *chosen;
  replica.idle.erase(chosen);
  return index;
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
void Scheduler::State::grow(std::uint32_t device_index, Batch& batch, bool background_only) {
  DeviceState& device = devices_[device_index];
  ModelState& model = *batch.model;
  const LatencyProfile& profile = batch.replica->profile;
  const int rows_max = rows_worth_taking(device, batch, next_rows_max(batch));
  const TimePoint finish_alone = now_ + profile.p99(batch.rows);
  // What the others could have instead, taken as free for each of them.
  const TimePoint lane = other_lane(device);
  const bool guaranteed = device.expected.guaranteed();
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
    const TimePoint finish = now_ + profile.p99(batch.rows + request.rows);
    if (finish > std::min(batch.deadline_min, request.urgency.deadline)) return;
    if (now_ + profile.cautious(batch.rows + request.rows) >
        end_latest(device, batch, request.urgency.priority)) {
      ++statistics_.batches_bounded;
      return;
    }
    if (!collected) collect_claims(device_index, model, finish_alone);
    collected = true;
    for (; seen < claims_.size() && claims_[seen].urgency < request.urgency; ++seen) {
      // The guarantee needs the order of deadlines: no member goes before a critical request.
      if (guaranteed && claims_[seen].urgency.priority == PriorityClass::critical) return;
      start_latest = std::min(start_latest, claims_[seen].start_latest);
    }
    if (std::min(finish, lane) > start_latest) return;
    take(batch, next);
  }
}

// The latest times at which the first waiting requests of the other models must have this lane, in
// order of urgency, each behind those before it where that is still possible. One that would be
// late behind the batch as it is doesn't hold the batch back.
void Scheduler::State::collect_claims(std::uint32_t device_index, const ModelState& own,
                                      TimePoint finish_alone) {
  claims_.clear();
  for (const std::uint32_t index : devices_[device_index].waiting) {
    ModelState& other = *models_[index];
    if (&other == &own) continue;
    const LatencyProfile& profile = other.on(device_index)->profile;
    for (int i = 0; i < kPriorityClassCount; ++i) {
      const std::uint32_t first = other.queue.first_of(static_cast<PriorityClass>(i));
      if (first == kNoRequest) continue;
      const WaitingRequest& request = pool_[first];
      claims_.push_back({.urgency = request.urgency, .exec = profile.p99(request.rows)});
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

// Rows of a full batch there: its limit, or what is worth it by the profile.
int Scheduler::State::full_batch(const DeviceState& device, const Replica& replica) const {
  return replica.profile.rows_worth(replica.limit.rows(), device.batch_gain_min, replica.around);
}

// A full batch; now and then twice as much, where all of that waits: a size that looked slow when it was measured, on a
// busy machine, would never be measured again otherwise.
int Scheduler::State::next_rows_max(const Batch& batch) {
  const int worth = batch.rows_worth;
  const int limit = batch.replica->limit.rows();
  const int most = worth <= limit / 2 ? 2 * worth : limit;
  if (most <= worth || batch.rows + batch.model->queue.rows() < most) return worth;
  return ++batch.replica->batches_since_try < kBatchesBetweenTries ? worth : most;
}

// That many rows, or less when further lanes and instances of the model are free, here or on its other
// devices: what they could start at once is not queued behind this batch's own rows.
int Scheduler::State::rows_worth_taking(const DeviceState& device, const Batch& batch,
                                        int rows_max) const {
  const ModelState& model = *batch.model;
  int lanes = 0;
  for (const Replica& replica : model.replicas) {
    const DeviceState& place = devices_[replica.device];
    const bool here = &place == &device;
    const int idle = static_cast<int>(replica.idle.size()) + (here ? 1 : 0);
    const int others =
        static_cast<int>(place.runnable.size()) - (place.runnable.contains(model.id.value) ? 1 : 0);
    const int free = std::min(place.free_lanes() - others, idle);
    lanes += here ? std::max(1, free) : std::max(0, free);
  }
  lanes = std::min(lanes, model.startable() + 1);
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
