// SPDX-License-Identifier: Apache-2.0
// Writes an answer as the bytes of a ModelInferResponse, without a protobuf message in between: large
// tensors stay where they are.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "server/infer_call.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace takt::server::rpc {

// Tensors up to here are copied beside the names: a piece of its own would cost more.
inline constexpr std::size_t kCopiedBytesMax = 4096;

// A message's bytes in their order: written here, or still in the answer.
using WirePiece = std::variant<std::string, std::span<const std::byte>>;

// Every output has its raw contents, empty where it lies in shared memory.
[[nodiscard]] std::vector<WirePiece> write_infer_response(const InferAnswer& answer);

// The same as a ModelStreamInferResponse, marked as the last of its request.
[[nodiscard]] std::vector<WirePiece> write_stream_response(const InferAnswer& answer);
[[nodiscard]] std::string write_stream_error(std::string_view id, std::string_view message);

}  // namespace takt::server::rpc
