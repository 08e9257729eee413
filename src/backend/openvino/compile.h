// SPDX-License-Identifier: Apache-2.0
// From an ONNX file to compiled models: reading, fixing shapes, preprocessing, compiling.
// Thread-safe: pure functions over a thread-safe ov::Core. Owns: what it returns.
// Private to backend/openvino.
#pragma once

#include "backend/backend.h"
#include "backend/batch_check.h"

#include <openvino/runtime/compiled_model.hpp>
#include <openvino/runtime/core.hpp>

#include <cstddef>
#include <memory>
#include <optional>

namespace takt::ov_backend {

// Batch 1 has a compilation of its own with static shapes; larger batches share one with a dynamic
// batch dimension. Measured on the CPU plugin: static is 1 to 3 % faster, and a dynamic model pays
// about 0.5 ms each time that the batch size changes, so the size that a line runs most is spared
// both, and three requests still run as three rows instead of four.
struct CompiledVariants {
  std::shared_ptr<ov::Core> core;            // first: outlives what was compiled with it
  ov::CompiledModel single;                  // one row, or the whole model without a batch
  std::optional<ov::CompiledModel> batched;  // 1..batch_max rows; when batch_max > 1
  BatchRules rules;
  std::size_t weights_bytes = 0;
};

// Gives back to the system what the compiled models, and then the allocator, keep between runs: the
// next run takes it again. Waits for runs of other instances. 278 MiB became 187 MiB for a detector
// that had run a batch of eight.
void release_memory(const CompiledVariants& model);

// Errors: as Backend::load, without the model's name in front.
[[nodiscard]] Result<CompiledVariants> compile(std::shared_ptr<ov::Core> core,
                                               const ModelSource& source,
                                               const LoadOptions& options);

}  // namespace takt::ov_backend
