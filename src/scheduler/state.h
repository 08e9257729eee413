// SPDX-License-Identifier: Apache-2.0
// The state behind Scheduler: scheduler.cc takes events, admission.cc admits, dispatch.cc starts.
// Thread-safe: no.
// Owns: everything that the scheduler knows.
#pragma once

#include "scheduler/batch_limit.h"
#include "scheduler/expected_arrivals.h"
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

// A model on one device.
struct Replica {
  std::uint32_t device = 0;
  LatencyProfile profile;
  BatchLimit limit;
  int homes = 0;                                // instances that were ever added
  std::vector<std::uint32_t> instances;         // ready ones, running or idle
  std::vector<std::uint32_t> idle;              // of those
  std::uint32_t place_in_waiting = UINT32_MAX;  // in DeviceState::waiting
  Duration around{};  // what a batch takes of its lane beside its execution, smoothed
  TimePoint deferred_since = kNever;  // its device could run the model, but a faster one will
  int batches_since_try = 0;          // that could have been twice as large as is worth it
};

// A set of devices, by index.
using DeviceSet = std::uint64_t;
static_assert(kDevicesMax <= 64);

struct ModelState {
  ModelState(const ModelAdded& added, RequestPool& requests)
      : id(added.model), limits(added.limits), queue(requests) {}

  // Batches that may run at once, and further ones that may start now.
  [[nodiscard]] int concurrency() const noexcept {
    return limits.concurrency_max > 0 ? std::min(ready, limits.concurrency_max) : ready;
  }
  [[nodiscard]] int startable() const noexcept {
    return std::min(ready - running, concurrency() - running);
  }
  [[nodiscard]] int startable(const Replica& replica) const noexcept {
    return std::min(static_cast<int>(replica.idle.size()), concurrency() - running);
  }
  [[nodiscard]] int batch_rows_max() const noexcept {
    return limits.batch_max > 0 ? limits.batch_max : 1;
  }
  // Of what waits and is at least as urgent as that class.
  [[nodiscard]] int depth_up_to(PriorityClass priority) const noexcept {
    int depth = 0;
    for (std::size_t i = 0; i <= static_cast<std::size_t>(priority); ++i) depth += waiting[i];
    return depth;
  }
  [[nodiscard]] std::int64_t bytes_up_to(PriorityClass priority) const noexcept {
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i <= static_cast<std::size_t>(priority); ++i) bytes += waiting_bytes[i];
    return bytes;
  }
  [[nodiscard]] Replica* on(std::uint32_t device) noexcept {
    const auto found = std::ranges::find(replicas, device, &Replica::device);
    return found == replicas.end() ? nullptr : &*found;
  }
  // The p99 where it is shortest, among replicas with a ready instance if there are any.
  [[nodiscard]] Duration p99_least(std::int64_t rows) const;
  [[nodiscard]] Duration p99_most(std::int64_t rows) const;
  // Of all replicas: in whatever way they share the rows, it takes no less.
  [[nodiscard]] Duration least_work(std::int64_t rows) const;
  // The part of full batches that a request of so many rows takes, at least.
  [[nodiscard]] std::int64_t share_of_full_batches_ns(int rows) const;
  [[nodiscard]] LatencyProfile::Line least_line() const;
  [[nodiscard]] bool usable(const Replica& replica) const noexcept {
    return ready == 0 || !replica.instances.empty();
  }

  ModelId id;
  ModelLimits limits;
  ModelQueue queue;
  std::vector<Replica> replicas;  // in the order in which they came
  int ready = 0;                  // instances, of all replicas
  int running = 0;                // of those
  bool draining = false;
  bool suspended = false;
  std::array<int, kPriorityClassCount> waiting{};                 // requests by class
  std::array<std::int64_t, kPriorityClassCount> waiting_bytes{};  // likewise
  std::int64_t background_waiting = 0;
  std::vector<ArrivalsExpected> announced;
  Duration waiting_work{};                   // least work of its queue, as counted in its pool
  std::uint32_t pool = UINT32_MAX;           // of State::pools_
  std::uint32_t place_in_pool = UINT32_MAX;  // in Pool::waiting
  TimePoint hold_started = kNever;           // since when work waits that was held back
};

