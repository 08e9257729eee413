// SPDX-License-Identifier: Apache-2.0
// Requests and replies of everything but inferences: whole in memory.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include "server/api_error.h"
#include "server/http/event_stream.h"

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::server::http {

struct HttpRequest {
  std::string method;             // "GET"
  std::vector<std::string> path;  // "/v2/models/a%2Fb" -> {"v2", "models", "a/b"}
  std::map<std::string, std::string> query;
  std::string body;
  std::string content_type{};   // of the body, as the client says
  std::string last_event_id{};  // of a client that has listened to events before
};

// Answered alike; of HEAD the body stays here.
[[nodiscard]] inline bool is_get(const HttpRequest& request) {
  return request.method == "GET" || request.method == "HEAD";
}

struct HttpReply {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::shared_ptr<EventStream> stream;  // set: in place of `body`
};

// The path and query of a request's target, decoded. Nothing: it is none (a bad escape, NUL).
struct Target {
  std::vector<std::string> path;
  std::map<std::string, std::string> query;
};
[[nodiscard]] std::optional<Target> parse_target(std::string_view target);

[[nodiscard]] HttpReply error_reply(const ApiError& error);
// 405; `allowed` such as "GET, POST".
[[nodiscard]] HttpReply wrong_method(std::string_view allowed);
[[nodiscard]] std::string_view reason_phrase(int status) noexcept;

}  // namespace takt::server::http
