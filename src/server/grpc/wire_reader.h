// SPDX-License-Identifier: Apache-2.0
// Reads a ModelInferRequest from the pieces that gRPC received it in, without a protobuf message in
// between: the bytes of tensors are copied once, into a slot.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "server/api_error.h"
#include "server/grpc/wire_cursor.h"
#include "server/infer_call.h"

#include <cstddef>
#include <string>

namespace takt::server::rpc {

// What a request may have at most.
inline constexpr std::size_t kTensorsMax = 1024;  // inputs, and outputs
inline constexpr std::size_t kRankMax = 16;
inline constexpr std::size_t kParametersMax = 64;   // of the request, and of each tensor
inline constexpr std::size_t kTextBytesMax = 1024;  // of names, versions, ids and keys

// The inputs lie in one slot, each at a multiple of 64. Errors: invalid_argument (bytes that are no
// ModelInferRequest, a limit, tensor data that don't belong to the inputs), those of `room`.
[[nodiscard]] ApiResult<InferCall> read_infer_request(Pieces message, const RoomSource& room);

// The request's id, also of one that can't be read otherwise; empty where there is none to be found.
[[nodiscard]] std::string read_request_id(Pieces message);

}  // namespace takt::server::rpc