// Models that may run on exactly these devices.
struct Pool {
  DeviceSet devices = 0;
  bool ready = false;  // with an instance there; models without are counted apart
  int lanes = 0;
  std::vector<std::uint32_t> waiting;  // models with a request waiting
  Duration waiting_work{};             // least work of all that waits
  Duration longest{};                  // p99 of the longest batch that any of its models ever had
  // Once many models wait: all their requests, and the models with most work first. Before, looking
  // at each model is exact and faster.
  bool indexed = false;
  PoolTree requests;
  IndexedHeap<std::int64_t> most_work;  // negative, by model
};

struct InstanceState {
  bool known = false;
  bool ready = false;
  bool busy = false;
  std::uint32_t model = 0;
  std::uint32_t device = 0;
  int home = 0;  // the lane that it should have: its place among its model's instances there
  // Of the batch that runs.
  BatchId batch;
  int rows = 0;
  TimePoint started;
  TimePoint expected_end;
  PriorityClass leader = PriorityClass::normal;
  bool background_waited = false;
  Duration charged{};
  std::vector<RequestId> requests;
};

struct DeviceState {
  DeviceState(int lane_count, Duration memory)
      : lanes(lane_count), at_home(static_cast<std::size_t>(lane_count)), expected(memory) {}

  int lanes = 1;
  std::vector<int> at_home;  // batches that run, by the home of their instance
  Duration memory_quiet{};
  double batch_gain_min = 0;
  std::vector<std::uint32_t> running;  // instances
  // Models with a request waiting and an instance that may start it, by their first request.
  IndexedHeap<Urgency> runnable;
  std::vector<std::uint32_t> waiting;   // models with a replica here and a request waiting
  std::int64_t background_waiting = 0;  // requests that may run here
  ExpectedArrivals expected;
  TimePoint reserved_since = kNever;  // a lane idles for an expected arrival
  TimePoint reserved_until = kNever;
  Duration background_owed{};  // above 0: background got less than its share while it waited
  [[nodiscard]] int free_lanes() const noexcept { return lanes - static_cast<int>(running.size()); }
};

class Scheduler::State {
 public:
  explicit State(SchedulerOptions options);

  void apply(const Event& event, TimePoint now, std::vector<Action>& actions_out);
  [[nodiscard]] const ModelState* find(ModelId model) const;
  [[nodiscard]] const Replica* find(ModelId model, DeviceId device) const;
  [[nodiscard]] std::size_t waiting() const noexcept { return pool_.in_use(); }
  [[nodiscard]] std::size_t running() const noexcept { return running_; }
  [[nodiscard]] const SchedulerStatistics& statistics() const noexcept { return statistics_; }

 private:
  // scheduler.cc: what an event changes.
  void on(const ModelAdded& event);
  void on(const ReplicaAdded& event);
  void on(const ModelRemoved& event);
  void on(const ModelSuspended& event);
  void on(const InstanceLost& event);
  void on(const InstanceReady& event);
  void on(const RequestArrived& event);
  void on(const ArrivalsExpected& event);
  void on(const RequestCancelled& event);
  void on(const BatchCompleted& event);
  void on(const RanOutOfMemory& event);
  void on(const TimerFired& event);
  void on(const Stop& event);
  [[nodiscard]] Result<void> check(const ModelAdded& event) const;
  [[nodiscard]] Result<void> check(const ReplicaAdded& event) const;
  [[nodiscard]] Result<void> check_replica(const ReplicaAdded& replica) const;
  void add_replica(ModelState& model, const ReplicaAdded& event);
  void add_instance(ModelState& model, Replica& replica, std::uint32_t instance);
  void count_background(ModelState& model, int change);
  void place_in_pool(ModelState& model);
  void leave_pool(ModelState& model, bool moves);
  void index_pool(Pool& pool);
  void leave_queue(std::uint32_t index);
  void end_batch(InstanceState& instance, std::uint32_t index);
  void refuse_waiting(ModelState& model, RefusalReason reason);
  void expire_due();
  void raise_limits();
  void limit_changed(const ModelState& model, const Replica& replica, int rows_before);
  void arm_timer();
  void finish_drains();
  void model_changed(ModelState& model);
  [[nodiscard]] ModelState* find_mutable(ModelId model);
  [[nodiscard]] ModelState& model_of(std::uint32_t index) { return *models_[index]; }

