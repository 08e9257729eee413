// SPDX-License-Identifier: Apache-2.0
// The HTTP/1.1 server: inferences straight between sockets and slots, all else through Endpoints.
// Thread-safe: every member from any thread.
// Owns: its sockets and threads; service and endpoints outlive it.
#pragma once

#include "core/result.h"
#include "server/http/endpoints.h"
#include "server/http/http_options.h"
#include "server/infer_service.h"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace takt::server::http {

struct HttpStats {
  std::size_t connections = 0;  // open now
  std::uint64_t connections_taken = 0;
  std::uint64_t connections_refused = 0;  // too many
  std::uint64_t connections_timed_out = 0;
  std::uint64_t handshakes_failed = 0;  // of TLS
  std::uint64_t requests = 0;
};

class HttpServer {
 public:
  // Listens when it returns. Without a service it has its endpoints alone. Errors: unavailable (the
  // address or port can't be had), invalid_input (the address, or what TLS needs).
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> start(HttpOptions options,
                                                                 InferService* service,
                                                                 Endpoints& endpoints);
  ~HttpServer();  // stop(0)
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  [[nodiscard]] std::uint16_t port() const noexcept;
  [[nodiscard]] HttpStats stats() const;

  // Takes no further connections and requests; what is being answered has `patience` to end. Returns
  // when all connections are closed and no request of theirs is at the engine.
  void stop(Duration patience);

 private:
  struct State;
  explicit HttpServer(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

}  // namespace takt::server::http
