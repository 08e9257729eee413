// SPDX-License-Identifier: Apache-2.0
// The state behind Scheduler: scheduler.cc takes events, admission.cc admits, dispatch.cc starts.
// Thread-safe: no.
// Owns: everything that the scheduler knows.
#pragma once

#include "scheduler/fair_turns.h"
#include "scheduler/indexed_heap.h"
#include "scheduler/profile.h"
#include "scheduler/queue.h"
#include "scheduler/scheduler.h"

#include <algorithm>
#include <memory_resource>
#include <unordered_map>

namespace takt::scheduler {

// A model is known by its id's value as index, an instance and a device likewise.
struct ModelState {
  ModelState(const ModelAdded& added, RequestPool& pool)
      : id(added.model),
        device(added.device.value),
        limits(added.limits),
        profile(added.profile, added.limits.batch_max),
        queue(pool) {}

  // Batches that may run at once, and further ones that may start now.
  [[nodiscard]] int concurrency() const noexcept {
    const auto ready = static_cast<int>(instances.size());
    return limits.concurrency_max > 0 ? std::min(ready, limits.concurrency_max) : ready;
  }
  [[nodiscard]] int startable() const noexcept {
    const auto running = static_cast<int>(instances.size() - idle.size());
    return std::min(static_cast<int>(idle.size()), concurrency() - running);
  }
  [[nodiscard]] int batch_rows_max() const noexcept {
    return limits.batch_max > 0 ? limits.batch_max : 1;
  }

  ModelId id;
  std::uint32_t device;
  ModelLimits limits;
  LatencyProfile profile;
  ModelQueue queue;
  std::vector<std::uint32_t> instances;  // ready ones, running or idle
  std::vector<std::uint32_t> idle;       // of those
  bool draining = false;
  bool suspended = false;
  std::int64_t waiting_bytes = 0;
  Duration waiting_work{};  // least work of its queue, as counted in DeviceState::waiting_work
  std::uint32_t place_in_waiting = UINT32_MAX;  // in DeviceState::waiting
  TimePoint hold_started = kNever;              // since when work waits that was held back
};

struct InstanceState {
  bool known = false;
  bool ready = false;
  bool busy = false;
  std::uint32_t model = 0;
  // Of the batch that runs.
  BatchId batch;
  int rows = 0;
  TimePoint expected_end;
  PriorityClass leader = PriorityClass::normal;
  bool background_waited = false;
  Duration charged{};
  std::vector<RequestId> requests;
};

struct DeviceState {
  int lanes = 1;
  std::vector<std::uint32_t> running;  // instances
  // Models with a request waiting and an instance that may start it, by their first request.
  IndexedHeap<Urgency> runnable;
  std::vector<std::uint32_t> waiting;  // models with a request waiting
  Duration waiting_work{};             // least work of all that waits
  std::int64_t background_waiting = 0;
  Duration background_owed{};  // above 0: background got less than its share while it waited
  [[nodiscard]] int free_lanes() const noexcept { return lanes - static_cast<int>(running.size()); }
};

class Scheduler::State {
 public:
  explicit State(SchedulerOptions options);

  void apply(const Event& event, TimePoint now, std::vector<Action>& actions_out);
  [[nodiscard]] const ModelState* find(ModelId model) const;
  [[nodiscard]] std::size_t waiting() const noexcept { return pool_.in_use(); }
  [[nodiscard]] std::size_t running() const noexcept { return running_; }
  [[nodiscard]] const SchedulerStatistics& statistics() const noexcept { return statistics_; }

 private:
  // scheduler.cc: what an event changes.
  void on(const ModelAdded& event);
  void on(const ModelRemoved& event);
  void on(const ModelSuspended& event);
  void on(const InstanceLost& event);
  void on(const InstanceReady& event);
  void on(const RequestArrived& event);
  void on(const RequestCancelled& event);
  void on(const BatchCompleted& event);
  void on(const TimerFired& event);
  void on(const Stop& event);
  [[nodiscard]] Result<void> check(const ModelAdded& event) const;
  void add_instance(ModelState& model, std::uint32_t instance);
  void leave_queue(std::uint32_t index);
  void end_batch(InstanceState& instance, std::uint32_t index);
  void refuse_waiting(ModelState& model, RefusalReason reason);
  void expire_due();
  void arm_timer();
  void finish_drains();
  void model_changed(ModelState& model);
  [[nodiscard]] ModelState* find_mutable(ModelId model);
  [[nodiscard]] ModelState& model_of(std::uint32_t index) { return *models_[index]; }

