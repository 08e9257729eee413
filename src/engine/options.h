// SPDX-License-Identifier: Apache-2.0
// How an engine is set up, and what it reports about itself.
// Thread-safe: plain values.
// Owns: plain values; the clock belongs to the caller and outlives the engine.
#pragma once

#include "core/inference.h"
#include "core/priority.h"
#include "core/result.h"
#include "core/time.h"
#include "engine/events.h"
#include "scheduler/profile.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace takt {

struct DeviceSpec {
  std::string name = "cpu";  // what ModelRuntime::device says when it comes to the engine
  int lanes = 1;             // batches that may run on it at once
  // As scheduler::DeviceOptions: until a batch limit that a shortage of memory lowered is doubled.
  Duration memory_quiet = std::chrono::seconds(30);
  // Likewise: but for one in 32, a batch grows only while that saves at least this share of the time a row.
  double batch_gain_min = 0.05;
};

struct EngineOptions {
  std::vector<DeviceSpec> devices{DeviceSpec{}};
  // Requests on their way to the dispatcher; further ones are refused with `overloaded`, those of
  // lower classes an eighth earlier each. It is emptied within microseconds, so this bounds a burst,
  // not a queue: those are ModelService::queue_depth_max.
  std::size_t inbox_depth_max = 4096;
  // Rows of finished results of one model that consumers may still hold while new ones are made.
  int results_held_max = 64;
  // How long stop() and remove_model() wait, after their drain time, for batches that run; an
  // instance that is not done then is abandoned.
  Duration batch_end_wait_max = std::chrono::seconds(10);
  // The drain time of the destructor.
  Duration drain_on_destruction_max = std::chrono::seconds(1);
  double background_share_min = 0.0;  // as scheduler::SchedulerOptions
  engine::EventObserver observer{};   // told of every event of the engine and its workers
  const Clock* clock = nullptr;       // nullptr: the system's
};

// What one model may take.
struct ModelService {
  int queue_depth_max = 1024;        // requests that may wait
  std::int64_t queue_bytes_max = 0;  // of input that may wait; 0: no limit
  int concurrency_max = 0;           // batches at once, on all devices; 0: as many as instances
  Duration batch_delay_max{};        // how long a batch that isn't full may wait for company
  int class_room = 0;                // as scheduler::ModelLimits
  // Execution times of earlier runs (Engine::profile), preferred to what was measured at load where
  // scheduler::merge_profile says so.
  std::vector<scheduler::ProfilePoint> learned{};
};

// A model on one of its devices.
struct ReplicaInfo {
  std::string device;
  std::string backend;
  std::vector<LatencyPoint> profile;  // as measured at load
  ModelMemory memory;
  int instances = 1;
};

// A model whose batches are smaller than they might be, because memory ran out.
struct BatchLimitStatus {
  std::string model;  // "pcb-detector 3"
  std::string device;
  int rows = 0;
  int rows_max = 0;
};

// Counts since the start. answered = completed + the sum of failed; submitted - answered are on
// their way.
struct EngineStats {
  std::uint64_t submitted = 0;
  std::uint64_t answered = 0;
  std::uint64_t completed = 0;                                  // with a result
  std::array<std::uint64_t, kErrorKindCount> failed_by_kind{};  // by ErrorKind
  std::uint64_t refused = 0;    // not accepted: invalid, full, too late already, stopping
  std::uint64_t expired = 0;    // accepted, but their time ran out while they waited
  std::uint64_t cancelled = 0;  // withdrawn while they waited
  // Accepted, but gave way to more urgent ones while they waited; by PriorityClass.
  std::array<std::uint64_t, kPriorityClassCount> shed_by_class{};
  std::uint64_t batches = 0;              // handed to an instance, retries not counted
  std::uint64_t batches_by_callers = 0;   // that ran on a thread of InferenceClient::flush
  std::uint64_t rows = 0;                 // of those batches
  std::uint64_t batches_failed = 0;       // runs that ended with an error, retries included
  std::uint64_t retries_memory = 0;       // runs of a part after out_of_memory
  std::uint64_t retries_alone = 0;        // runs of one request after its batch was invalid_input
  std::uint64_t retries_moved = 0;        // requests that waited again after their worker ended
  std::uint64_t outputs_exhausted = 0;    // requests that got no output slot
  std::uint64_t instances_abandoned = 0;  // still busy when the time to stop was over
  std::uint64_t cancels_dropped = 0;      // cancel() while the inbox was full
  std::uint64_t completions_threw = 0;    // a caller's `done` threw: a defect of the caller

  std::size_t inbox_depth = 0;  // events that the dispatcher has not looked at
  std::size_t queue_depth = 0;  // accepted requests that wait
  std::size_t batches_running = 0;
  std::uint32_t slots_in_use = 0;  // output slots of the models that are loaded
  std::uint32_t slots = 0;

  engine::EventCounts events{};                // by EventKind
  std::vector<BatchLimitStatus> batch_limits;  // those that are lowered now
};

}  // namespace takt
