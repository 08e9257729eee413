// SPDX-License-Identifier: Apache-2.0
// A reply whose body is JSON, for the .cc files that make some.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "server/http/http_message.h"

#include <nlohmann/json.hpp>

namespace takt::server::http {

template <typename Json = nlohmann::ordered_json>
[[nodiscard]] HttpReply json_reply(const Json& json) {
  HttpReply reply;
  // Names and messages may hold anything.
  reply.body = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return reply;
}

}  // namespace takt::server::http
