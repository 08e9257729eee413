// SPDX-License-Identifier: Apache-2.0
// A request on its way through the engine, and the requests that an instance runs together.
// Thread-safe: no; each is handed from thread to thread and has one owner at a time.
// Owns: the request's data, its output slot and its completion; a batch owns its members.
#pragma once

#include "core/ids.h"
#include "engine/counters.h"
#include "engine/served_model.h"
#include "scheduler/event.h"

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

namespace takt::engine {

// Answers exactly once: by answer(), or with `internal` when it is destroyed unanswered.
class PendingRequest {
 public:
  // The counters live as long as it does: `model` keeps them, once it is set.
  PendingRequest(RequestId id, InferRequest request, InferCompletion done, TimePoint submitted,
                 Counters& counters);
  ~PendingRequest();
  PendingRequest(const PendingRequest&) = delete;
  PendingRequest& operator=(const PendingRequest&) = delete;

  void answer(Result<InferResult> result) noexcept;
  void answer_error(Error error) noexcept { answer(std::unexpected(std::move(error))); }
  // As answer_error, of a request that was not accepted.
  void refuse(Error error) noexcept;
  // Checks the outputs, lets go of the inputs and answers.
  void answer_outputs(const BatchTimes& times, int batch_rows) noexcept;

  // False after it was answered with out_of_memory, because there is no room for its outputs.
  [[nodiscard]] bool acquire_outputs(SlotPool& pool, TimePoint now) noexcept;
  // Before it waits again: the next instance may write elsewhere.
  void release_outputs() noexcept;
  [[nodiscard]] Sample sample() noexcept { return {request.inputs, outputs_, request.rows}; }

  const RequestId id;
  InferRequest request;
  std::shared_ptr<const ServedModel> model;
  int runs_lost = 0;  // with a worker that ended

 private:
  void count(std::optional<ErrorKind> error) const noexcept;

  InferCompletion done_;
  InferTimings timings_;
  Slot output_slot_;
  std::vector<OutputBuffer> outputs_;
  bool refused_ = false;
  Counters& counters_;
};

using PendingRequests = std::vector<std::unique_ptr<PendingRequest>>;

// One run on an instance. The instance reads and writes through `samples` until it calls back, so
// whatever was answered meanwhile, the members' memory stays until then.
struct RunningBatch {
  BatchId id;
  InstanceId instance;
  std::shared_ptr<const ServedModel> model;
  PendingRequests members;
  std::vector<Sample> samples;
  int rows = 0;
  bool may_split = true;  // a failure may be tried again in smaller runs
  bool may_move = false;  // it runs in a worker, which will be replaced
  // Who sets it answers the members: the completion, or the dispatcher when it abandons the run.
  std::atomic<bool> claimed{false};
};

// Whether smaller runs of the same members may succeed where this failure came from.
[[nodiscard]] bool worth_splitting(const RunningBatch& batch, ErrorKind kind) noexcept;
// Whether the failure is the worker's or its device's, so that a run on the next one may succeed.
[[nodiscard]] bool worth_moving(const RunningBatch& batch, ErrorKind kind) noexcept;

// The request as the scheduler sees it.
[[nodiscard]] scheduler::RequestArrived arrival_of(const PendingRequest& request);

void answer_all(PendingRequests& members, const Error& error) noexcept;

}  // namespace takt::engine
