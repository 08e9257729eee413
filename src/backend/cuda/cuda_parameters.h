// SPDX-License-Identifier: Apache-2.0
// What the cuda backend is told by LoadOptions: its device, its precision and its parameters.
// Thread-safe: pure functions and plain values.
// Owns: plain values. Private to the cuda backend.
#pragma once

#include "backend/backend.h"
#include "backend/cuda/compile/precision.h"
#include "backend/cuda/compile/tuner.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace takt::cuda {

struct CudaParameters {
  int device = 0;
  Precision precision = Precision::fp32;
  Effort effort = Effort::normal;
  std::size_t workspace_bytes_max = std::size_t{1} << 30;
  std::vector<std::int64_t> batches;  // ascending; 0 alone where the model has no batch dimension
  bool may_tune = true;
  int concurrent = 1;  // instances, as TuningOptions
};

// Errors: invalid_input (a key that isn't known, with a suggestion; a value that doesn't fit), unavailable (a
// device that is no GPU).
[[nodiscard]] Result<CudaParameters> read_parameters(const LoadOptions& options);

// 1, 2, 4, ... and `batch_max` itself.
[[nodiscard]] std::vector<std::int64_t> default_batches(int batch_max);

}  // namespace takt::cuda
