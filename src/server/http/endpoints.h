// SPDX-License-Identifier: Apache-2.0
// What a server answers besides inferences, path by path.
// Thread-safe: every member from any thread.
// Owns: nothing.
#pragma once

#include "server/access.h"
#include "server/http/http_message.h"

#include <functional>

namespace takt::server::http {

class Endpoints {
 public:
  virtual ~Endpoints() = default;
  // Whether answer() may take long (it loads models, reads files): it then runs on a thread of its own.
  [[nodiscard]] virtual bool is_slow(const HttpRequest& request) const = 0;
  // What a request asks of its client; its body hasn't come. What says nothing is for operators.
  [[nodiscard]] virtual Need need(const HttpRequest& /*request*/) const { return Need::operate; }
  // 404 and 405 included.
  [[nodiscard]] virtual HttpReply answer(const HttpRequest& request) = 0;

  // Whether the request is begun by begin(), which returns at once, in place of answer().
  [[nodiscard]] virtual bool is_long(const HttpRequest& /*request*/) const { return false; }
  // Calls `done` exactly once, from any thread; also where the client has gone.
  using Done = std::move_only_function<void(HttpReply)>;
  virtual void begin(HttpRequest request, Done done) { done(answer(request)); }
};

}  // namespace takt::server::http
