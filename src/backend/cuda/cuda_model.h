// SPDX-License-Identifier: Apache-2.0
// A loaded model of the cuda backend: what its instances share.
// Thread-safe: yes, it never changes.
// Owns: code and weights on the device, and shares of the pinned inputs. Private to the cuda backend.
#pragma once

#include "backend/backend.h"
#include "backend/batch_check.h"
#include "backend/cuda/host_memory.h"
#include "backend/cuda/kernels/kernel_source.h"
#include "backend/cuda/module.h"
#include "backend/cuda/run/compiled_model.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace takt::cuda {

// How the images of an input become its tensor at one batch size.
struct ImageKernel {
  Kernel kernel;
  LaunchShape shape;
};

struct CudaModel {
  std::shared_ptr<const CompiledModel> compiled;
  BatchRules rules;
  PinnedInputs pinned;
  // Of each batch size and input; nothing for finished tensors.
  std::map<std::int64_t, std::vector<std::optional<ImageKernel>>> images;
  LoadOptions options;
  std::vector<std::string> notes;  // LoadedModel::notes()
};

}  // namespace takt::cuda
