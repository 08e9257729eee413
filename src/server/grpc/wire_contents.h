// SPDX-License-Identifier: Apache-2.0
// The elements of an input as InferTensorContents has them, one field a kind of type, brought into the
// binary form of a tensor.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/tensor.h"
#include "server/api_error.h"
#include "server/grpc/wire_cursor.h"

#include <cstddef>
#include <span>

namespace takt::server::rpc {

// The bytes that `count` elements take as a tensor: for strings, with their lengths. Never more than
// eight times what `contents` has. Errors: invalid_argument (a type that has no field, or bytes that
// are too few for so many elements).
[[nodiscard]] ApiResult<std::size_t> contents_bytes(WireCursor contents, DataType type,
                                                    std::size_t count);

// Writes the elements; `into` has the size that contents_bytes() told. Errors: invalid_argument
// (another number of elements, one that the type can't hold, elements in another type's field).
[[nodiscard]] ApiResult<void> read_contents(WireCursor contents, DataType type,
                                            std::span<std::byte> into);

}  // namespace takt::server::rpc
