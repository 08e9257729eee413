// SPDX-License-Identifier: Apache-2.0
// One ONNX TensorProto from a file, gzip or not, as a plain tensor.
// Thread-safe: pure functions. Owns: the tensor read. Private to this layer.
#pragma once

#include "core/result.h"
#include "repository/reference.h"

#include <cstdint>
#include <filesystem>

namespace takt::repository {

// Errors: invalid_input, which names the file: unreadable, damaged, more than `bytes_max` unpacked,
// a type that takt doesn't feed, data that doesn't fill the shape, external data.
[[nodiscard]] Result<ReferenceTensor> read_tensor_proto(const std::filesystem::path& file,
                                                        std::uint64_t bytes_max);

}  // namespace takt::repository
