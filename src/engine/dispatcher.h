// SPDX-License-Identifier: Apache-2.0
// Decides: turns messages into the scheduler's events and its actions into runs.
// Thread-safe: no; run() is the dispatcher's thread, take_instances() is for after it. Everything
// else happens in turns (Inbox), which threads take one after the other.
// Owns: the scheduler, the requests that wait, the instances and what runs on them.
#pragma once

#include "engine/events.h"
#include "engine/inbox.h"
#include "engine/remote_instance.h"
#include "scheduler/scheduler.h"

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace takt::engine {

class Dispatcher {
 public:
  Dispatcher(scheduler::Scheduler scheduler, std::shared_ptr<Inbox> inbox,
             std::shared_ptr<Counters> counters, Events& events, const Clock& clock);

  void run();  // until the inbox is closed and empty
  [[nodiscard]] Instances take_instances();

 private:
  // Requests of one class that gave way in one round.
  struct Shed {
    std::shared_ptr<const ServedModel> model;
    PriorityClass priority = PriorityClass::background;
    std::uint64_t count = 0;
  };
  // Members of a failed run that are tried again in a smaller one.
  struct Retry {
    PendingRequests members;
    Error cause;
  };
  struct InstanceSlot {
    std::unique_ptr<Instance> instance;  // null: the slot is free
    RemoteInstance* remote = nullptr;    // the same, where it lives in a worker
    bool lost = false;                   // its worker has gone; the scheduler knows
    ModelId model;
    DeviceId device;
    std::shared_ptr<SlotPool> outputs;  // of its replica, for instances that bring no memory
    BatchId batch;                      // the scheduler's, also while parts of it are tried again
    std::shared_ptr<RunningBatch> run;  // null: nothing runs
    std::deque<Retry> retries;
    Duration usual{};           // of the scheduler's batch; 0: unknown
    bool retry_allowed = true;  // false once the patience is over
    Duration exec{};
    std::optional<ErrorKind> failure;  // the first of this batch
  };
  struct Replica {
    ServedReplicaPtr served;
    RemoteInstance* remote = nullptr;  // any of those that live in its worker
    bool suspended = false;            // its worker won't be back soon
  };
  struct Model {
    std::shared_ptr<const ServedModel> served;
    std::optional<std::promise<Instances>> drained;  // set: it is being removed
    std::uint64_t batches_completed = 0;
    std::vector<Replica> replicas;

    [[nodiscard]] Replica* on(DeviceId device) noexcept;  // nullptr where there is none
  };

  // Returns when the scheduler wants to be called without a message.
  [[nodiscard]] TimePoint work(std::vector<Message>& messages, Inbox::Offer* offer);

  void join_arrivals(std::vector<Message>& messages) const;

  // Messages.
  void on(Submitted& message);
  void on(Withdrawn& message);
  void on(BatchEnded& message);
  void on(ModelCame& message);
  void on(ModelGoes& message);
  void on(StopBegins& message);
  void on(HurryUp& message);
  void on(ClockMoved& message);
  void on(InstancesGone& message);
  void on(InstancesBack& message);
  void on(const scheduler::ArrivalsExpected& message) { apply(message); }
  void on(ProfileWanted& message);

  // Actions of the scheduler.
  void apply(scheduler::Event event);
  void apply_events();
  void act(const scheduler::StartBatch& action);
  void act(const scheduler::Refuse& action);
  void act(const scheduler::Expire& action);
  void act(const scheduler::Cancelled& action);
  void act(const scheduler::ArmTimer& action);
  void act(const scheduler::ModelRefused& action);
  void act(const scheduler::ModelDrained& action);
  void act(const scheduler::LaneReserved& action);
  void act(const scheduler::BatchLimitChanged& action);
  void act(const scheduler::Stopped& action);

  // Runs.
  void start_run(InstanceId id, PendingRequests members, bool may_split);
  bool run_by_offer(const InstanceSlot& slot, const std::shared_ptr<RunningBatch>& run);
  void settle_failure(InstanceId id, RunningBatch& run, const Error& error);
  void lose_instances(ModelId model, DeviceId device);
  void move(PendingRequests members, const Error& cause);
  static void split(InstanceSlot& slot, RunningBatch& run, const Error& error);
  static void try_in_parts(InstanceSlot& slot, PendingRequests members, std::size_t size,
                           const Error& cause);
  void retry(InstanceId id, Retry retry);
  void advance(InstanceId id);  // the next retry, or the end of the batch as an event
  void abandon(InstanceId id);
  void publish_p99(ModelId id);  // nothing once it has gone

  // ladder.cc: what is told of it.
  void note_shed(const PendingRequest& request);
  void tell_shed();

  [[nodiscard]] std::unique_ptr<PendingRequest> take_waiting(RequestId id);
  [[nodiscard]] InstanceId free_slot();
  void finish();

  scheduler::Scheduler scheduler_;
  const std::shared_ptr<Inbox> inbox_;
  const std::shared_ptr<Counters> counters_;
  Events& happenings_;
  const Clock& clock_;

  std::unordered_map<RequestId, std::unique_ptr<PendingRequest>> waiting_;
  std::vector<InstanceSlot> slots_;  // InstanceId is the index
  std::unordered_map<ModelId, Model> models_;
  TimePoint timer_at_ = kNever;
  std::vector<std::promise<void>> stopped_;
  bool stopped_already_ = false;
  std::optional<Error> model_refused_;  // by the event that is applied

  Inbox::Offer* offer_ = nullptr;           // of who has the turn
  std::vector<scheduler::Action> actions_;  // scratch
  std::vector<Shed> shed_;                  // since the last round
  std::deque<scheduler::Event> events_;     // follow from the actions under way
};

}  // namespace takt::engine
