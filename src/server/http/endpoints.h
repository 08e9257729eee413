// SPDX-License-Identifier: Apache-2.0
// What a server answers besides inferences, path by path.
// Thread-safe: every member from any thread.
// Owns: nothing.
#pragma once

#include "server/http/http_message.h"

namespace takt::server::http {

class Endpoints {
 public:
  virtual ~Endpoints() = default;
  // Whether answer() may take long (it loads models, reads files): it then runs on a thread of its own.
  [[nodiscard]] virtual bool is_slow(const HttpRequest& request) const = 0;
  // 404 and 405 included.
  [[nodiscard]] virtual HttpReply answer(const HttpRequest& request) = 0;
};

}  // namespace takt::server::http
