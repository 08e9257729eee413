// SPDX-License-Identifier: Apache-2.0
#include "scheduler/scheduler.h"

#include "scheduler/state.h"

#include <algorithm>
#include <utility>

namespace takt::scheduler {

static constexpr int kAroundSmoothing = 16;  // batches over which Replica::around is averaged

Result<Scheduler> Scheduler::create(SchedulerOptions options) {
  if (options.devices.empty()) {
    return fail(ErrorKind::invalid_input, "scheduler: devices is empty; name at least one");
  }
  if (options.devices.size() > kDevicesMax) {
    return fail(ErrorKind::invalid_input, "scheduler: " + std::to_string(options.devices.size()) +
                                              " devices; expected at most " +
                                              std::to_string(kDevicesMax));
  }
  for (std::size_t i = 0; i < options.devices.size(); ++i) {
    if (options.devices[i].memory_quiet <= Duration{}) {
      return fail(ErrorKind::invalid_input, "scheduler: devices[" + std::to_string(i) +
                                                "].memory_quiet must be above 0; leave it out for "
                                                "the default");
    }
    if (!(options.devices[i].batch_gain_min >= 0.0 && options.devices[i].batch_gain_min <= 1.0)) {
      return fail(ErrorKind::invalid_input, "scheduler: devices[" + std::to_string(i) +
                                                "].batch_gain_min is " +
                                                std::to_string(options.devices[i].batch_gain_min) +
                                                "; expected 0 to 1, such as 0.05");
    }
    if (options.devices[i].lanes >= 1) continue;
    return fail(ErrorKind::invalid_input, "scheduler: devices[" + std::to_string(i) +
                                              "].lanes is " +
                                              std::to_string(options.devices[i].lanes) +
                                              "; expected 1 or more, such as the CPU's cores");
  }
  if (!(options.background_share_min >= 0.0 && options.background_share_min < 1.0)) {
    return fail(ErrorKind::invalid_input,
                "scheduler: background_share_min is " +
                    std::to_string(options.background_share_min) +
                    "; expected at least 0 and less than 1, such as 0.05");
  }
  if (options.background_owed_max < Duration{} || options.profile_memory < Duration{}) {
    return fail(ErrorKind::invalid_input,
                "scheduler: background_owed_max and profile_memory must not be negative; leave "
                "them out for the "
                "defaults");
  }
  return Scheduler(std::make_unique<State>(std::move(options)));
}

Scheduler::Scheduler(std::unique_ptr<State> state) : state_(std::move(state)) {}
Scheduler::Scheduler(Scheduler&&) noexcept = default;
Scheduler& Scheduler::operator=(Scheduler&&) noexcept = default;
Scheduler::~Scheduler() = default;

void Scheduler::apply(const Event& event, TimePoint now, std::vector<Action>& actions_out) {
  state_->apply(event, now, actions_out);
}

Duration Scheduler::expected_p99(ModelId model, int rows) const {
  const ModelState* const found = state_->find(model);
  return found == nullptr ? Duration{} : found->p99_least(rows);
}

Duration Scheduler::expected_p99(ModelId model, DeviceId device, int rows) const {
  const Replica* const found = state_->find(model, device);
  return found == nullptr ? Duration{} : found->profile.p99(rows);
}

Duration Scheduler::usual(ModelId model, int rows) const {
  const ModelState* const found = state_->find(model);
  Duration least{};
  if (found == nullptr) return least;
  for (const Replica& replica : found->replicas) {
    const Duration p50 = replica.profile.p50(rows);
    if (least == Duration{} || (p50 > Duration{} && p50 < least)) least = p50;
  }
  return least;
}

Duration Scheduler::longest(ModelId model, DeviceId device, int rows) const {
  const Replica* const found = state_->find(model, device);
  return found == nullptr ? Duration{} : found->profile.longest(rows);
}

std::vector<ProfilePoint> Scheduler::profile(ModelId model, DeviceId device) const {
  const Replica* const found = state_->find(model, device);
  return found == nullptr ? std::vector<ProfilePoint>{} : found->profile.exported();
}

int Scheduler::queue_depth(ModelId model) const {
  const ModelState* const found = state_->find(model);
  return found == nullptr ? 0 : found->queue.depth();
}

int Scheduler::batch_limit(ModelId model, DeviceId device) const {
  const Replica* const found = state_->find(model, device);
  return found == nullptr ? 0 : found->limit.rows();
}

std::size_t Scheduler::waiting() const noexcept {
  return state_->waiting();
}
std::size_t Scheduler::running() const noexcept {
  return state_->running();
}
const SchedulerStatistics& Scheduler::statistics() const noexcept {
  return state_->statistics();
}

Scheduler::State::State(SchedulerOptions options) : options_(std::move(options)) {
  for (const DeviceOptions& device : options_.devices) {
    devices_.emplace_back(device.lanes, options_.profile_memory);
    devices_.back().memory_quiet = device.memory_quiet;
    devices_.back().batch_gain_min = device.batch_gain_min;
  }
}

void Scheduler::State::apply(const Event& event, TimePoint now, std::vector<Action>& actions_out) {
  out_ = &actions_out;
  now_ = std::max(now_, now);
  if (armed_ <= now_) armed_ = kNever;
  expire_due();
  if (raise_at_ <= now_) raise_limits();
  std::visit([this](const auto& happened) { on(happened); }, event);
  const auto* const arrived = std::get_if<RequestArrived>(&event);
  if (arrived != nullptr && arrived->more_come) {
    out_ = nullptr;
    return;
  }
  while (!holds_.empty() && holds_.top_key() <= now_) {
    touched_.push_back(holds_.top());
    holds_.erase(holds_.top());
  }
  dispatch_touched();
  touched_.clear();
  finish_drains();
  arm_timer();
  out_ = nullptr;
}

const ModelState* Scheduler::State::find(ModelId model) const {
  return model.value < models_.size() ? models_[model.value].get() : nullptr;
}

const Replica* Scheduler::State::find(ModelId model, DeviceId device) const {
  ModelState* const found = model.value < models_.size() ? models_[model.value].get() : nullptr;
  return found == nullptr ? nullptr : found->on(device.value);
}

ModelState* Scheduler::State::find_mutable(ModelId model) {
  return model.value < models_.size() ? models_[model.value].get() : nullptr;
}

Result<void> Scheduler::State::check(const ModelAdded& event) const {
  const std::string place = "model " + std::to_string(event.model.value) + ": ";
  if (stopping_)
    return fail(ErrorKind::unavailable,
                place + "the scheduler is stopping; add it after the restart");
  if (find(event.model) != nullptr) {
    return fail(ErrorKind::invalid_input,
                place + "this id is in use; give every loaded version its own");
  }
  if (event.limits.batch_max < 0 || event.limits.queue_depth_max < 1 ||
      event.limits.batch_delay_max < Duration{} || event.limits.queue_bytes_max < 0 ||
      event.limits.concurrency_max < 0 || event.limits.class_room < 0 ||
      event.limits.class_room > event.limits.queue_depth_max ||
      event.limits.places(PriorityClass::background) < 1) {
    return fail(ErrorKind::invalid_input,
                place +
                    "expected batch_max >= 0, queue_depth_max >= 1, batch_delay_max >= 0, "
                    "queue_bytes_max >= 0, concurrency_max >= 0, and a class_room that leaves "
                    "places to every class");
  }
  return check_replica({event.model, event.device, event.instances, event.profile});
}

Result<void> Scheduler::State::check(const ReplicaAdded& event) const {
  const std::string place = "model " + std::to_string(event.model.value) + ": ";
  const ModelState* const model = find(event.model);
  if (model == nullptr || model->draining || stopping_) {
    return fail(ErrorKind::unavailable,
                place + "there is no such model, or it is being removed; add the model first");
  }
  if (find(event.model, event.device) != nullptr) {
    return fail(ErrorKind::invalid_input, place + "is on device " +
                                              std::to_string(event.device.value) +
                                              " already; add instances by InstanceReady");
  }
  return check_replica(event);
}

Result<void> Scheduler::State::check_replica(const ReplicaAdded& replica) const {
  const std::string place = "model " + std::to_string(replica.model.value) + ": ";
  if (replica.device.value >= devices_.size()) {
    return fail(ErrorKind::invalid_input,
                place + "there is no device " + std::to_string(replica.device.value) +
                    "; expected less than " + std::to_string(devices_.size()));
  }
  int last = 0;
  for (const LatencyPoint& point : replica.profile) {
    if (point.batch <= last || point.p50 < Duration{} || point.p99 < point.p50 ||
        point.p99 == Duration{}) {
      return fail(ErrorKind::invalid_input, place + "profile at batch " +
                                                std::to_string(point.batch) +
                                                ": expected rising batch sizes from 1 and 0 <= p50 "
                                                "<= p99, p99 > 0; measure it again");
    }
    last = point.batch;
  }
  for (const InstanceId instance : replica.instances) {
    if (instance.value < instances_.size() && instances_[instance.value].known) {
      return fail(ErrorKind::invalid_input,
                  place + "instance " + std::to_string(instance.value) +
                      " belongs to another model; give every instance its own id");
    }
  }
  return {};
}

void Scheduler::State::on(const ModelAdded& event) {
  if (auto checked = check(event); !checked) {
    out_->emplace_back(ModelRefused{event.model, std::move(checked.error())});
    return;
  }
  if (event.model.value >= models_.size()) models_.resize(event.model.value + std::size_t{1});
  models_[event.model.value] = std::make_unique<ModelState>(event, pool_);
  add_replica(*models_[event.model.value],
              {event.model, event.device, event.instances, event.profile});
}

void Scheduler::State::on(const ReplicaAdded& event) {
  if (auto checked = check(event); !checked) {
    out_->emplace_back(ModelRefused{event.model, std::move(checked.error())});
    return;
  }
  ModelState& model = *find_mutable(event.model);
  if (!event.instances.empty()) model.suspended = false;
  add_replica(model, event);
}

void Scheduler::State::add_replica(ModelState& model, const ReplicaAdded& event) {
  model.replicas.push_back({.device = event.device.value,
                            .profile = {event.profile, model.limits.batch_max},
                            .limit = BatchLimit(model.batch_rows_max()),
                            .instances = {},
                            .idle = {}});
  devices_[event.device.value].background_waiting += model.background_waiting;
  for (const ArrivalsExpected& announced : model.announced)
    devices_[event.device.value].expected.announce(announced, model.replicas.back().profile);
  for (const InstanceId instance : event.instances)
    add_instance(model, model.replicas.back(), instance.value);
  model_changed(model);
}

void Scheduler::State::add_instance(ModelState& model, Replica& replica, std::uint32_t index) {
  if (index >= instances_.size()) instances_.resize(index + std::size_t{1});
  InstanceState& instance = instances_[index];
  if (instance.ready) return;
  if (!instance.known) instance.home = replica.homes++ % devices_[replica.device].lanes;
  instance.known = true;
  instance.ready = true;
  instance.model = model.id.value;
  instance.device = replica.device;
  replica.instances.push_back(index);
  replica.idle.push_back(index);
  ++model.ready;
}

void Scheduler::State::on(const ModelRemoved& event) {
  ModelState* const model = find_mutable(event.model);
  if (model == nullptr) return;
  model->draining = true;
  model->announced.clear();
  for (const Replica& replica : model->replicas)
    devices_[replica.device].expected.withdraw(model->id);
  if (!event.run_waiting) refuse_waiting(*model, RefusalReason::model_draining);
  model_changed(*model);
}

void Scheduler::State::on(const ModelSuspended& event) {
  ModelState* const model = find_mutable(event.model);
  if (model == nullptr) return;
  model->suspended = true;
  refuse_waiting(*model, RefusalReason::model_suspended);
  model_changed(*model);
}

void Scheduler::State::on(const InstanceLost& event) {
  if (event.instance.value >= instances_.size() || !instances_[event.instance.value].ready) return;
  InstanceState& instance = instances_[event.instance.value];
  ModelState& model = model_of(instance.model);
  if (instance.busy) {
    ++statistics_.batches_lost;
    end_batch(instance, event.instance.value);
  }
  instance.ready = false;
  --model.ready;
  Replica& replica = *model.on(instance.device);
  std::erase(replica.instances, event.instance.value);
  std::erase(replica.idle, event.instance.value);
  model_changed(model);
}

void Scheduler::State::on(const InstanceReady& event) {
  ModelState* const model = find_mutable(event.model);
  if (model == nullptr) return;
  const InstanceState* const known =
      event.instance.value < instances_.size() && instances_[event.instance.value].known
          ? &instances_[event.instance.value]
          : nullptr;
  if (known != nullptr && known->model != event.model.value) return;
  Replica* replica = &model->replicas.front();
  if (known != nullptr) {
    replica = model->on(known->device);
  } else if (event.device) {
    replica = model->on(event.device->value);
  }
  if (replica == nullptr) return;
  model->suspended = false;
  add_instance(*model, *replica, event.instance.value);
  model_changed(*model);
}

void Scheduler::State::on(const RequestArrived& event) {
  if (by_id_.contains(event.request.value)) {  // answering it twice would lose the first answer
    ++statistics_.arrivals_ignored;
    return;
  }
  ++statistics_.arrived;
  ModelState* const model = find_mutable(event.model);
  if (model != nullptr && !model->draining && event.priority == PriorityClass::critical) {
    for (const Replica& replica : model->replicas)
      devices_[replica.device].expected.arrived(event, now_, replica.profile);
  }
  if (stopping_) {
    refuse(event.request, event.model, RefusalReason::stopping);
  } else if (model == nullptr) {
    refuse(event.request, event.model, RefusalReason::unknown_model);
  } else if (model->draining) {
    refuse(event.request, event.model, RefusalReason::model_draining);
  } else if (model->suspended) {
    refuse(event.request, event.model, RefusalReason::model_suspended);
  } else if (event.rows < 1 || event.rows > model->batch_rows_max()) {
    refuse(event.request, event.model, RefusalReason::rows_out_of_range, model->batch_rows_max());
  } else if (const auto full = no_room(event, *model)) {
    refuse(event.request, event.model, *full,
           full == RefusalReason::queue_full ? model->limits.queue_depth_max
                                             : model->limits.queue_bytes_max);
  } else {
    admit(event, *model);
  }
}

void Scheduler::State::on(const ArrivalsExpected& event) {
  ModelState* const model = find_mutable(event.model);
  const bool withdrawn = event.min_interval == Duration{};
  const bool sensible =
      event.min_interval > Duration{} && event.deadline > Duration{} && event.rows >= 1;
  if (model == nullptr || model->draining || !(withdrawn || sensible)) {
    ++statistics_.announcements_ignored;
    return;
  }
  std::erase_if(model->announced,
                [&](const ArrivalsExpected& known) { return known.flow == event.flow; });
  if (sensible) model->announced.push_back(event);
  for (const Replica& replica : model->replicas) {
    ExpectedArrivals& expected = devices_[replica.device].expected;
    if (sensible) {
      expected.announce(event, replica.profile);
    } else {
      expected.withdraw(event.model, event.flow);
    }
  }
  model_changed(*model);
}

void Scheduler::State::on(const RequestCancelled& event) {
  const auto found = by_id_.find(event.request.value);
  if (found == by_id_.end()) return;
  ModelState& model = model_of(pool_[found->second].model.value);
  leave_queue(found->second);
  ++statistics_.cancelled;
  out_->emplace_back(Cancelled{event.request});
  model_changed(model);
}

void Scheduler::State::on(const BatchCompleted& event) {
  const bool current = event.instance.value < instances_.size() &&
                       instances_[event.instance.value].busy &&
                       instances_[event.instance.value].batch == event.batch;
  if (!current) {  // of an instance that was lost meanwhile
    ++statistics_.completions_ignored;
    return;
  }
  InstanceState& instance = instances_[event.instance.value];
  ModelState& model = model_of(instance.model);
  charge(devices_[instance.device], instance, event.exec - instance.charged);
  end_batch(instance, event.instance.value);
  if (event.error) {
    ++statistics_.batches_failed;
  } else {
    ++statistics_.batches_completed;
    Replica& replica = *model.on(instance.device);
    LatencyProfile& profile = replica.profile;
    profile.record(instance.rows, event.exec, now_);
    const Duration around = std::max(Duration{}, now_ - instance.started - event.exec);
    replica.around += (around - replica.around) / kAroundSmoothing;
    if (!model.announced.empty())
      devices_[instance.device].expected.profile_changed(model.id, profile);
  }
  model.on(instance.device)->idle.push_back(event.instance.value);
  model_changed(model);
}

void Scheduler::State::on(const RanOutOfMemory& event) {
  if (event.instance.value >= instances_.size() || !instances_[event.instance.value].known) return;
  const InstanceState& instance = instances_[event.instance.value];
  ModelState& model = model_of(instance.model);
  Replica& replica = *model.on(instance.device);
  BatchLimit& limit = replica.limit;
  const bool listed = limit.lowered();
  const int before = limit.rows();
  const bool fell = limit.lower(event.rows, now_, devices_[instance.device].memory_quiet);
  if (!limit.lowered()) return;
  if (!listed) lowered_.push_back({instance.model, instance.device});
  raise_at_ = std::min(raise_at_, limit.raise_at());
  if (!fell) return;
  ++statistics_.memory_steps_down;
  limit_changed(model, replica, before);
}

// Doubles the batch limits whose quiet time is over.
void Scheduler::State::raise_limits() {
  raise_at_ = kNever;
  std::erase_if(lowered_, [this](const Lowered& lowered) {
    ModelState* const model = find_mutable(ModelId{lowered.model});
    Replica* const replica = model == nullptr ? nullptr : model->on(lowered.device);
    if (replica == nullptr) return true;
    const int before = replica->limit.rows();
    if (replica->limit.raise_at() <= now_) {
      replica->limit.raise(now_, devices_[lowered.device].memory_quiet);
      ++statistics_.memory_steps_up;
      limit_changed(*model, *replica, before);
    }
    raise_at_ = std::min(raise_at_, replica->limit.raise_at());
    return !replica->limit.lowered();
  });
}

void Scheduler::State::limit_changed(const ModelState& model, const Replica& replica,
                                     int rows_before) {
  out_->emplace_back(BatchLimitChanged{model.id, DeviceId{replica.device}, rows_before,
                                       replica.limit.rows(), replica.limit.rows_max()});
}

void Scheduler::State::on(const TimerFired& /*event*/) {
}  // expiry, holds and limits are looked at with every event

void Scheduler::State::on(const Stop& event) {
  stopping_ = true;
  if (event.run_waiting) return;
  for (const auto& model : models_) {
    if (!model) continue;
    refuse_waiting(*model, RefusalReason::stopping);
    model_changed(*model);
  }
}

void Scheduler::State::refuse_waiting(ModelState& model, RefusalReason reason) {
  while (!model.queue.empty()) {
    const std::uint32_t index = model.queue.first();
    refuse(pool_[index].id, model.id, reason);
    leave_queue(index);
  }
}

void Scheduler::State::leave_queue(std::uint32_t index) {
  const WaitingRequest& request = pool_[index];
  ModelState& model = model_of(request.model.value);
  if (request.urgency.priority == PriorityClass::background) count_background(model, -1);
  model.queue.erase(index);
  if (pools_[model.pool].indexed) pools_[model.pool].requests.erase(pool_, index);
  --model.waiting[static_cast<std::size_t>(request.urgency.priority)];
  model.waiting_bytes[static_cast<std::size_t>(request.urgency.priority)] -= request.bytes;
  hopeless_at_.erase(index);
  by_id_.erase(request.id.value);
  pool_.release(index);
}

void Scheduler::State::count_background(ModelState& model, int change) {
  model.background_waiting += change;
  for (const Replica& replica : model.replicas) {
    DeviceState& device = devices_[replica.device];
    device.background_waiting += change;
    if (device.background_waiting == 0)
      device.background_owed = std::min(device.background_owed, Duration{});
  }
}

void Scheduler::State::end_batch(InstanceState& instance, std::uint32_t index) {
  instance.busy = false;
  --running_;
  --model_of(instance.model).running;
  DeviceState& device = devices_[instance.device];
  std::erase(device.running, index);
  --device.at_home[static_cast<std::size_t>(instance.home)];
}

void Scheduler::State::expire(std::uint32_t index) {
  out_->emplace_back(Expire{pool_[index].id});
  ++statistics_.expired;
  leave_queue(index);
}

void Scheduler::State::expire_due() {
  while (!hopeless_at_.empty() && hopeless_at_.top_key() <= now_) {
    const std::uint32_t index = hopeless_at_.top();
    const WaitingRequest& request = pool_[index];
    ModelState& model = model_of(request.model.value);
    if (hopeless(request)) {
      expire(index);
      model_changed(model);
    } else {  // the model has become faster since the request came
      hopeless_at_.set(index, hopeless_at(model, request.urgency.deadline, request.rows));
    }
  }
}

// Brings the devices' picture of a model up to date after its queue or its instances changed.
void Scheduler::State::model_changed(ModelState& model) {
  const bool has_work = !model.queue.empty();
  for (Replica& replica : model.replicas) {
    DeviceState& device = devices_[replica.device];
    if (has_work && model.startable(replica) > 0) {
      device.runnable.set(model.id.value, pool_[model.queue.first()].urgency);
    } else {
      device.runnable.erase(model.id.value);
    }
    const bool listed = replica.place_in_waiting != UINT32_MAX;
    if (has_work && !listed) {
      replica.place_in_waiting = static_cast<std::uint32_t>(device.waiting.size());
      device.waiting.push_back(model.id.value);
    } else if (!has_work && listed) {
      model_of(device.waiting.back()).on(replica.device)->place_in_waiting =
          replica.place_in_waiting;
      device.waiting[replica.place_in_waiting] = device.waiting.back();
      device.waiting.pop_back();
      replica.place_in_waiting = UINT32_MAX;
    }
    if (!has_work) replica.deferred_since = kNever;
    if (std::find(touched_.begin(), touched_.end(), replica.device) == touched_.end())
      touched_.push_back(replica.device);
  }
  place_in_pool(model);
  if (!has_work) model.hold_started = kNever;
  if (model.draining) drains_.push_back(model.id.value);
}

// Counts the model's waiting work where it may be done: on the devices with a ready instance, or on
// all of its devices while there is none.
void Scheduler::State::place_in_pool(ModelState& model) {
  DeviceSet devices = 0;
  int lanes = 0;
  for (const Replica& replica : model.replicas) {
    if (!model.usable(replica)) continue;
    devices |= DeviceSet{1} << replica.device;
    lanes += devices_[replica.device].lanes;
  }
  const bool ready = model.ready > 0;
  const auto is_right = [devices, ready](const Pool& pool) {
    return pool.devices == devices && pool.ready == ready;
  };
  const bool moves = model.pool == UINT32_MAX || !is_right(pools_[model.pool]);
  if (moves || model.queue.empty()) leave_pool(model, moves);
  if (moves) {
    const auto found = std::ranges::find_if(pools_, is_right);
    model.pool = static_cast<std::uint32_t>(found - pools_.begin());
    if (found == pools_.end()) {
      pools_.emplace_back();
      pools_.back().devices = devices;
      pools_.back().ready = ready;
      pools_.back().lanes = lanes;
    }
    if (pools_[model.pool].indexed) {
      members_.clear();
      model.queue.append_to(members_);
      for (const std::uint32_t index : members_) pools_[model.pool].requests.insert(pool_, index);
    }
  }
  if (model.queue.empty()) return;
  Pool& pool = pools_[model.pool];
  if (model.place_in_pool == UINT32_MAX) {
    model.place_in_pool = static_cast<std::uint32_t>(pool.waiting.size());
    pool.waiting.push_back(model.id.value);
  }
  const Duration work = model.least_work(model.queue.rows());
  pool.waiting_work += work - model.waiting_work;
  pool.longest = std::max(pool.longest, model.p99_most(model.batch_rows_max()));
  model.waiting_work = work;
  if (pool.indexed) pool.most_work.set(model.id.value, -work.count());
}

void Scheduler::State::leave_pool(ModelState& model, bool moves) {
  if (model.pool == UINT32_MAX) return;
  Pool& pool = pools_[model.pool];
  if (moves && pool.indexed) {
    members_.clear();
    model.queue.append_to(members_);
    for (const std::uint32_t index : members_) pool.requests.erase(pool_, index);
  }
  if (model.place_in_pool == UINT32_MAX) return;
  pool.most_work.erase(model.id.value);
  model_of(pool.waiting.back()).place_in_pool = model.place_in_pool;
  pool.waiting[model.place_in_pool] = pool.waiting.back();
  pool.waiting.pop_back();
  pool.waiting_work -= model.waiting_work;
  model.place_in_pool = UINT32_MAX;
  model.waiting_work = Duration{};
  if (pool.waiting.empty()) pool.indexed = false;  // nothing is left in it
}

void Scheduler::State::finish_drains() {
  for (const std::uint32_t index : drains_) {
    ModelState* const model = models_[index].get();
    if (model == nullptr || !model->queue.empty() || model->running > 0) continue;
    for (InstanceState& instance : instances_) {
      if (instance.known && instance.model == index) instance = InstanceState{};
    }
    models_[index].reset();
    out_->emplace_back(ModelDrained{ModelId{index}});
  }
  drains_.clear();
  if (!stopping_ || stopped_ || waiting() > 0 || running_ > 0) return;
  stopped_ = true;
  out_->emplace_back(Stopped{});
}

void Scheduler::State::arm_timer() {
  TimePoint wanted = hopeless_at_.empty() ? kNever : hopeless_at_.top_key();
  if (!holds_.empty()) wanted = std::min(wanted, holds_.top_key());
  wanted = std::min(wanted, raise_at_);
  if (wanted >= armed_) return;  // the timer that fires before is harmless
  armed_ = wanted;
  out_->emplace_back(ArmTimer{wanted});
}

}  // namespace takt::scheduler
