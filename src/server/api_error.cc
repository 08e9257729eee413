// SPDX-License-Identifier: Apache-2.0
#include "server/api_error.h"

#include <array>

namespace takt::server {
namespace {

struct CodeRow {
  ApiCode code;
  int http;
  int grpc;
  std::string_view name;
};

constexpr std::array kCodes{
    CodeRow{ApiCode::invalid_argument, 400, 3, "invalid_argument"},
    CodeRow{ApiCode::unauthenticated, 401, 16, "unauthenticated"},
    CodeRow{ApiCode::permission_denied, 403, 7, "permission_denied"},
    CodeRow{ApiCode::not_found, 404, 5, "not_found"},
    CodeRow{ApiCode::already_exists, 409, 6, "already_exists"},
    CodeRow{ApiCode::resource_exhausted, 503, 8, "resource_exhausted"},
    CodeRow{ApiCode::payload_too_large, 413, 8, "payload_too_large"},
    CodeRow{ApiCode::cancelled, 499, 1, "cancelled"},
    CodeRow{ApiCode::deadline_exceeded, 504, 4, "deadline_exceeded"},
    CodeRow{ApiCode::unimplemented, 501, 12, "unimplemented"},
    CodeRow{ApiCode::unavailable, 503, 14, "unavailable"},
    CodeRow{ApiCode::internal, 500, 13, "internal"},
};

const CodeRow& row_of(ApiCode code) noexcept {
  return kCodes[static_cast<std::size_t>(code)];
}

consteval bool in_order() {
  for (std::size_t i = 0; i < kCodes.size(); ++i) {
    if (static_cast<std::size_t>(kCodes[i].code) != i) return false;
  }
  return true;
}
static_assert(in_order());

ApiCode code_of(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::invalid_input:
      return ApiCode::invalid_argument;
    case ErrorKind::overloaded:
    case ErrorKind::out_of_memory:
      return ApiCode::resource_exhausted;
    case ErrorKind::unavailable:
    case ErrorKind::worker_lost:
    case ErrorKind::device_poisoned:
      return ApiCode::unavailable;
    case ErrorKind::deadline_exceeded:
      return ApiCode::deadline_exceeded;
    case ErrorKind::cancelled:
      return ApiCode::cancelled;
    case ErrorKind::corrupt_output:
    case ErrorKind::internal:
      return ApiCode::internal;
  }
  return ApiCode::internal;
}

}  // namespace

ApiError to_api_error(Error error) {
  return {code_of(error.kind), std::move(error.message)};
}

int http_status(ApiCode code) noexcept {
  return row_of(code).http;
}
int grpc_status(ApiCode code) noexcept {
  return row_of(code).grpc;
}
std::string_view to_string(ApiCode code) noexcept {
  return row_of(code).name;
}

}  // namespace takt::server
