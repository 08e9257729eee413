// SPDX-License-Identifier: Apache-2.0
// Instances of one line of arithmetic, for tests of what surrounds a model.
// Thread-safe: as Instance.
// Owns: nothing.
#pragma once

#include "core/inference.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace takt::worker {

// y = factor * x over FP32 of any size; answers at once.
class ScaleInstance final : public Instance {
 public:
  explicit ScaleInstance(float factor) : factor_(factor) {}

  [[nodiscard]] Result<void> submit(BatchView batch, BatchCompletion done) override {
    ++runs;
    rows_max = std::max(rows_max, batch.size());
    for (const Sample& sample : batch) {
      const auto* tensor = std::get_if<TensorView>(&sample.inputs[0]);
      if (tensor == nullptr) return fail(ErrorKind::invalid_input, "expected a tensor");
      OutputBuffer& output = sample.outputs[0];
      output.shape = tensor->shape;
      output.bytes_used = tensor->bytes.size();
      const auto values = tensor->as<float>();
      const float factor = wrong_in_batches && batch.size() > 1 ? -factor_ : factor_;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const float scaled = values[i] * factor;
        std::memcpy(output.room.data() + i * sizeof(float), &scaled, sizeof(float));
      }
    }
    BatchTimes times;
    times.exec_end = times.exec_start + times_per_batch +
                     times_per_row * static_cast<std::int64_t>(batch.size());
    done({.status = {}, .times = times});
    return {};
  }

  int runs = 0;
  std::size_t rows_max = 0;
  Duration times_per_batch{};  // that it claims to take
  Duration times_per_row{};    // beside it
  bool wrong_in_batches = false;

 private:
  const float factor_;
};

inline Signature scale_signature(int batch_max) {
  return {.inputs = {{.name = "x", .type = DataType::fp32, .shape = {4}}},
          .outputs = {{.name = "y", .type = DataType::fp32, .shape = {4}}},
          .batch_max = batch_max};
}

}  // namespace takt::worker
