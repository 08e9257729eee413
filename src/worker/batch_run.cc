// SPDX-License-Identifier: Apache-2.0
#include "worker/batch_run.h"

#include <future>
#include <utility>

namespace takt::worker {

Result<std::vector<std::size_t>> output_bytes(const Signature& signature,
                                              std::size_t dynamic_bytes) {
  std::vector<std::size_t> bytes;
  for (const TensorSpec& spec : signature.outputs) {
    bool fixed = spec.type != DataType::bytes;
    for (const std::int64_t dim : spec.shape) fixed = fixed && dim >= 0;
    if (!fixed) {
      bytes.push_back(dynamic_bytes);
      continue;
    }
    const Result<std::size_t> size = byte_size(spec.type, spec.shape);
    if (!size) return std::unexpected(size.error().within("output '" + spec.name + "'"));
    bytes.push_back(*size);
  }
  return bytes;
}

BatchRun::BatchRun(const Signature& signature, std::span<const std::size_t> bytes_per_row)
    : signature_(signature), bytes_per_row_(bytes_per_row.begin(), bytes_per_row.end()) {}

void BatchRun::add(std::span<const InputData> inputs, std::int64_t rows) {
  Request request{.inputs = inputs, .rows = rows, .memory = {}, .outputs = {}};
  for (std::size_t i = 0; i < bytes_per_row_.size(); ++i) {
    request.memory.emplace_back(bytes_per_row_[i] * static_cast<std::size_t>(rows));
    OutputBuffer buffer;
    buffer.room = request.memory.back();
    buffer.type = signature_.outputs[i].type;
    request.outputs.push_back(buffer);
  }
  requests_.push_back(std::move(request));
}

void BatchRun::clear() {
  requests_.clear();
}

Result<BatchTimes> BatchRun::run(Instance& instance) {
  std::vector<Sample> batch;
  batch.reserve(requests_.size());
  for (Request& request : requests_) {
    batch.push_back({.inputs = request.inputs, .outputs = request.outputs, .rows = request.rows});
  }
  std::promise<BatchOutcome> done;
  std::future<BatchOutcome> outcome = done.get_future();
  const Result<void> submitted = instance.submit(
      batch, [&done](BatchOutcome finished) { done.set_value(std::move(finished)); });
  if (!submitted) return std::unexpected(submitted.error());
  BatchOutcome finished = outcome.get();
  if (!finished.status) return std::unexpected(std::move(finished.status).error());
  return finished.times;
}

std::span<const OutputBuffer> BatchRun::outputs(std::size_t request) const {
  return requests_[request].outputs;
}

}  // namespace takt::worker
