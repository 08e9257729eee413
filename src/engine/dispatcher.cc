// SPDX-License-Identifier: Apache-2.0
#include "engine/dispatcher.h"

#include <pthread.h>
#include <sys/prctl.h>

#include <algorithm>
#include <utility>

namespace takt::engine {

Dispatcher::Replica* Dispatcher::Model::on(DeviceId device) noexcept {
  const auto found = std::ranges::find_if(
      replicas, [device](const Replica& replica) { return replica.served->device == device; });
  return found == replicas.end() ? nullptr : &*found;
}

Dispatcher::Dispatcher(scheduler::Scheduler scheduler, std::shared_ptr<Inbox> inbox,
                       std::shared_ptr<Counters> counters, Events& events, const Clock& clock)
    : scheduler_(std::move(scheduler)),
      inbox_(std::move(inbox)),
      counters_(std::move(counters)),
      happenings_(events),
      clock_(clock) {}

void Dispatcher::run() {
  ::pthread_setname_np(::pthread_self(), "takt-dispatch");
  // The default slack lets timed waits, and so expiries, come 50 us late.
  ::prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
  inbox_->serve(clock_, [this](std::vector<Message>& messages, Inbox::Offer* offer) {
    return work(messages, offer);
  });
  finish();
}

TimePoint Dispatcher::work(std::vector<Message>& messages, Inbox::Offer* offer) {
  offer_ = offer;
  if (offer != nullptr) join_arrivals(messages);
  for (Message& message : messages) std::visit([this](auto& m) { on(m); }, message);
  if (timer_at_ <= clock_.now()) {
    timer_at_ = kNever;
    apply(scheduler::TimerFired{});
  }
  if (!shed_.empty()) tell_shed();
  counters_->queue_depth = scheduler_.waiting();
  counters_->batches_running = scheduler_.running();
  return timer_at_;
}

// Of models whose batches are short, what came together starts together. Longer ones gain more where the
// first starts at once and others beside it.
void Dispatcher::join_arrivals(std::vector<Message>& messages) const {
  for (std::size_t i = 0; i + 1 < messages.size(); ++i) {
    auto* const submitted = std::get_if<Submitted>(&messages[i]);
    if (submitted == nullptr || !std::holds_alternative<Submitted>(messages[i + 1])) continue;
    const Duration usual = scheduler_.usual(submitted->arrival.model, submitted->arrival.rows);
    submitted->arrival.more_come = usual > Duration{} && usual <= offer_->spare;
  }
}

Instances Dispatcher::take_instances() {
  Instances instances;
  for (InstanceSlot& slot : slots_) {
    if (slot.instance) instances.push_back(std::move(slot.instance));
  }
  return instances;
}

// The inbox is closed: whoever still waits for something gets it now.
void Dispatcher::finish() {
  for (auto& [id, request] : waiting_)
    request->answer_error({ErrorKind::unavailable, "the engine has stopped"});
  waiting_.clear();
  for (auto& [id, model] : models_) {
    if (model.drained) model.drained->set_value({});
  }
  models_.clear();
  for (std::promise<void>& stopped : stopped_) stopped.set_value();
  stopped_.clear();
}

// Messages ----------------------------------------------------------------------------------------

void Dispatcher::on(Submitted& message) {
  waiting_.emplace(message.arrival.request, std::move(message.request));
  apply(message.arrival);
}

void Dispatcher::on(Withdrawn& message) {
  apply(scheduler::RequestCancelled{message.request});
}

void Dispatcher::on(BatchEnded& message) {
  RunningBatch& run = *message.batch;
  InstanceSlot& slot = slots_[run.instance.value];
  slot.run.reset();
  slot.exec = message.exec;
  if (message.error) {
    settle_failure(run.instance, run, *message.error);
    apply_events();  // what is tried again should know the batch limit that follows
  }
  advance(run.instance);
  apply_events();
}

void Dispatcher::on(ModelCame& message) {
  const ModelId id = message.added.model;
  std::vector<InstanceId>& numbered = message.added.instances;
  for (std::unique_ptr<Instance>& instance : message.instances) {
    numbered.push_back(free_slot());
    InstanceSlot& slot = slots_[numbered.back().value];
    slot.instance = std::move(instance);
    slot.remote = dynamic_cast<RemoteInstance*>(slot.instance.get());
    slot.model = id;
    slot.device = message.added.device;
    slot.outputs = message.replica->outputs;
  }
  // Before the scheduler hears of it, because it may start a batch at once.
  models_[id].served = message.model;
  models_[id].replicas.push_back({message.replica, slots_[numbered.front().value].remote});
  model_refused_.reset();
  if (message.further) {
    apply(scheduler::ReplicaAdded{id, message.added.device, numbered, message.added.profile});
  } else {
    apply(message.added);
  }
  if (!model_refused_) {
    message.model->add(message.replica);
    publish_p99(id);
    message.admission.set_value({});
    return;
  }
  Admission refused{std::unexpected(std::move(*model_refused_)), {}};
  for (const InstanceId instance : numbered) {
    refused.returned.push_back(std::move(slots_[instance.value].instance));
    slots_[instance.value] = {};
  }
  // One that was being removed may have gone with this very event.
  if (const auto model = models_.find(id); model != models_.end()) {
    model->second.replicas.pop_back();
    if (model->second.replicas.empty()) models_.erase(model);
  }
  message.admission.set_value(std::move(refused));
}

void Dispatcher::on(ModelGoes& message) {
  const auto model = models_.find(message.model);
  if (model == models_.end()) {
    message.drained.set_value({});
    return;
  }
  model->second.drained = std::move(message.drained);
  apply(scheduler::ModelRemoved{message.model, true});
}

void Dispatcher::on(StopBegins& message) {
  if (stopped_already_) {
    message.stopped.set_value();
    return;
  }
  stopped_.push_back(std::move(message.stopped));
  apply(scheduler::Stop{true});
}

void Dispatcher::on(HurryUp& message) {
  if (message.model) {
    apply(scheduler::ModelRemoved{*message.model, false});
  } else {
    apply(scheduler::Stop{false});
  }
  if (message.step != Hurry::abandon_running) return;
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].instance && (!message.model || slots_[i].model == *message.model))
      abandon(InstanceId{i});
  }
}

