// SPDX-License-Identifier: Apache-2.0
// /v1/reviews: stored verdicts for people to look at, their decisions, and labels for training.
// Thread-safe: every member from any thread; each may wait for the disk.
// Owns: nothing; the desk outlives it.
#pragma once

#include "line/review_desk.h"
#include "server/http/endpoints.h"

#include <cstdint>
#include <span>
#include <string>

namespace takt::rest {

class ReviewEndpoints {
 public:
  // No desk: the server keeps no verdicts, and every path says so.
  explicit ReviewEndpoints(line::ReviewDesk* desk) : desk_(desk) {}

  [[nodiscard]] server::http::HttpReply answer(const server::http::HttpRequest& request);

 private:
  using Request = server::http::HttpRequest;
  using Reply = server::http::HttpReply;

  [[nodiscard]] Reply list(const Request& request) const;
  [[nodiscard]] Reply export_labels(const Request& request) const;
  [[nodiscard]] Reply one(std::int64_t id, std::span<const std::string> rest,
                          const Request& request);

  line::ReviewDesk* const desk_;
};

}  // namespace takt::rest
