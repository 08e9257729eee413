// SPDX-License-Identifier: Apache-2.0
// The elements of an ONNX TensorProto, whichever of its fields they are written in.
// Thread-safe: pure functions.
// Owns: the bytes returned.
#pragma once

#include "core/result.h"
#include "core/tensor.h"

#include <cstddef>
#include <vector>

namespace onnx {
class TensorProto;
}

namespace takt::repository {

// As numbers lie in memory, dense and row by row, or strings in a slot (core/string_tensor.h). Of a
// tensor that is not external (onnx_external.h). Errors: invalid_input, without the tensor's name: the
// shape is none, or there are fewer or more elements than fill it.
[[nodiscard]] Result<std::vector<std::byte>> elements_of(const onnx::TensorProto& tensor,
                                                         DataType type, const Shape& shape);

}  // namespace takt::repository