  // admission.cc
  void admit(const RequestArrived& event, ModelState& model);
  [[nodiscard]] std::optional<RefusalReason> no_room(const RequestArrived& event,
                                                     const ModelState& model) const;
  [[nodiscard]] bool fits(const RequestArrived& event, const ModelState& model) const;
  void shed(std::uint32_t index);
  bool forget_stale(ModelState& model);
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
  // Beyond this many models with work waiting, admission takes their work from sums.
  static constexpr std::size_t kModelsLookedAt = 8;
  void add_others(const Pool& pool, const ModelState& model, const Urgency& rides_with,
                  Backlog& backlog);
  void add_others_by_sum(Pool& pool, const ModelState& model, const Urgency& rides_with,
                         Backlog& backlog);
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
    Replica* replica = nullptr;
    InstanceState* instance = nullptr;
    int rows = 0;
    int rows_worth = 0;  // of a full batch, or the leader's where it has more
    TimePoint deadline_min = kNever;
  };
  void dispatch_touched();
  void dispatch(std::uint32_t device_index);
  [[nodiscard]] TimePoint deferred_until(std::uint32_t device_index, ModelState& model,
                                         const WaitingRequest& leader);
  [[nodiscard]] TimePoint finish_elsewhere(const ModelState& model, const Replica& here) const;
  [[nodiscard]] TimePoint free_from(const Replica& replica) const;
  [[nodiscard]] std::uint32_t choose_leader(const DeviceState& device, bool owed_first) const;
  [[nodiscard]] std::uint32_t first_background(const DeviceState& device) const;
  [[nodiscard]] bool hold(std::uint32_t device_index, ModelState& model);
  [[nodiscard]] bool reserve(std::uint32_t device_index, const WaitingRequest& leader);
  [[nodiscard]] TimePoint other_lane(const DeviceState& device) const;
  [[nodiscard]] TimePoint other_place(const DeviceState& device, const ModelState& model,
                                      const Replica& replica, int idle_others) const;
  [[nodiscard]] TimePoint end_latest(DeviceState& device, const Batch& batch,
                                     PriorityClass priority);
  void wake(std::uint32_t device_index, TimePoint at);
  void start(std::uint32_t device_index, std::uint32_t leader);
  [[nodiscard]] std::uint32_t take_idle(const DeviceState& device, Replica& replica);
  void grow(std::uint32_t device_index, Batch& batch, bool background_only);
  void collect_claims(std::uint32_t device_index, const ModelState& own, TimePoint finish_alone);
  [[nodiscard]] int full_batch(const DeviceState& device, const Replica& replica) const;
  [[nodiscard]] static int next_rows_max(const Batch& batch);
  [[nodiscard]] int rows_worth_taking(const DeviceState& device, const Batch& batch,
                                      int rows_max) const;
  void take(Batch& batch, std::uint32_t index);
  void expire(std::uint32_t index);
  void charge(DeviceState& device, const InstanceState& instance, Duration lane_time);

  SchedulerOptions options_;
  std::vector<DeviceState> devices_;
  std::vector<std::unique_ptr<ModelState>> models_;
  std::vector<Pool> pools_;
  std::vector<InstanceState> instances_;
  RequestPool pool_;
  std::pmr::unsynchronized_pool_resource memory_;  // recycles the map's nodes
  std::pmr::unordered_map<std::uint64_t, std::uint32_t> by_id_{&memory_};
  IndexedHeap<TimePoint> hopeless_at_;  // waiting requests, by when they can't be in time any more
  IndexedHeap<TimePoint> holds_;        // devices that leave work waiting until then
  std::array<FairTurns, kPriorityClassCount> turns_;
  struct Lowered {
    std::uint32_t model = 0;
    std::uint32_t device = 0;
  };
  std::vector<Lowered> lowered_;          // batch limits below the model's own
  TimePoint raise_at_ = kNever;           // when the first of them may rise
  std::vector<std::uint32_t> drains_;     // models to look at when the event has been handled
  std::vector<std::uint32_t> touched_;    // devices to dispatch
  std::vector<std::uint32_t> deferring_;  // devices that leave work to a faster one
  std::vector<std::uint32_t> deferred_;   // scratch: models
  struct OthersWork {
    Duration work{};
    int instances = 0;
  };
  std::vector<Claim> claims_;           // scratch
  std::vector<OthersWork> others_;      // scratch
  std::vector<std::uint32_t> members_;  // scratch
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
