// SPDX-License-Identifier: Apache-2.0
// Element types of ONNX in takt's words.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/tensor.h"

#include <cstdint>
#include <optional>
#include <string>

namespace takt::repository {

// nullopt for a type that takt doesn't feed (complex, 4-bit and 8-bit floats).
[[nodiscard]] std::optional<DataType> from_onnx_type(std::int32_t type) noexcept;

// "FLOAT8E4M3FN", or "42" for a number that the schema doesn't know.
[[nodiscard]] std::string onnx_type_name(std::int32_t type);

}  // namespace takt::repository
