// SPDX-License-Identifier: Apache-2.0
// For tests: an independent picture of what waits and runs, kept from events and actions alone.
// Thread-safe: no.
// Owns: its picture; plain maps and linear scans, so that it is easy to trust.
#pragma once

#include "scheduler/queue.h"
#include "scheduler/simulator.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

namespace takt::scheduler {

struct MirrorRequest {
  RequestId id;
  Urgency urgency;
  int rows = 1;
  std::int64_t bytes = 0;
  friend bool operator<(const MirrorRequest& a, const MirrorRequest& b) {
    return a.urgency < b.urgency;
  }
};

struct MirrorInstance {
  DeviceId device;
  bool ready = true;
  std::optional<BatchId> batch;
  TimePoint expected_end;
};

// How many rows a batch of several requests may have on a device, by the actions alone.
struct MirrorLimit {
  int rows = 0;
  TimePoint raise_at = kNever;
};

struct MirrorModel {
  ModelAdded added;
  std::vector<MirrorRequest> waiting;  // sorted by urgency
  std::map<std::uint32_t, MirrorInstance> instances;
  std::map<DeviceId, MirrorLimit> lowered;  // below rows_max

  [[nodiscard]] int limit(DeviceId device) const {
    const auto found = lowered.find(device);
    return found == lowered.end() ? rows_max() : found->second.rows;
  }
  [[nodiscard]] int rows_max() const { return std::max(1, added.limits.batch_max); }
  [[nodiscard]] int idle(DeviceId device) const {
    return static_cast<int>(std::ranges::count_if(instances, [device](const auto& i) {
      return i.second.device == device && i.second.ready && !i.second.batch;
    }));
  }
  [[nodiscard]] bool ready_on(DeviceId device) const {
    return std::ranges::any_of(
        instances, [device](const auto& i) { return i.second.device == device && i.second.ready; });
  }
  [[nodiscard]] std::set<DeviceId> devices() const {
    std::set<DeviceId> found;
    for (const auto& [id, instance] : instances) found.insert(instance.device);
    return found;
  }
  [[nodiscard]] int running() const {
    return static_cast<int>(
        std::ranges::count_if(instances, [](const auto& i) { return i.second.batch.has_value(); }));
  }
  [[nodiscard]] bool runnable(DeviceId device) const {
    const int limit = added.limits.concurrency_max;
    return !waiting.empty() && idle(device) > 0 && (limit == 0 || running() < limit);
  }
  // Of the requests that are at least as urgent as that class.
  [[nodiscard]] std::int64_t bytes_waiting(
      PriorityClass priority = PriorityClass::background) const {
    std::int64_t bytes = 0;
    for (const MirrorRequest& request : waiting) {
      if (request.urgency.priority <= priority) bytes += request.bytes;
    }
    return bytes;
  }
  [[nodiscard]] std::int64_t rows_waiting() const {
    std::int64_t rows = 0;
    for (const MirrorRequest& request : waiting) rows += request.rows;
    return rows;
  }
};

class Mirror {
 public:
  explicit Mirror(const Workload& workload) : workload_(workload) {}

  // What the event changes before the scheduler acts. An arrival waits until an action takes it.
  void note(const Event& event) {
    if (const auto* added = std::get_if<ModelAdded>(&event)) {
      MirrorModel& model = models_[added->model.value];
      model.added = *added;
      place(model, added->device, added->instances);
    } else if (const auto* replica = std::get_if<ReplicaAdded>(&event)) {
      place(models_.at(replica->model.value), replica->device, replica->instances);
    } else if (const auto* arrived = std::get_if<RequestArrived>(&event)) {
      add({arrived->request,
           {arrived->priority, arrived->deadline, take_turn(*arrived), ++arrivals_},
           arrived->rows,
           arrived->bytes},
          arrived->model);
    } else if (const auto* done = std::get_if<BatchCompleted>(&event)) {
      MirrorInstance& instance = instance_of(done->instance);
      if (instance.batch == done->batch) instance.batch.reset();
    } else if (const auto* lost = std::get_if<InstanceLost>(&event)) {
      MirrorInstance& instance = instance_of(lost->instance);
      instance.ready = false;
      instance.batch.reset();
    } else if (const auto* ready = std::get_if<InstanceReady>(&event)) {
      instance_of(ready->instance).ready = true;
    }
  }