void Dispatcher::on(InstancesGone& message) {
  lose_instances(message.model, message.device);
  const auto model = models_.find(message.model);
  Replica* const gone = model == models_.end() ? nullptr : model->second.on(message.device);
  if (gone != nullptr && message.suspend) {
    gone->suspended = true;
    // As long as one device may have it again soon, its requests wait for that one.
    if (std::ranges::all_of(model->second.replicas, &Replica::suspended))
      events_.push_back(scheduler::ModelSuspended{message.model});
  }
  apply_events();
  publish_p99(message.model);
}

void Dispatcher::on(InstancesBack& message) {
  const auto model = models_.find(message.model);
  if (model == models_.end()) return;
  if (Replica* const back = model->second.on(message.device)) back->suspended = false;
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    InstanceSlot& slot = slots_[i];
    if (!slot.instance || slot.model != message.model || slot.device != message.device) continue;
    // What it ran before has ended by now: that was posted first.
    slot.lost = false;
    apply(scheduler::InstanceReady{InstanceId{i}, message.model});
  }
  publish_p99(message.model);
}

void Dispatcher::on(ProfileWanted& message) {
  message.profile.set_value(scheduler_.profile(message.model, message.device));
}

void Dispatcher::on(ClockMoved& /*message*/) {}  // work() looks at the clock

// Actions of the scheduler ------------------------------------------------------------------------

void Dispatcher::apply(scheduler::Event event) {
  events_.push_back(std::move(event));
  apply_events();
}

void Dispatcher::apply_events() {
  while (!events_.empty()) {
    const scheduler::Event next = std::move(events_.front());
    events_.pop_front();
    actions_.clear();
    scheduler_.apply(next, clock_.now(), actions_);
    for (const scheduler::Action& action : actions_)
      std::visit([this](const auto& a) { act(a); }, action);
  }
}

