// SPDX-License-Identifier: Apache-2.0
// How lines and network front ends ask for inferences: submit with a deadline, get exactly one
// answer. Thread-safe: every member from any thread. Owns: nothing; a request keeps its slots alive
// through `holds`, a result its outputs through `hold`.
#pragma once

#include "core/ids.h"
#include "core/inference.h"
#include "core/priority.h"
#include "core/result.h"
#include "core/time.h"
#include "memory/slot_pool.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace takt {

struct InferRequest {
  ModelId model;
  PriorityClass priority = PriorityClass::normal;
  TimePoint deadline = kNever;
  std::vector<InputData> inputs;  // in the order of the model's signature
  std::int64_t rows = 1;          // rows along the batch dimension; one request is never split
  FlowId flow{};                  // who asks: flows of the same class take turns
  bool more_come = false;         // whoever submits it calls flush() soon
  std::vector<Slot> holds;        // the slots that `inputs` look into; released with the request
};

struct InferTimings {
  TimePoint submitted;
  TimePoint dispatched;  // left the queue
  BatchTimes batch;
  int batch_size = 0;  // rows that were executed together
};

struct InferResult {
  std::vector<TensorView> outputs;  // in the order of the signature; valid while `hold` lives
  Slot hold;
  InferTimings timings;
};

using InferCompletion = std::move_only_function<void(Result<InferResult>)>;

struct ModelInfo {
  ModelId id;
  std::string name;
  std::int64_t version = 0;
  Signature signature;
};

class InferenceClient {
 public:
  virtual ~InferenceClient() = default;

  // The serving version of a model, or a stated one. Errors: unavailable (not loaded), with a
  // suggestion.
  [[nodiscard]] virtual Result<ModelInfo> find(std::string_view model,
                                               std::optional<std::int64_t> version = {}) const = 0;

  // `done` is called exactly once, on any thread of the engine or on one that submits, flushes or
  // withdraws something at that moment: a thread that finds nobody deciding what runs next does it itself. So
  // hold no lock while submitting, flushing or withdrawing that any `done` takes. Be short in `done`, don't
  // block, don't throw; it may submit and cancel, but not add or remove models and not stop the
  // engine. Errors that reach it: invalid_input (inputs that
  // don't fit), overloaded (queue full), unavailable (model removed, stopping), deadline_exceeded (refused at
  // once because it can't be in time, or expired in the queue), out_of_memory, corrupt_output (an
  // output's shape or size that the signature doesn't allow), cancelled, and what the backend
  // reports. A request that already runs is not called back early when its deadline passes: the
  // caller keeps its own timer.
  virtual RequestId submit(InferRequest request, InferCompletion done) = 0;

  // Requests with `more_come` wait for this, so that those of one moment are decided on together.
  // Whatever else is decided meanwhile takes them along. A batch that usually takes no longer than
  // `spare` may run on the calling thread, where its model is in this process: for a short one, waking
  // another thread costs more than running it.
  virtual void flush(Duration /*spare*/) {}

  // Withdraws a request that still waits (it completes with `cancelled`); one that runs, runs to
  // its end.
  virtual void cancel(RequestId request) = 0;

  // Announces the critical requests of one flow to a model: each of `rows`, at least `min_interval`
  // after the one before, to be answered within `deadline`. What runs beside them is kept short
  // enough, and a lane idles rather than making the next one late. Replaces what was announced for
  // this model and flow; a `min_interval` of 0 withdraws it. A hint: nothing is refused for it.
  virtual void expect_arrivals(ModelId model, FlowId flow, Duration min_interval, Duration deadline,
                               int rows) = 0;

  // Current p99 of the execution time of a batch of `rows`, for stage deadlines; zero while
  // unknown.
  [[nodiscard]] virtual Duration expected_p99(ModelId model, int rows) const = 0;
};

}  // namespace takt
