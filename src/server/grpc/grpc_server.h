// SPDX-License-Identifier: Apache-2.0
// The gRPC server: inferences straight between received messages and slots, everything else through the
// table of methods.
// Thread-safe: every member from any thread.
// Owns: its sockets and threads; service, clock and what `services` names outlive it.
#pragma once

#include "core/result.h"
#include "core/time.h"
#include "server/api_error.h"
#include "server/grpc/methods.h"
#include "server/infer_service.h"
#include "server/tls.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace takt::server::rpc {

// Whether a call may go on, asked before anything of its messages is read. `method` is such as
// "inference.GRPCInferenceService/ModelInfer"; `authorization` the metadata of that name, empty where
// there is none. Must be quick.
using Access =
    std::function<ApiResult<void>(std::string_view method, std::string_view authorization)>;

struct GrpcOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 8001;                              // 0: one that is free
  std::size_t message_bytes_max = std::size_t{64} << 20;  // also of one that was compressed
  std::size_t calls_max = 4096;                           // under way, of all clients
  int connection_calls_max = 256;                         // of one connection
  std::size_t stream_unanswered_max = 64;                 // of one stream; then it isn't read
  // From the beginning of a call with one message to the message. A stream may be silent.
  Duration message_timeout = std::chrono::seconds(10);
  Duration idle_timeout = std::chrono::minutes(10);  // of a connection without calls
  // A connection without traffic is asked whether it is still there, and closed without an answer.
  Duration keepalive_interval = std::chrono::seconds(60);
  Duration keepalive_timeout = std::chrono::seconds(20);
  std::optional<TlsOptions> tls;
  Access access;  // empty: everything is allowed
};

class GrpcServer {
 public:
  // Listens when it returns. Errors: unavailable (the address or port can't be had, or the
  // certificate can't be used), invalid_input.
  [[nodiscard]] static Result<std::unique_ptr<GrpcServer>> start(GrpcOptions options,
                                                                 InferService& service,
                                                                 Services services,
                                                                 const Clock& clock);
  ~GrpcServer();  // stop(0)
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  [[nodiscard]] std::uint16_t port() const noexcept;

  // Takes no further calls; those under way have `patience` to end, then they are cancelled. Returns
  // when none is left and no request of theirs is at the engine.
  void stop(Duration patience);

 private:
  struct State;
  explicit GrpcServer(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

}  // namespace takt::server::rpc
