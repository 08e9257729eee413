// SPDX-License-Identifier: Apache-2.0
// A version in service as requests see it: its signature, the room for its outputs, its p99, and
// what it has done.
// Thread-safe: every member from any thread; publish_* and add from the dispatcher only.
// Owns: its replicas, and with them the pools of its output slots.
#pragma once

#include "core/model_runtime.h"
#include "engine/counters.h"
#include "engine/inference_client.h"
#include "engine/options.h"
#include "engine/statistics_recorder.h"
#include "memory/slot_pool.h"

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace takt::engine {

// A model on one device.
struct ServedReplica {
  DeviceId device;
  ReplicaInfo info;
  // Room for what its instances write, unless they bring their own.
  std::shared_ptr<SlotPool> outputs;
  // The rows that a batch of several requests may have now; rows_max() unless memory ran out.
  std::atomic<int> batch_limit{0};
};
using ServedReplicaPtr = std::shared_ptr<ServedReplica>;

class ServedModel {
 public:
  // Checks the runtime; it has no replica yet. Errors: invalid_input.
  // `counters` and `clock` live as long as the model.
  [[nodiscard]] static Result<std::shared_ptr<const ServedModel>> create(
      ModelId id, const ModelRuntime& runtime, std::shared_ptr<Counters> counters,
      std::shared_ptr<const Clock> clock = std::make_shared<SystemClock>());

  // Lays out the outputs of the runtime's instances. Errors: invalid_input (not this model, or not
  // as it is on its other devices), out_of_memory.
  [[nodiscard]] Result<ServedReplicaPtr> make_replica(DeviceId device, const ModelRuntime& runtime,
                                                      int results_held_max) const;
  void add(ServedReplicaPtr replica) const;
  // In the order in which they came.
  [[nodiscard]] std::vector<ServedReplicaPtr> replicas() const;

  [[nodiscard]] const ModelInfo& info() const noexcept { return info_; }
  [[nodiscard]] const std::string& label() const noexcept { return label_; }  // "pcb-detector 3"
  [[nodiscard]] int rows_max() const noexcept;  // of one request and of a batch
  [[nodiscard]] StatisticsRecorder& statistics() const noexcept { return *statistics_; }

  // Room for the outputs of a request of `rows` rows, each on a 64-byte boundary of one slot.
  // Errors: out_of_memory.
  [[nodiscard]] Result<Slot> acquire_outputs(SlotPool& pool, std::int64_t rows) const;
  [[nodiscard]] std::vector<OutputBuffer> lay_out(const Slot& slot, std::int64_t rows) const;

  [[nodiscard]] Duration p99(int rows) const noexcept;
  void publish_p99(const std::function<Duration(int rows)>& p99) const;

 private:
  ServedModel() = default;
  std::shared_ptr<Counters> counters_;
  std::unique_ptr<StatisticsRecorder> statistics_;
  ModelInfo info_;
  std::string label_;
  std::vector<std::size_t> output_row_bytes_;
  mutable std::vector<std::atomic<Duration::rep>> p99_ns_;  // [rows - 1]
  mutable std::mutex mutex_;
  mutable std::vector<ServedReplicaPtr> replicas_;  // guarded by mutex_
};

// Whether a request fits the model's signature. Errors: invalid_input, which names the input, what
// was expected and what came.
[[nodiscard]] Result<void> check_request(const ServedModel& model, const InferRequest& request);

// Whether what an instance wrote can be believed. Errors: corrupt_output.
[[nodiscard]] Result<void> check_outputs(const ServedModel& model,
                                         std::span<const OutputBuffer> outputs, std::int64_t rows);

}  // namespace takt::engine