void Dispatcher::act(const scheduler::StartBatch& action) {
  InstanceSlot& slot = slots_[action.instance.value];
  slot.batch = action.batch;
  slot.failure.reset();
  slot.exec = {};
  slot.usual = action.usual;
  const TimePoint now = clock_.now();
  std::shared_ptr<SlotPool> outputs = slot.remote ? slot.remote->outputs() : nullptr;
  if (outputs == nullptr) outputs = slot.outputs;
  PendingRequests members;
  members.reserve(action.requests.size());
  int rows = 0;
  for (const RequestId id : action.requests) {
    std::unique_ptr<PendingRequest> request = take_waiting(id);
    if (!request || !request->acquire_outputs(*outputs, now)) continue;
    rows += static_cast<int>(request->request.rows);
    members.push_back(std::move(request));
  }
  if (members.empty()) {
    slot.failure = ErrorKind::out_of_memory;
  } else {
    ++counters_->batches;
    counters_->rows += static_cast<std::uint64_t>(rows);
    start_run(action.instance, std::move(members), true);
  }
  advance(action.instance);
}

void Dispatcher::act(const scheduler::Refuse& action) {
  const std::unique_ptr<PendingRequest> request = take_waiting(action.request);
  if (!request) return;
  Error error = scheduler::describe(action).within(request->model->label());
  if (action.reason != scheduler::RefusalReason::shed) return request->refuse(std::move(error));
  note_shed(*request);
  request->answer_error(std::move(error));
}

void Dispatcher::act(const scheduler::Expire& action) {
  const std::unique_ptr<PendingRequest> request = take_waiting(action.request);
  if (!request) return;
  ++counters_->expired;
  request->answer_error({ErrorKind::deadline_exceeded,
                         request->model->label() +
                             ": its deadline came too near while it waited for an instance; give "
                             "it more time, add instances or devices, or send less"});
}

void Dispatcher::act(const scheduler::Cancelled& action) {
  const std::unique_ptr<PendingRequest> request = take_waiting(action.request);
  if (!request) return;
  ++counters_->cancelled;
  request->answer_error(
      {ErrorKind::cancelled, request->model->label() + ": withdrawn while it waited"});
}

void Dispatcher::act(const scheduler::ArmTimer& action) {
  timer_at_ = action.at;
}

void Dispatcher::act(const scheduler::ModelRefused& action) {
  model_refused_ = action.error;
}

void Dispatcher::act(const scheduler::ModelDrained& action) {
  const auto model = models_.find(action.model);
  if (model == models_.end()) return;
  Instances instances;
  for (InstanceSlot& slot : slots_) {
    if (!slot.instance || slot.model != action.model) continue;
    instances.push_back(std::move(slot.instance));
    slot = {};
  }
  if (model->second.drained) model->second.drained->set_value(std::move(instances));
  models_.erase(model);
}

void Dispatcher::act(const scheduler::LaneReserved& /*action*/) {
  happenings_.count(EventKind::lane_reserved);
}

void Dispatcher::act(const scheduler::Stopped& /*action*/) {
  stopped_already_ = true;
  for (std::promise<void>& stopped : stopped_) stopped.set_value();
  stopped_.clear();
}

// Lookups -----------------------------------------------------------------------------------------

std::unique_ptr<PendingRequest> Dispatcher::take_waiting(RequestId id) {
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return nullptr;
  std::unique_ptr<PendingRequest> request = std::move(found->second);
  waiting_.erase(found);
  return request;
}

InstanceId Dispatcher::free_slot() {
  const auto free = std::ranges::find_if(slots_, [](const InstanceSlot& s) { return !s.instance; });
  const auto index = static_cast<std::uint32_t>(free - slots_.begin());
  if (free == slots_.end()) slots_.emplace_back();
  return InstanceId{index};
}

}  // namespace takt::engine
