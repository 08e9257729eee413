// SPDX-License-Identifier: Apache-2.0
// What the scheduler is told (events) and what it asks for (actions).
// Thread-safe: plain values.
// Owns: plain values; StartBatch only looks at its request ids.
#pragma once

#include "core/ids.h"
#include "core/inference.h"
#include "core/priority.h"
#include "core/result.h"
#include "core/time.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace takt::scheduler {

struct ModelLimits {
  int batch_max = 0;         // rows of a batch at most; 0: no batch dimension, always alone
  int queue_depth_max = 64;  // requests that may wait
  // How long a batch that isn't full may wait for company when nothing else can run.
  Duration batch_delay_max{};
  std::int64_t queue_bytes_max = 0;  // of input that may wait; 0: no limit
  int concurrency_max = 0;           // batches that may run at once; 0: as many as instances
  // Places of the queue that each class leaves to the next more urgent one. Without, requests that can
  // wait are accepted into a full queue's last places, only to give way.
  int class_room = 0;

  // For requests of that class and more urgent ones.
  [[nodiscard]] int places(PriorityClass priority) const noexcept {
    return queue_depth_max - class_room * static_cast<int>(priority);
  }
};

// Events ------------------------------------------------------------------------------------------

struct ModelAdded {
  ModelId model;
  DeviceId device;
  std::vector<InstanceId> instances;  // ready to run; more may come with InstanceReady
  ModelLimits limits;
  std::vector<LatencyPoint> profile;  // rising batch sizes; empty: unknown, learned while running
};

// Further instances of a model on another device, with what they take there. A request goes to the
// device where it is expected to finish first; what waits for a device that lost its instances goes
// to the others. Refused (ModelRefused) when it makes no sense; the model stays as it was then.
struct ReplicaAdded {
  ModelId model;
  DeviceId device;                    // one that the model isn't on
  std::vector<InstanceId> instances;  // ready to run; more may come with InstanceReady
  std::vector<LatencyPoint> profile;  // as ModelAdded
};

// Nothing new is taken. What waits still runs, or is refused at once; ModelDrained follows when
// nothing is left.
struct ModelRemoved {
  ModelId model;
  bool run_waiting = true;
};

// The instance is gone, and with it the batch that it ran: whoever reports this answers that
// batch's requests.
struct InstanceLost {
  InstanceId instance;
};

struct InstanceReady {
  InstanceId instance;
  ModelId model;
  // Where an instance runs that is new; without: on the model's first device. One that was lost
  // comes back where it was.
  std::optional<DeviceId> device{};
};

// The model's worker failed again and again: its circuit is open. What waits and what comes is
// refused at once, so that its fallback stands in; what runs ends as usual. The next InstanceReady
// of the model takes it back into service, or a ReplicaAdded with instances. With several devices:
// sent when the last of them has gone for good.
struct ModelSuspended {
  ModelId model;
};

struct RequestArrived {
  RequestId request;  // not known to the scheduler already
  ModelId model;
  PriorityClass priority = PriorityClass::normal;
  TimePoint deadline = kNever;
  int rows = 1;
  std::int64_t bytes = 0;  // of input, against queue_bytes_max
  // Among requests of one class without a deadline, flows take turns: each gets as many rows.
  FlowId flow{};
  bool more_come = false;  // another request follows at once: nothing starts before that
};

// Announces the critical requests of one flow: at least `min_interval` apart, each with this
// deadline after its arrival. Batches of others stay short enough for them, and a lane idles rather
// than start a run that would make the next one late (LaneReserved). Replaces what was announced for
// this model and flow; min_interval 0 withdraws it. Flows that aren't announced are learned from
// their arrivals, but no lane idles for them.
struct ArrivalsExpected {
  ModelId model;
  FlowId flow{};
  Duration min_interval{};
  Duration deadline{};
  int rows = 1;
};

struct RequestCancelled {
  RequestId request;  // one that runs or is unknown is left alone
};

