// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/grpc_server.h"

#include "server/grpc/calls.h"

#include <absl/synchronization/mutex.h>
#include <fmt/format.h>
#include <grpc/support/log.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <cstdlib>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace takt::server::rpc {
namespace {

constexpr int kHandshakeTimeoutMs = 10'000;
constexpr int kClientPingIntervalMs = 10'000;  // a client that asks more often is disconnected
constexpr int kOpenPlaces =
    64;  // calls that may come at once without one waiting for the next place
constexpr auto kSweepInterval = std::chrono::milliseconds(500);
constexpr int kOff = 0;
constexpr int kOn = 1;

int to_ms(Duration duration) {
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

// "[::1]:8001" and "127.0.0.1:8001"
std::string target_of(const GrpcOptions& options) {
  const bool bare_ipv6 =
      options.address.find(':') != std::string::npos && !options.address.starts_with('[');
  return fmt::format(fmt::runtime(bare_ipv6 ? "[{}]:{}" : "{}:{}"), options.address, options.port);
}

std::shared_ptr<::grpc::ServerCredentials> credentials_of(const GrpcOptions& options) {
  if (!options.tls) return ::grpc::InsecureServerCredentials();
  const bool ask_clients = !options.tls->client_ca.empty();
  ::grpc::SslServerCredentialsOptions tls(
      ask_clients ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                  : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  tls.pem_root_certs = options.tls->client_ca;
  tls.pem_key_cert_pairs.push_back({options.tls->key, options.tls->certificate});
  return ::grpc::SslServerCredentials(tls);
}

void limit(::grpc::ServerBuilder& builder, const GrpcOptions& options) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.message_bytes_max));
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION,
                             kOff);  // see ReceivedMessage
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.connection_calls_max);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, to_ms(options.keepalive_interval));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, to_ms(options.keepalive_timeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, kOn);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, to_ms(options.idle_timeout));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kClientPingIntervalMs);
  // Two servers on one port would each get some of the clients.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, kOff);
}

// gRPC tells of every failed handshake on stderr, whoever makes it fail. Debian's Abseil looks for
// deadlocks at each of gRPC's locks, which costs several percent of a call.
void set_up_library() {
  ::absl::SetMutexDeadlockDetectionMode(::absl::OnDeadlockCycle::kIgnore);
  constexpr auto kNothing = static_cast<gpr_log_severity>(GPR_LOG_SEVERITY_ERROR + 1);
  if (std::getenv("GRPC_VERBOSITY") == nullptr) ::gpr_set_log_verbosity(kNothing);
}

}  // namespace

struct GrpcServer::State {
  State(GrpcOptions options, InferService& service, Services services, const Clock& clock)
      : shared(std::move(options), service, std::move(services), clock) {}

  Shared shared;
  int port = 0;
  std::unique_ptr<::grpc::Server> server;
  std::mutex stop_mutex;  // guards stopped
  bool stopped = false;
};

GrpcServer::GrpcServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<GrpcServer>> GrpcServer::start(GrpcOptions options, InferService& service,
                                                      Services services, const Clock& clock) {
  if (options.message_bytes_max > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    return fail(ErrorKind::invalid_input, "gRPC messages have less than 2 GiB");
  }
  set_up_library();
  auto state = std::make_unique<State>(std::move(options), service, std::move(services), clock);
  const std::string target = target_of(state->shared.options);
  ::grpc::ServerBuilder builder;
  limit(builder, state->shared.options);
  builder.AddListeningPort(target, credentials_of(state->shared.options), &state->port);
  builder.RegisterAsyncGenericService(&state->shared.calls_service);
  state->shared.poller = std::make_unique<Poller>(builder.AddCompletionQueue());
  state->server = builder.BuildAndStart();
  if (state->server == nullptr || state->port == 0) {
    return fail(
        ErrorKind::unavailable,
        fmt::format("can't listen on {} for gRPC; choose another port or address, or end "
                    "what has it{}",
                    target,
                    state->shared.options.tls ? "; or the certificate and key don't match" : ""));
  }
  for (int i = 0; i < kOpenPlaces; ++i) open_place(state->shared);
  state->shared.poller->at_pauses([raw = state.get()] { raw->shared.service.flush(); });
  state->shared.poller->every(kSweepInterval, [raw = state.get()] { sweep(raw->shared); });
  state->shared.poller->start();
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(state)));
}

GrpcServer::~GrpcServer() {
  stop(Duration{});
}

std::uint16_t GrpcServer::port() const noexcept {
  return static_cast<std::uint16_t>(state_->port);
}

void GrpcServer::stop(Duration patience) {
  const std::scoped_lock lock(state_->stop_mutex);
  if (std::exchange(state_->stopped, true)) return;
  state_->server->Shutdown(
      std::chrono::system_clock::now() +
      std::chrono::duration_cast<std::chrono::system_clock::duration>(patience));
  state_->shared.closed = true;
  state_->server->Wait();
  // Withdrawn requests come back from the engine, which has its own bound; slow methods end.
  while (state_->shared.calls > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  state_->shared.slow.join();
  state_->shared.poller->stop();
}

}  // namespace takt::server::rpc
