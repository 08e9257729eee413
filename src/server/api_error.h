// SPDX-License-Identifier: Apache-2.0
// What a client is told when its call fails: a code that HTTP and gRPC each have, and a message.
// Thread-safe: plain values.
// Owns: the message.
#pragma once

#include "core/result.h"

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace takt::server {

// Named as gRPC's status codes; http_status() says what each is in HTTP.
enum class ApiCode : std::uint8_t {
  invalid_argument,
  unauthenticated,
  permission_denied,
  not_found,
  already_exists,
  resource_exhausted,  // a limit or a queue is full: try again later
  payload_too_large,   // in gRPC resource_exhausted as well
  cancelled,
  deadline_exceeded,
  unimplemented,
  unavailable,
  internal,
};

struct ApiError {
  ApiCode code = ApiCode::internal;
  std::string message;
};

template <typename T>
using ApiResult = std::expected<T, ApiError>;

[[nodiscard]] inline std::unexpected<ApiError> refuse(ApiCode code, std::string message) {
  return std::unexpected(ApiError{code, std::move(message)});
}

// An error of the engine, as a client sees it.
[[nodiscard]] ApiError to_api_error(Error error);

[[nodiscard]] int http_status(ApiCode code) noexcept;  // 400, 401, ...
[[nodiscard]] int grpc_status(ApiCode code) noexcept;  // the number of grpc::StatusCode
[[nodiscard]] std::string_view to_string(ApiCode code) noexcept;

}  // namespace takt::server
