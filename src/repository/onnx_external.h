// SPDX-License-Identifier: Apache-2.0
// Weights that an ONNX file keeps in other files: they must lie in its folder and be complete.
// Thread-safe: pure functions. Owns: nothing. Private to this layer.
#pragma once

#include "core/result.h"

#include <filesystem>

namespace onnx {
class ModelProto;
class TensorProto;
}  // namespace onnx

namespace takt::repository {

// Checks every tensor of the model's graph, subgraphs and functions. Errors: invalid_input, without
// the ONNX file's name.
[[nodiscard]] Result<void> check_external_data(const onnx::ModelProto& model,
                                               const std::filesystem::path& folder);

[[nodiscard]] bool is_external(const onnx::TensorProto& tensor) noexcept;

}  // namespace takt::repository
