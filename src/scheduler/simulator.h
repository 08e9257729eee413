// SPDX-License-Identifier: Apache-2.0
// A seeded discrete-event simulator in virtual time that drives the very Scheduler of the server.
// Thread-safe: a simulation touches only its own state; several may run on different threads.
// Owns: what it records.
#pragma once

#include "core/ids.h"
#include "core/priority.h"
#include "core/result.h"
#include "core/time.h"
#include "scheduler/scheduler.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace takt::scheduler {

enum class ArrivalPattern : std::uint8_t { periodic, poisson, listed };

struct ListedArrival {
  Duration at{};  // after the start
  int rows = 1;
};

// A stream of requests to one model.
struct ArrivalProcess {
  ModelId model;
  PriorityClass priority = PriorityClass::normal;
  ArrivalPattern pattern = ArrivalPattern::periodic;
  Duration interval = std::chrono::milliseconds(10);  // the mean one of a Poisson process
  Duration phase{};                                   // before the first arrival
  Duration jitter_max{};    // a periodic arrival is late by up to this, uniformly
  Duration deadline_min{};  // after the arrival, uniform in [min, max]; max 0: without a deadline
  Duration deadline_max{};
  int rows_min = 1;
  int rows_max = 1;
  std::int64_t bytes = 0;
  FlowId flow{};
  double cancel_probability =
      0;  // withdrawn at a uniform time before the deadline (or 10 intervals)
  std::vector<ListedArrival> listed{};  // of the pattern `listed`, rising; nothing else comes
};

// What one task asks of each frame: a request, or once its parent's are all answered so many crops.
struct FrameStage {
  ModelId model;
  PriorityClass priority = PriorityClass::normal;
  std::optional<std::size_t> parent{};  // a stage before it in the list
  int requests = 1;
  Duration deadline{};  // after the frame; 0: the frame's
};

// A line: frames whose stages run in parallel and in cascade, with the deadlines of stages as
// src/line sets them; critical ones of a periodic line with a deadline are announced as there. Every
// frame is judged as soon as it comes: ring and frames in flight have no bound here.
struct FrameProcess {
  ArrivalPattern pattern = ArrivalPattern::periodic;  // not `listed`
  Duration interval = std::chrono::milliseconds(10);
  Duration phase{};
  Duration deadline{};  // 0: without
  FlowId flow{};
  std::vector<FrameStage> stages;
  std::uint64_t frames_max = UINT64_MAX;
};

// How long a batch really takes.
enum class ExecutionTimes : std::uint8_t {
  exactly_p99,  // what the loaded profile says, every time
  around,       // log-normal through the loaded p50 and p99
  sampled,  // as SimulatedModel::samples; a size without any like the nearest one, moved by its p50
};

struct ExecutionSamples {
  int batch = 1;
  std::vector<Duration> sorted;  // rising; drawn from by its quantiles
};

// How a model's batches really go on one device; each as SimulatedModel says.
struct DeviceTimes {
  ExecutionTimes times = ExecutionTimes::around;
  std::vector<ExecutionSamples> samples{};
  double contention = 1.0;
  Duration batch_overhead{};
};

struct SimulatedModel {
  ModelAdded added;                          // its profile must not be empty
  std::vector<ReplicaAdded> replicas{};      // likewise; its model is filled in
  std::vector<ArrivalsExpected> expected{};  // likewise
  ExecutionTimes times = ExecutionTimes::around;
  double slowdown = 1.0;  // real durations are the profile's times this
  double failure_probability = 0;
  // Batches with more rows run out of memory, and fail, when they end before `memory_short_until`;
  // 0: never.
  int memory_rows_max = 0;
  Duration memory_short_until = Duration::max();
  std::vector<ExecutionSamples> samples{};  // of `sampled`; rising batch sizes
  // How many times longer a batch takes while every lane of its device is busy: lanes share caches
  // and memory. Between one busy lane and all it grows evenly.
  double contention = 1.0;
  // What the engine adds: to a batch, which holds its lane meanwhile, and to each request.
  Duration batch_overhead{};
  Duration request_overhead{};
  // Of `replicas`, in their order; those without an entry are like the first.
  std::vector<DeviceTimes> replica_times{};
};

// Every instance is lost after an exponential time and comes back after `down`.
struct InstanceFaults {
  Duration mean_between{};  // 0: never
  Duration down = std::chrono::milliseconds(50);
};

// A model whose circuit opens now and then, and closes when an instance becomes ready.
struct Suspensions {
  Duration mean_between{};  // of each model; 0: never
  Duration down = std::chrono::milliseconds(20);
};

struct Workload {
  std::uint64_t seed = 1;
  SchedulerOptions options;
  std::vector<SimulatedModel> models;
  std::vector<ArrivalProcess> arrivals{};
  std::vector<FrameProcess> frames{};
  InstanceFaults faults;
  Suspensions suspensions;
  Duration duration = std::chrono::seconds(1);  // then the scheduler is stopped and runs empty
  std::uint64_t requests_max = 1'000'000;       // no further arrivals beyond
};

// Every request of a stream ends in exactly one of these.
struct StreamResult {
  std::uint64_t offered = 0;
  std::uint64_t in_time = 0;
  std::uint64_t late = 0;
  std::uint64_t failed = 0;  // with its batch or instance
  std::array<std::uint64_t, kRefusalReasonCount> refused{};
  std::uint64_t expired = 0;
  std::uint64_t cancelled = 0;
  std::vector<Duration> latencies;  // arrival to completion, of what was executed; sorted

  [[nodiscard]] std::uint64_t answered() const noexcept;
  // Nearest rank; 0 without samples.
  [[nodiscard]] Duration latency_quantile(double quantile) const;
};

struct FrameResult {
  std::uint64_t offered = 0;
  std::uint64_t in_time = 0;
  std::uint64_t missed = 0;         // a stage was refused, expired, failed or late
  std::vector<Duration> latencies;  // of frames whose stages were all executed; sorted

  [[nodiscard]] Duration latency_quantile(double quantile) const;
};

struct SimulationResult {
  std::vector<StreamResult> streams;  // as Workload::arrivals, then every stage of every line
  std::vector<FrameResult> frames;    // as Workload::frames
  std::vector<Duration> lane_time;    // executed, by device
  SchedulerStatistics statistics;
  std::uint64_t events = 0;
  std::uint64_t action_hash = 0;  // of every action with its time: equal runs have equal hashes
  TimePoint end{};
  bool stopped = false;  // the scheduler reported that nothing was left
};

// Sees every event with what the scheduler made of it.
class SimulationObserver {
 public:
  virtual ~SimulationObserver() = default;
  virtual void applied(const Event& event, TimePoint now, std::span<const Action> actions,
                       const Scheduler& scheduler) = 0;
};

// Errors: invalid_input (an arrival or a stage names an unknown model, an interval that isn't above
// 0, listed arrivals that fall back, a stage before its parent, a model without a profile or
// samples, options that the scheduler refuses, a model that it refuses).
[[nodiscard]] Result<SimulationResult> simulate(const Workload& workload,
                                                SimulationObserver* observer = nullptr);

}  // namespace takt::scheduler