  // What an action changes; false when it speaks of something that isn't so.
  [[nodiscard]] bool note(const StartBatch& action) {
    MirrorInstance& instance = instance_of(action.instance);
    instance.batch = action.batch;
    instance.expected_end = action.expected_end;
    for (const RequestId id : action.requests) {
      const MirrorRequest* const request = find(id);
      if (request == nullptr) return false;
      auto& begun = begun_[static_cast<std::size_t>(request->urgency.priority)];
      begun = std::max(begun, request->urgency.turn);
    }
    return std::ranges::all_of(action.requests, [this](RequestId id) { return remove(id); });
  }
  // An arrival that was refused takes no turn.
  [[nodiscard]] bool refuse(RequestId id) {
    if (last_turn_ != nullptr && last_arrival_ == id) *last_turn_ = turn_before_;
    return remove(id);
  }
  void note(const BatchLimitChanged& action, TimePoint raise_at) {
    MirrorModel& model = models_.at(action.model.value);
    if (action.rows < model.rows_max()) {
      model.lowered[action.device] = {action.rows, raise_at};
    } else {
      model.lowered.erase(action.device);
    }
  }
  // Memory ran out again: the quiet time begins anew.
  void postpone_raise(ModelId model, DeviceId device, TimePoint raise_at) {
    const auto found = models_.at(model.value).lowered.find(device);
    if (found != models_.at(model.value).lowered.end()) found->second.raise_at = raise_at;
  }
  [[nodiscard]] bool remove(RequestId id) {
    for (auto& [index, model] : models_) {
      const auto found = std::ranges::find(model.waiting, id, &MirrorRequest::id);
      if (found == model.waiting.end()) continue;
      model.waiting.erase(found);
      return true;
    }
    return false;
  }

  [[nodiscard]] const std::map<std::uint32_t, MirrorModel>& models() const { return models_; }
  [[nodiscard]] const MirrorModel& model(ModelId id) const { return models_.at(id.value); }
  // The model and the device of an instance.
  [[nodiscard]] std::pair<ModelId, DeviceId> place_of(InstanceId id) const {
    for (const auto& [index, model] : models_) {
      const auto found = model.instances.find(id.value);
      if (found != model.instances.end()) return {ModelId{index}, found->second.device};
    }
    throw std::out_of_range("no instance " + std::to_string(id.value));
  }
  [[nodiscard]] const MirrorRequest* find(RequestId id) const {
    for (const auto& [index, model] : models_) {
      const auto found = std::ranges::find(model.waiting, id, &MirrorRequest::id);
      if (found != model.waiting.end()) return &*found;
    }
    return nullptr;
  }
  [[nodiscard]] std::vector<TimePoint> busy_until(DeviceId device) const {
    std::vector<TimePoint> ends;
    for (const auto& [index, model] : models_) {
      for (const auto& [id, instance] : model.instances) {
        if (instance.device == device && instance.batch) ends.push_back(instance.expected_end);
      }
    }
    return ends;
  }
  [[nodiscard]] int lanes(DeviceId device) const {
    return workload_.options.devices[device.value].lanes;
  }
  [[nodiscard]] std::size_t waiting() const {
    std::size_t count = 0;
    for (const auto& [index, model] : models_) count += model.waiting.size();
    return count;
  }
  [[nodiscard]] std::size_t running() const {
    std::size_t count = 0;
    for (std::uint32_t i = 0; i < workload_.options.devices.size(); ++i) {
      count += busy_until(DeviceId{i}).size();
    }
    return count;
  }

 private:
  // Start-time fair queueing, as FairTurns says it, without forgetting any flow.
  std::uint64_t take_turn(const RequestArrived& arrived) {
    last_turn_ = nullptr;
    if (arrived.deadline != kNever) return 0;
    last_arrival_ = arrived.request;
    last_turn_ = &flows_[{arrived.priority, arrived.model, arrived.flow}];
    turn_before_ = *last_turn_;
    const std::uint64_t turn =
        std::max(turn_before_, begun_[static_cast<std::size_t>(arrived.priority)]);
    *last_turn_ = turn + static_cast<std::uint64_t>(arrived.rows);
    return turn;
  }
  static void place(MirrorModel& model, DeviceId device, const std::vector<InstanceId>& instances) {
    for (const InstanceId instance : instances) {
      model.instances[instance.value] = {
          .device = device, .ready = true, .batch = {}, .expected_end = {}};
    }
  }
  void add(const MirrorRequest& request, ModelId model) {
    auto& waiting = models_.at(model.value).waiting;
    waiting.insert(std::upper_bound(waiting.begin(), waiting.end(), request), request);
  }
  MirrorInstance& instance_of(InstanceId id) {
    for (auto& [index, model] : models_) {
      const auto found = model.instances.find(id.value);
      if (found != model.instances.end()) return found->second;
    }
    throw std::out_of_range("no instance " + std::to_string(id.value));
  }

  const Workload& workload_;
  std::map<std::uint32_t, MirrorModel> models_;
  std::uint64_t arrivals_ = 0;
  std::map<std::tuple<PriorityClass, ModelId, FlowId>, std::uint64_t> flows_;  // their next turns
  std::array<std::uint64_t, kPriorityClassCount> begun_{};
  RequestId last_arrival_;
  std::uint64_t* last_turn_ = nullptr;
  std::uint64_t turn_before_ = 0;
};

}  // namespace takt::scheduler
