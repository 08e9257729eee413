// SPDX-License-Identifier: Apache-2.0
// What is executed together: the inputs of a request, the batch, its outcome, and the Instance that
// runs it. Thread-safe: plain values; Instance says its own rule. Owns: nothing; every view must
// stay valid until the batch's completion has been called.
#pragma once

#include "core/image.h"
#include "core/result.h"
#include "core/tensor.h"
#include "core/time.h"

#include <cstdint>
#include <functional>
#include <future>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace takt {

// Images that become the channels of one model input, in order (board, golden), and the region of
// them that the model sees. All images of a stack have the same width and height. An empty region
// (width 0) means the whole image.
struct ImageStack {
  std::vector<ImageView> images;
  Region region;
};

// One input of one request: a finished tensor, or images that the backend preprocesses on its
// device.
using InputData = std::variant<TensorView, ImageStack>;

// Room for one output of one request. The backend writes the elements and then the shape and the
// bytes used.
struct OutputBuffer {
  std::span<std::byte> room;
  DataType type = DataType::fp32;
  Shape shape{};  // set by the backend; row count of this request first when the model is batched
  std::size_t bytes_used = 0;  // set by the backend, <= room.size()

  [[nodiscard]] TensorView view() const { return {type, shape, room.first(bytes_used)}; }
};

// One request inside a batch. `inputs` and `outputs` follow the order of the model's signature.
struct Sample {
  std::span<const InputData> inputs;
  std::span<OutputBuffer> outputs;
  std::int64_t rows = 1;  // rows along the batch dimension; 1 for an image
};

using BatchView = std::span<const Sample>;

struct BatchTimes {
  TimePoint exec_start;     // the instance took the batch
  TimePoint compute_start;  // inputs are on the device
  TimePoint compute_end;    // the model has run
  TimePoint exec_end;       // outputs lie in their buffers
};

struct BatchOutcome {
  Result<void> status;
  BatchTimes times;
};

// May be called on any thread; must be short and must not throw.
using BatchCompletion = std::move_only_function<void(BatchOutcome)>;

// A loaded version of a model, ready to run on one partition. It runs one batch at a time.
class Instance {
 public:
  virtual ~Instance() = default;  // waits for a running batch

  // Starts a batch. On success `done` is called exactly once, later or before this returns, from
  // any thread; on failure it is never called. One thread at a time may call; not again before the
  // previous batch called `done`. The instance is free again when it calls `done`: the next submit
  // may come from inside `done` or while `done` is still running. Errors: invalid_input (shapes
  // that don't fit the signature), unavailable (busy or stopped), and what the device says.
  [[nodiscard]] virtual Result<void> submit(BatchView batch, BatchCompletion done) = 0;

  // Runs a batch on the calling thread, which saves waking another: returns when it has ended, with
  // what submit() would have reported. One thread at a time, and not beside a batch of submit().
  [[nodiscard]] virtual BatchOutcome run(BatchView batch) {
    std::promise<BatchOutcome> ended;
    std::future<BatchOutcome> outcome = ended.get_future();
    const Result<void> taken =
        submit(batch, [&ended](BatchOutcome result) { ended.set_value(std::move(result)); });
    if (!taken) return {.status = std::unexpected(taken.error()), .times = {}};
    return outcome.get();
  }
};

struct Signature {
  std::vector<TensorSpec> inputs;   // shapes without the batch dimension when batch_max > 0
  std::vector<TensorSpec> outputs;  // likewise; -1 where the size depends on the data
  int batch_max = 0;                // 0: the model has no batch dimension (Triton's max_batch_size)

  friend bool operator==(const Signature&, const Signature&) = default;
};

// A point of a latency profile: execution time of one batch of `batch` rows, exec_start to
// exec_end.
struct LatencyPoint {
  int batch = 1;
  Duration p50{};
  Duration p99{};
};

// What a loaded model takes on its device, as its backend tells.
struct ModelMemory {
  std::size_t weights_bytes = 0;   // shared by all instances
  std::size_t instance_bytes = 0;  // each instance adds this much; 0 where the backend can't tell
};

}  // namespace takt