  // admission.cc
  void admit(const RequestArrived& event, ModelState& model);
  [[nodiscard]] Urgency urgency_of(const RequestArrived& event);
  void refuse(RequestId request, ModelId model, RefusalReason reason, std::int64_t limit = 0,
              Duration late_by = {});
  [[nodiscard]] TimePoint earliest_finish(const ModelState& model, const Urgency& urgency,
                                          int rows);
  // What must have been started before a request may start, as far as it is known to go first.
  struct Backlog {
    Duration others{};     // of other models
    Duration own_model{};  // of its own model, without itself
    Duration longest{};    // the longest batch among all that
  };
  [[nodiscard]] Backlog backlog_before(const ModelState& model, const Urgency& urgency, int rows);
  [[nodiscard]] TimePoint start_after(const ModelState& model, const Backlog& backlog);
  [[nodiscard]] Duration passable_work(int lanes_max);
  [[nodiscard]] TimePoint hopeless_at(const ModelState& model, TimePoint deadline, int rows) const;
  [[nodiscard]] bool hopeless(const WaitingRequest& request) const;

  // dispatch.cc
  struct Claim {
    Urgency urgency;
    Duration exec{};
    TimePoint start_latest = kNever;  // kNever: no claim
  };
  struct Batch {
    ModelState* model = nullptr;
    InstanceState* instance = nullptr;
    int rows = 0;
    TimePoint deadline_min = kNever;
  };
  void dispatch(std::uint32_t device_index);
  [[nodiscard]] std::uint32_t choose_leader(DeviceState& device);
  [[nodiscard]] std::uint32_t first_background(const DeviceState& device) const;
  [[nodiscard]] bool hold(std::uint32_t device_index, ModelState& model);
  void start(DeviceState& device, std::uint32_t leader);
  void grow(DeviceState& device, Batch& batch, bool background_only);
  void collect_claims(const DeviceState& device, const ModelState& own, TimePoint finish_alone);
  [[nodiscard]] int rows_worth_taking(const DeviceState& device, const Batch& batch) const;
  void take(Batch& batch, std::uint32_t index);
  void expire(std::uint32_t index);
  void charge(DeviceState& device, const InstanceState& instance, Duration lane_time);

  SchedulerOptions options_;
  std::vector<DeviceState> devices_;
  std::vector<std::unique_ptr<ModelState>> models_;
  std::vector<InstanceState> instances_;
  RequestPool pool_;
  std::pmr::unsynchronized_pool_resource memory_;  // recycles the map's nodes
  std::pmr::unordered_map<std::uint64_t, std::uint32_t> by_id_{&memory_};
  IndexedHeap<TimePoint> hopeless_at_;  // waiting requests, by when they can't be in time any more
  IndexedHeap<TimePoint> holds_;        // devices that idle until then, so that a batch may fill
  std::array<FairTurns, kPriorityClassCount> turns_;
  std::vector<std::uint32_t> drains_;   // models to look at when the event has been handled
  std::vector<std::uint32_t> touched_;  // devices to dispatch
  struct OthersWork {
    Duration work{};
    int instances = 0;
  };
  std::vector<Claim> claims_;           // scratch
  std::vector<OthersWork> others_;      // scratch
  std::vector<TimePoint> free_at_;      // scratch
  std::vector<Action>* out_ = nullptr;  // only while apply runs
  TimePoint now_{};
  TimePoint armed_ = kNever;
  std::uint64_t arrivals_ = 0;
  std::uint64_t batches_ = 0;
  std::size_t running_ = 0;
  bool stopping_ = false;
  bool stopped_ = false;
  SchedulerStatistics statistics_;
};

// The earliest time at which lanes that are free from `free_at` on can have done `work` between
// them: fills the lanes like a tank of uneven floor. Sorts `free_at`.
[[nodiscard]] TimePoint time_after_work(std::vector<TimePoint>& free_at, Duration work);

}  // namespace takt::scheduler
