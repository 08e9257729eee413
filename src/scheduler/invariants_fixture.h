// SPDX-License-Identifier: Apache-2.0
// For tests: checks every action of a simulation against the rules that the scheduler promises.
// Thread-safe: no.
// Owns: its mirror and the violations found.
#pragma once

#include "scheduler/mirror_fixture.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace takt::scheduler {

class Invariants : public SimulationObserver {
 public:
  explicit Invariants(const Workload& workload) : workload_(workload), mirror_(workload) {
    for (const SimulatedModel& model : workload.models) {
      if (!model.expected.empty()) announced_.insert(model.added.model.value);
      exact_ = exact_ && model.times == ExecutionTimes::exactly_p99 && model.slowdown == 1.0;
    }
  }

  void applied(const Event& event, TimePoint now, std::span<const Action> actions,
               const Scheduler& scheduler) override {
    now_ = now;
    event_ = &event;
    scheduler_ = &scheduler;
    mirror_.note(event);
    if (const auto* suspended = std::get_if<ModelSuspended>(&event))
      suspended_.insert(suspended->model.value);
    if (const auto* ready = std::get_if<InstanceReady>(&event))
      suspended_.erase(ready->model.value);
    if (const auto* out = std::get_if<RanOutOfMemory>(&event)) {
      const auto [model, device] = mirror_.place_of(out->instance);
      mirror_.postpone_raise(model, device, now + memory_quiet(device));
    }
    shed_now_ = 0;
    for (const Action& action : actions) {
      std::visit([this](const auto& asked) { check(asked); }, action);
    }
    check_nothing_overdue();
    check_limits_rise();
    for (std::uint32_t i = 0; i < workload_.options.devices.size(); ++i)
      check_not_idle(DeviceId{i});
    expect(mirror_.waiting() == scheduler.waiting(), "the same requests wait");
    expect(mirror_.running() == scheduler.running(), "the same batches run");
  }

  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }

 private:
  struct Idle {
    TimePoint since;
    RequestId leader;
  };

  void expect(bool holds, const std::string& rule) {
    if (holds || violations_.size() >= 5) return;
    violations_.push_back("at " + std::to_string(now_.time_since_epoch().count()) + " ns: " + rule);
  }

  void check(const StartBatch& action) {
    const MirrorModel& model = mirror_.model(action.model);
    const auto instance = model.instances.find(action.instance.value);
    expect(instance != model.instances.end(), "a batch runs on an instance of its own model");
    if (instance == model.instances.end()) return;
    expect(instance->second.ready, "a batch runs on an instance that is there");
    expect(!instance->second.batch, "an instance never runs two batches");
    const auto busy = mirror_.busy_until(instance->second.device);
    expect(static_cast<int>(busy.size()) < mirror_.lanes(instance->second.device),
           "a device never runs more batches than it has lanes");
    const DeviceId device = instance->second.device;
    expect(model.runnable(device), "a model never runs more batches than concurrency_max");
    expect(!action.requests.empty(), "a batch has a request");
    expect(
        action.expected_end == now_ + scheduler_->expected_p99(action.model, device, action.rows),
        "the expected end is the p99 of the profile");
    check_members(action, model);
    check_leads(model, device);
    check_claims(action, device, busy);
    moved_on(action.model.value);
    expect(mirror_.note(action), "a request runs once, and only when it waited");
  }

  void check_members(const StartBatch& action, const MirrorModel& model) {
    int rows = 0;
    TimePoint deadline = kNever;
    const bool whole_order = workload_.options.background_share_min == 0.0;
    for (std::size_t i = 0; i < action.requests.size(); ++i) {
      const auto found = std::ranges::find(model.waiting, action.requests[i], &MirrorRequest::id);
      expect(found != model.waiting.end(), "a batch doesn't mix models, and its requests waited");
      if (found == model.waiting.end()) return;
      rows += found->rows;
      deadline = std::min(deadline, found->urgency.deadline);
      const auto earlier =
          std::count_if(model.waiting.begin(), found, [&](const MirrorRequest& request) {
            return request.urgency.priority == found->urgency.priority &&
                   std::ranges::find(action.requests, request.id) == action.requests.end();
          });
      expect(earlier == 0, "earliest deadline first inside a class of a model");
      expect(!whole_order || found == model.waiting.begin() + static_cast<std::ptrdiff_t>(i),
             "a batch takes its model's requests in order of urgency");
    }
    expect(rows == action.rows && rows <= model.rows_max(), "a batch never exceeds batch_max rows");
    const DeviceId device = model.instances.at(action.instance.value).device;
    expect(action.requests.size() == 1 || rows <= model.limit(device),
           "a batch of several requests keeps the limit that memory leaves");
    expect(action.requests.size() == 1 || model.added.limits.batch_max > 0,
           "without a batch dimension a request is alone");
    expect(action.expected_end <= deadline, "no member of a batch is late by the profile");
  }

  void check_leads(const MirrorModel& model, DeviceId device) {
    if (workload_.options.background_share_min > 0.0 || model.waiting.empty()) return;
    for (const auto& [index, other] : mirror_.models()) {
      if (!other.runnable(device) || has_faster(other, device)) continue;
      expect(!(other.waiting.front() < model.waiting.front()),
             "the most urgent runnable request of a device leads the next batch");
    }
  }

  // A batch that grew must not make the first waiting request of a class of another model late.
  void check_claims(const StartBatch& action, DeviceId device, const std::vector<TimePoint>& busy) {
    if (action.requests.size() < 2) return;
    const MirrorRequest* const first = mirror_.find(action.requests.front());
    const MirrorRequest* const last = mirror_.find(action.requests.back());
    if (first == nullptr || last == nullptr) return;
    TimePoint other_lane = kNever;
    if (static_cast<int>(busy.size()) + 1 < mirror_.lanes(device)) other_lane = now_;
    for (const TimePoint end : busy) other_lane = std::min(other_lane, end);
    const TimePoint alone = now_ + scheduler_->expected_p99(action.model, device, first->rows);
    for (const auto& [index, other] : mirror_.models()) {
      if (index == action.model.value || !other.devices().contains(device)) continue;
      std::vector<bool> seen(kPriorityClassCount, false);
      for (const MirrorRequest& request : other.waiting) {
        if (!(request < *last) || request.urgency.deadline == kNever) continue;
        const auto priority = static_cast<std::size_t>(request.urgency.priority);
        if (seen[priority]) continue;
        seen[priority] = true;
        const Duration exec = scheduler_->expected_p99(ModelId{index}, device, request.rows);
        const TimePoint start_latest = request.urgency.deadline - exec;
        expect(alone > start_latest || std::min(action.expected_end, other_lane) <= start_latest,
               "growing makes no more urgent request of another model late");
      }
    }
  }

  void check(const Refuse& action) {
    const auto* arrived = std::get_if<RequestArrived>(event_);
    const auto* suspended = std::get_if<ModelSuspended>(event_);
    if (suspended != nullptr) {
      expect(action.reason == RefusalReason::model_suspended && action.model == suspended->model,
             "a suspension refuses what waits for its model");
      expect(mirror_.remove(action.request), "a request is answered once");
      return;
    }
    if (action.reason == RefusalReason::shed) return check_shed(action, arrived);
    expect(arrived != nullptr && arrived->request == action.request,
           "only an arriving request is refused, apart from what gives way to it");
    if (arrived == nullptr) return;
    expect(shed_now_ == 0, "nothing gives way to a request that is refused");
    expect((action.reason == RefusalReason::model_suspended) ==
               suspended_.contains(arrived->model.value),
           "a suspended model takes nothing, until an instance is ready");
    const MirrorModel& model = mirror_.model(arrived->model);
    if (action.reason == RefusalReason::queue_full) {
      const auto as_urgent =
          std::ranges::count_if(model.waiting, [arrived](const MirrorRequest& request) {
            return request.urgency.priority <= arrived->priority;
          });
      expect(as_urgent > model.added.limits.places(arrived->priority),
             "overloaded only when the queue is full of requests as urgent, which none of a lower "
             "class could make room in");
    }
    if (action.reason == RefusalReason::cannot_meet_deadline) {
      expect(action.kind == ErrorKind::deadline_exceeded && arrived->deadline != kNever,
             "refused for its deadline only when it has one");
    }
    if (action.reason == RefusalReason::queue_bytes_full) {
      expect(model.bytes_waiting(arrived->priority) > model.added.limits.queue_bytes_max,
             "overloaded only when no lower class can make room for its bytes");
    }
    expect(mirror_.refuse(action.request), "a request is answered once");
  }

  void check_shed(const Refuse& action, const RequestArrived* arrived) {
    ++shed_now_;
    expect(arrived != nullptr && arrived->model == action.model,
           "a request gives way only to one that arrives in its queue");
    if (arrived == nullptr) return;
    const MirrorModel& model = mirror_.model(action.model);
    const MirrorRequest& last = model.waiting.back();
    expect(last.id == action.request, "the least urgent request gives way");
    expect(last.urgency.priority > arrived->priority, "only a lower class gives way");
    const ModelLimits& limits = model.added.limits;
    expect(static_cast<int>(model.waiting.size()) > limits.places(arrived->priority) ||
               (limits.queue_bytes_max > 0 && model.bytes_waiting() > limits.queue_bytes_max),
           "a request gives way only when the queue is full");
    expect(mirror_.remove(action.request), "a request is answered once");
  }

  void check(const Expire& action) {
    const MirrorRequest* const request = mirror_.find(action.request);
    expect(request != nullptr, "only a waiting request expires");
    if (request == nullptr) return;
    const auto* arrived = std::get_if<RequestArrived>(event_);
    expect(arrived == nullptr || arrived->request != action.request,
           "an arrival is refused, not expired");
    if (exact_) expect(is_hopeless(*request), "expired only when it can't be in time");
    expect(mirror_.remove(action.request), "a request is answered once");
  }

  [[nodiscard]] bool is_hopeless(const MirrorRequest& request) const {
    for (const auto& [index, model] : mirror_.models()) {
      if (std::ranges::find(model.waiting, request.id, &MirrorRequest::id) == model.waiting.end()) {
        continue;
      }
      const Duration exec = scheduler_->expected_p99(ModelId{index}, request.rows);
      return now_ + exec > request.urgency.deadline || now_ >= request.urgency.deadline;
    }
    return false;
  }

  void check(const Cancelled& action) {
    const auto* cancelled = std::get_if<RequestCancelled>(event_);
    expect(cancelled != nullptr && cancelled->request == action.request, "cancelled when asked to");
    expect(mirror_.remove(action.request), "a request is answered once");
  }
  void check(const ArmTimer& action) { expect(action.at > now_, "a timer lies ahead"); }
  void check(const ModelRefused& /*action*/) { expect(false, "the models are accepted"); }
  void check(const ModelDrained& /*action*/) { expect(false, "no model is removed"); }
  void check(const LaneReserved& action) {
    reserved_until_[action.device] = action.until;
    expect(action.until > now_, "a reservation lies ahead");
    expect(announced_.contains(action.expected.value), "a lane is reserved only as announced");
    const auto& models = mirror_.models();
    expect(std::ranges::none_of(models,
                                [&](const auto& model) {
                                  return model.second.runnable(action.device) &&
                                         !has_faster(model.second, action.device) &&
                                         model.second.waiting.front().urgency.priority ==
                                             PriorityClass::critical;
                                }),
           "no critical request waits behind a reservation");
  }
  void check(const BatchLimitChanged& action) {
    const MirrorModel& model = mirror_.model(action.model);
    const int before = model.limit(action.device);
    expect(action.rows_before == before && action.rows_max == model.rows_max(),
           "a limit is told as it is");
    if (action.rows < before) {
      const auto* out = std::get_if<RanOutOfMemory>(event_);
      expect(out != nullptr &&
                 mirror_.place_of(out->instance) == std::pair(action.model, action.device),
             "a limit falls only where memory ran out");
      expect(out == nullptr || action.rows == (out->rows + 1) / 2, "to half of what was too much");
    } else {
      expect(action.rows == std::min(2 * before, model.rows_max()), "a limit rises step by step");
      expect(
          model.lowered.contains(action.device) && now_ >= model.lowered.at(action.device).raise_at,
          "a limit rises only after a quiet time");
    }
    mirror_.note(action, now_ + memory_quiet(action.device));
  }
  void check(const Stopped& /*action*/) {
    expect(mirror_.waiting() == 0 && mirror_.running() == 0, "stopped only when nothing is left");
  }

  void check_nothing_overdue() {
    for (const auto& [index, model] : mirror_.models()) {
      for (const MirrorRequest& request : model.waiting) {
        expect(request.urgency.deadline > now_, "nothing waits beyond its deadline");
      }
    }
  }

  void check_limits_rise() {
    for (const auto& [index, model] : mirror_.models()) {
      for (const auto& [device, limit] : model.lowered) {
        expect(limit.raise_at > now_, "a limit doesn't stay low beyond the quiet time");
      }
    }
  }

  [[nodiscard]] Duration memory_quiet(DeviceId device) const {
    return workload_.options.devices[device.value].memory_quiet;
  }

  void moved_on(std::uint32_t model) {
    std::erase_if(idle_since_, [model](const auto& idle) { return idle.first.first == model; });
  }

  // The most urgent request of the model would be done earlier on another device, were it free.
  [[nodiscard]] bool has_faster(const MirrorModel& model, DeviceId device) const {
    const int rows = model.waiting.front().rows;
    const Duration here = scheduler_->expected_p99(model.added.model, device, rows);
    return std::ranges::any_of(model.devices(), [&](DeviceId other) {
      return model.ready_on(other) &&
             scheduler_->expected_p99(model.added.model, other, rows) < here;
    });
  }

  // Work left to a faster device: as long as that may gain something, or while it would be late here.
  [[nodiscard]] bool may_defer(const MirrorModel& model, DeviceId device, Idle& idle) const {
    if (!has_faster(model, device)) return false;
    const MirrorRequest& first = model.waiting.front();
    const Duration here = scheduler_->expected_p99(model.added.model, device, first.rows);
    const bool late_here = now_ + here > first.urgency.deadline;
    if (late_here || idle.leader != first.id) idle = {now_, first.id};
    if (late_here) return true;
    const Duration least = scheduler_->expected_p99(model.added.model, first.rows);
    return now_ - idle.since < here - least + model.added.limits.batch_delay_max;
  }

  void check_not_idle(DeviceId device) {
    int runnable = 0;
    const MirrorModel* held = nullptr;
    const bool lane_free =
        static_cast<int>(mirror_.busy_until(device).size()) < mirror_.lanes(device);
    for (const auto& [index, model] : mirror_.models()) {
      const auto key = std::pair(index, device);
      if (model.waiting.empty()) hold_since_.erase(index), idle_since_.erase(key);
      if (!lane_free || !model.runnable(device)) {
        idle_since_.erase(key);
        continue;
      }
      Idle& idle = idle_since_.try_emplace(key, Idle{now_, model.waiting.front().id}).first->second;
      if (may_defer(model, device, idle)) continue;
      ++runnable;
      held = &model;
    }
    if (runnable == 0 || now_ < reserved_until_[device]) return;
    const TimePoint since = hold_since_.try_emplace(held->added.model.value, now_).first->second;
    const bool may_hold = runnable == 1 && held->rows_waiting() < held->rows_max() &&
                          now_ - since < held->added.limits.batch_delay_max;
    expect(may_hold, "a lane never idles with runnable work, except for a stated batch delay");
  }

  const Workload& workload_;
  Mirror mirror_;
  std::map<std::uint32_t, TimePoint> hold_since_;
  std::map<DeviceId, TimePoint> reserved_until_;
  std::set<std::uint32_t> announced_;  // models
  std::set<std::uint32_t> suspended_;  // models
  std::map<std::pair<std::uint32_t, DeviceId>, Idle> idle_since_;
  std::vector<std::string> violations_;
  const Event* event_ = nullptr;
  const Scheduler* scheduler_ = nullptr;
  TimePoint now_{};
  int shed_now_ = 0;  // by the present event
  bool exact_ = true;
};

}  // namespace takt::scheduler
