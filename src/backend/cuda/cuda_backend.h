// SPDX-License-Identifier: Apache-2.0
// The backend `cuda`: ONNX models on NVIDIA's GPUs, by takt's own engine.
// Thread-safe: as backend/backend.h says.
// Owns: a context for each device that a model was loaded on; loaded models keep theirs alive.
#pragma once

#include "backend/backend.h"
#include "backend/cuda/compile/program.h"
#include "backend/cuda/context.h"
#include "backend/cuda/libraries.h"
#include "core/inference.h"
#include "core/result.h"

#include <cstdint>
#include <memory>
#include <string>

namespace takt::cuda {

struct CudaBackendOptions {
  LibrarySearch search;
  std::string takt_version;        // plans of another version are made again
  AllocationGate* gate = nullptr;  // outlives the backend and its models; for tests
};

// Errors: unavailable (no driver, too old, no device; the message says what to do).
[[nodiscard]] Result<std::unique_ptr<Backend>> make_cuda_backend(CudaBackendOptions options);

// That the program's inputs and outputs at this batch size are those of the signature, whose every row is one of
// theirs. Errors: invalid_input (the model has its batch fixed inside; the message names the tensor).
[[nodiscard]] Result<void> check_rows(const Program& program, std::int64_t batch,
                                      const Signature& signature);

}  // namespace takt::cuda