struct BatchCompleted {
  BatchId batch;
  InstanceId instance;
  Duration exec{};                 // exec_start to exec_end
  std::optional<ErrorKind> error;  // set: failed; its duration says nothing about the model
};

// A run of so many rows ended because memory ran out: told when it happens, whatever is tried with
// its requests then. Batches of the model on that device stay smaller for a while
// (BatchLimitChanged); a request with more rows than that runs alone.
struct RanOutOfMemory {
  InstanceId instance;
  int rows = 1;
};

struct TimerFired {};

// Nothing new is taken. What waits still runs, or is refused at once; Stopped follows when nothing
// is left. May be sent again with run_waiting = false when a drain takes too long.
struct Stop {
  bool run_waiting = true;
};

using Event = std::variant<ModelAdded, ReplicaAdded, ModelRemoved, ModelSuspended, InstanceLost,
                           InstanceReady, RequestArrived, ArrivalsExpected, RequestCancelled,
                           BatchCompleted, RanOutOfMemory, TimerFired, Stop>;

// Actions -----------------------------------------------------------------------------------------

struct StartBatch {
  BatchId batch;
  ModelId model;
  // The n-th instance of a model on a device is at home on the n-th lane (modulo their number), and of
  // the idle ones one whose home is free is preferred: a model with as many instances as the device has
  // lanes always has one, so that each lane can be tied to cores of its own.
  InstanceId instance;
  std::span<const RequestId>
      requests;  // most urgent first; valid until the batch completed or its instance was lost
  int rows = 0;
  TimePoint expected_end;  // now + p99 of the profile; now while the profile is unknown
  Duration usual{};        // p50 of the profile; 0 while the profile is unknown
};

enum class RefusalReason : std::uint8_t {
  cannot_meet_deadline,
  queue_full,
  unknown_model,
  model_draining,
  stopping,
  rows_out_of_range,
  model_suspended,
  queue_bytes_full,
  shed,  // it waited, and gave way to a request of a higher class that found the queue full
};
inline constexpr int kRefusalReasonCount = 9;

struct Refuse {
  RequestId request;
  ModelId model;
  ErrorKind kind = ErrorKind::unavailable;
  RefusalReason reason = RefusalReason::queue_full;
  std::int64_t limit = 0;  // queue_depth_max, queue_bytes_max or batch_max, by the reason
  Duration late_by{};      // cannot_meet_deadline: expected finish minus deadline
};

// A waiting request whose deadline has passed or, by its model's p99, can no longer be met.
struct Expire {
  RequestId request;
};

// A waiting request was withdrawn (RequestCancelled reached it in time).
struct Cancelled {
  RequestId request;
};

// Send TimerFired at this time, or a little later. Replaces the timer armed before.
struct ArmTimer {
  TimePoint at;
};

struct ModelRefused {
  ModelId model;
  Error error;
};

struct ModelDrained {
  ModelId model;  // its instances are idle and forgotten
};

// A lane of the device stays idle though work is runnable, so that an announced arrival of the model
// can be in time: until it comes, or until this time.
struct LaneReserved {
  DeviceId device;
  ModelId expected;
  TimePoint until;
};

// How many rows a batch of the model may have on that device has changed: less after it ran out of
// memory, step by step up to `rows_max` after each quiet time.
struct BatchLimitChanged {
  ModelId model;
  DeviceId device;
  int rows_before = 0;
  int rows = 0;
  int rows_max = 0;  // as the model was added
};

struct Stopped {};

using Action = std::variant<StartBatch, Refuse, Expire, Cancelled, ArmTimer, ModelRefused,
                            ModelDrained, LaneReserved, BatchLimitChanged, Stopped>;

// Stable lower-case name for metrics labels.
[[nodiscard]] std::string_view to_string(RefusalReason reason) noexcept;

// The refusal as a person reads it: what, expected, remedy. The caller puts the model's name in
// front.
[[nodiscard]] Error describe(const Refuse& refusal);

}  // namespace takt::scheduler
