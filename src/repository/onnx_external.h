// SPDX-License-Identifier: Apache-2.0
// An ONNX file as it is, and the weights that it keeps in other files: they must lie in its folder and
// be complete.
// Thread-safe: pure functions. Owns: what is read.
#pragma once

#include "core/result.h"
#include "repository/limits.h"

#include <cstddef>
#include <filesystem>
#include <vector>

namespace onnx {
class ModelProto;
class TensorProto;
}  // namespace onnx

namespace takt::repository {

// With the weights that lie in it. Errors: invalid_input, which names the file: missing, empty, too
// large, truncated or not ONNX (the message says what was found instead); internal when reading fails.
[[nodiscard]] Result<void> parse_onnx(const std::filesystem::path& file, const Limits& limits,
                                      onnx::ModelProto& model);

// Checks every tensor of the model's graph, subgraphs and functions. Errors: invalid_input, without
// the ONNX file's name.
[[nodiscard]] Result<void> check_external_data(const onnx::ModelProto& model,
                                               const std::filesystem::path& folder);

[[nodiscard]] bool is_external(const onnx::TensorProto& tensor) noexcept;

// The elements of one external tensor that fills `bytes_expected`. Errors: invalid_input (not inside the
// folder, incomplete, of another size) or internal (reading failed), without the ONNX file's name.
[[nodiscard]] Result<std::vector<std::byte>> read_external_data(const onnx::TensorProto& tensor,
                                                                const std::filesystem::path& folder,
                                                                std::size_t bytes_expected);

}  // namespace takt::repository
