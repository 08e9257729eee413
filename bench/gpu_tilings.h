// SPDX-License-Identifier: Apache-2.0
// How long each way to share a contraction between blocks takes: what tensor_core_product.cc estimates them by.
// Thread-safe: pure function.
// Owns: plain values.
#pragma once

#include "backend/cuda/run/compiled_model.h"
#include "gpu_measure.h"

#include <cstdint>
#include <filesystem>

namespace takt::cuda {

// Of every contraction of the model that is another problem than those before it: name, problem, and the microseconds
// of each tiling that tuning may choose, the one first that the estimate prefers; [] where tensor cores don't take it. Takes about a minute
// for a large network, most of it to compile kernels.
[[nodiscard]] Json measure_tilings(const OpenedDevice& device, const std::filesystem::path& onnx,
                                   const ModelOptions& options, std::int64_t batch);

}  // namespace takt::cuda
