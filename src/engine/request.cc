// SPDX-License-Identifier: Apache-2.0
#include "engine/request.h"

#include <utility>

namespace takt::engine {

PendingRequest::PendingRequest(RequestId request_id, InferRequest infer_request,
                               InferCompletion done, TimePoint submitted, Counters& counters)
    : id(request_id),
      request(std::move(infer_request)),
      done_(std::move(done)),
      counters_(counters) {
  timings_.submitted = submitted;
  counters_.submitted();
}

PendingRequest::~PendingRequest() {
  if (done_) answer_error({ErrorKind::internal, "the engine lost this request; report it"});
}

void PendingRequest::answer(Result<InferResult> result) noexcept {
  InferCompletion done = std::exchange(done_, nullptr);
  if (!done) return;
  const std::optional<ErrorKind> error =
      result ? std::nullopt : std::optional<ErrorKind>(result.error().kind);
  count(error);
  try {
    done(std::move(result));
  } catch (...) {  // the caller broke its promise; the other requests must not pay for it
    ++counters_.completions_threw;
  }
  done = nullptr;  // what it captured may be freed before the answer counts as given
  counters_.answered(error);
}

// Before the answer is given: whoever has it finds it in the statistics.
void PendingRequest::count(std::optional<ErrorKind> error) const noexcept {
  if (model == nullptr) return;
  Outcome outcome = error ? Outcome::fail : Outcome::success;
  if (error == ErrorKind::cancelled) outcome = Outcome::cancelled;
  if (refused_) outcome = Outcome::refused;
  model->statistics().answered(outcome, error, timings_, request.rows);
}

void PendingRequest::refuse(Error error) noexcept {
  refused_ = true;
  ++counters_.refused;
  answer_error(std::move(error));
}

void PendingRequest::answer_outputs(const BatchTimes& times, int batch_rows) noexcept {
  request.holds.clear();
  if (Result<void> checked = check_outputs(*model, outputs_, request.rows); !checked)
    return answer_error(std::move(checked.error()));
  timings_.batch = times;
  timings_.batch_size = batch_rows;
  InferResult result;
  result.outputs.reserve(outputs_.size());
  for (const OutputBuffer& output : outputs_) result.outputs.push_back(output.view());
  result.hold = std::move(output_slot_);
  result.timings = timings_;
  answer(std::move(result));
}

bool PendingRequest::acquire_outputs(SlotPool& pool, TimePoint now) noexcept {
  timings_.dispatched = now;
  if (output_slot_) return true;  // a second run writes to the same place
  Result<Slot> slot = model->acquire_outputs(pool, request.rows);
  if (!slot) {
    ++counters_.outputs_exhausted;
    answer_error(std::move(slot.error()).within(model->label()));
    return false;
  }
  output_slot_ = std::move(*slot);
  outputs_ = model->lay_out(output_slot_, request.rows);
  return true;
}

void PendingRequest::release_outputs() noexcept {
  outputs_.clear();
  output_slot_.reset();
}

bool worth_moving(const RunningBatch& batch, ErrorKind kind) noexcept {
  return batch.may_move && (kind == ErrorKind::worker_lost || kind == ErrorKind::device_poisoned);
}

bool worth_splitting(const RunningBatch& batch, ErrorKind kind) noexcept {
  return batch.may_split && batch.members.size() > 1 &&
         (kind == ErrorKind::out_of_memory || kind == ErrorKind::invalid_input);
}

namespace {

std::int64_t bytes_of(const InputData& input) {
  if (const auto* tensor = std::get_if<TensorView>(&input)) {
    return static_cast<std::int64_t>(tensor->bytes.size());
  }
  std::int64_t bytes = 0;
  for (const ImageView& image : std::get<ImageStack>(input).images) {
    bytes += static_cast<std::int64_t>(image.byte_size());
  }
  return bytes;
}

}  // namespace

scheduler::RequestArrived arrival_of(const PendingRequest& request) {
  scheduler::RequestArrived arrived;
  arrived.request = request.id;
  arrived.model = request.model->info().id;
  arrived.priority = request.request.priority;
  arrived.deadline = request.request.deadline;
  arrived.rows = static_cast<int>(request.request.rows);
  for (const InputData& input : request.request.inputs) arrived.bytes += bytes_of(input);
  arrived.flow = request.request.flow;
  return arrived;
}

void answer_all(PendingRequests& members, const Error& error) noexcept {
  for (const auto& member : members) member->answer_error(error);
}

}  // namespace takt::engine
