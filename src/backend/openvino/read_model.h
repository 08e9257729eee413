// SPDX-License-Identifier: Apache-2.0
// Reads an ONNX file with OpenVINO's ONNX frontend, and gives its inputs their shapes.
// Thread-safe: pure functions. Owns: what it returns. Private to backend/openvino.
#pragma once

#include "core/result.h"
#include "core/tensor.h"

#include <openvino/core/dimension.hpp>
#include <openvino/core/model.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <span>

namespace takt::ov_backend {

// Errors: invalid_input (missing, empty, truncated, not ONNX, an operator that is not supported,
// shapes that contradict each other inside the model), out_of_memory.
[[nodiscard]] Result<std::shared_ptr<ov::Model>> read_onnx_file(const std::filesystem::path& path);

// Sets the shape of every input: the file's, with `specs` where it leaves a dimension open (empty
// `specs`: nothing is known beyond the file), and `batch` as first dimension when the model has
// one. Errors: invalid_input (names, types or sizes that contradict the file, a batch that the
// model can't carry).
[[nodiscard]] Result<void> set_shapes(ov::Model& model, std::span<const TensorSpec> specs,
                                      std::optional<ov::Dimension> batch);

}  // namespace takt::ov_backend
