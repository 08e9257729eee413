// SPDX-License-Identifier: Apache-2.0
// One connection of a client: reads requests, answers them, in their order.
// Thread-safe: no; everything happens on the thread of its io_context. Private to server/http.
// Owns: the socket and its buffers.
#pragma once

#include "core/time.h"
#include "server/http/browser_guard.h"
#include "server/http/compression.h"
#include "server/http/endpoints.h"
#include "server/http/http_options.h"
#include "server/http/http_server.h"
#include "server/http/json_call.h"
#include "server/http/transport.h"
#include "server/infer_service.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace takt::server::http {

// What all connections of a server use.
struct Shared {
  Shared(HttpOptions http_options, InferService* infer_service, Endpoints& all_endpoints)
      : options(std::move(http_options)),
        service(infer_service),
        endpoints(all_endpoints),
        browsers({.tls = options.tls.has_value(),
                  .check_host = !options.tls && !(options.access && options.access->has_keys()),
                  .hosts = options.hosts,
                  .origins = options.origins}) {}

  const HttpOptions options;
  InferService* const service;  // null: nothing is inferred here
  Endpoints& endpoints;
  const BrowserGuard browsers;
  std::optional<boost::asio::ssl::context> tls;
  const SystemClock clock;
  boost::asio::thread_pool slow{2};  // for endpoints that take long
  std::atomic<int> slow_waiting{0};
  std::atomic<bool> stopping{false};
  std::atomic<std::size_t> connections{0};
  std::atomic<std::uint64_t> connections_taken{0};
  std::atomic<std::uint64_t> connections_refused{0};
  std::atomic<std::uint64_t> connections_timed_out{0};
  std::atomic<std::uint64_t> handshakes_failed{0};
  std::atomic<std::uint64_t> requests{0};
};

class Connection;

// Between the connections of one thread and the engine: what they submit while the thread reads what has
// come for them is decided on together, and answers come in as many at once as there are.
// Thread-safe: add(); all else is of the thread.
class Exchange {
 public:
  Exchange(Executor thread, InferService* service)
      : thread_(std::move(thread)), service_(service) {}

  // Behind what the thread has to do now, everything submitted until then is flushed.
  void flush_later();
  // Of a connection that waits in ask().
  void add(Connection& connection, ApiResult<InferAnswer> answer);

 private:
  struct Answered {
    Connection* connection;
    ApiResult<InferAnswer> answer;
  };
  void deliver();

  const Executor thread_;
  InferService* const service_;
  bool flushes_ = false;         // that is among the thread's work already
  std::vector<Answered> taken_;  // by deliver()
  std::mutex mutex_;
  std::vector<Answered> answers_;  // guarded by mutex_; not empty: the thread will see to them
};

class Connection {
 public:
  // `exchange` is of the thread that serves it.
  Connection(Socket socket, Shared& shared, Exchange& exchange);

  Awaitable<void> serve();

  // Called every now and then, on its thread: ends what takes too long, and withdraws what a client
  // that has gone was waiting for.
  void sweep(TimePoint now);
  // Ends it as soon as the request under way is answered, or at once when it is idle.
  void finish();
  void abort();                                  // closes the socket and withdraws its request
  void answered(ApiResult<InferAnswer> answer);  // what ask() waits for

 private:
  using HeadParser = boost::beast::http::request_parser<boost::beast::http::empty_body>;
  enum class Phase : std::uint8_t { handshake, idle, header, body, answering, writing, leaving };

  // A request whose headers have come.
  struct Head {
    std::string method;
    std::optional<Target> target;
    bool keep_alive = false;
    bool old = false;      // HTTP/1.0
    bool waits = false;    // for 100 Continue, before it sends its body
    bool chunked = false;  // and not read yet
    std::string host;
    std::string origin;
    std::string fetch_site;
    std::string authorization;
    std::optional<std::uint64_t> json_length;  // Inference-Header-Content-Length
    std::optional<Coding> coding;              // of the body
    Coding accepted = Coding::identity;        // for the answer
    std::uint64_t unread = 0;                  // of the body
    std::string content_type;
    std::string last_event_id;
  };

  void enter(Phase phase);
  Awaitable<bool> shake_hands();
  [[nodiscard]] static Head read_head(const HeadParser& parser);
  [[nodiscard]] std::optional<ApiError> check_head(const HeadParser& parser, Head& head) const;
  [[nodiscard]] ApiResult<void> check_access(const Head& head, Need need) const;
  Awaitable<bool> handle(HeadParser& parser);
  Awaitable<bool> infer(Head& head, HeadParser& parser, std::string model, std::string version);
  Awaitable<ApiResult<InferCall>> read_call(Head& head, HeadParser& parser);
  Awaitable<ApiResult<InferCall>> read_plain_call(Head& head);
  Awaitable<ApiResult<InferCall>> read_raw_call(Head& head);
  ApiResult<InferCall> call_from(std::string body, const Head& head);
  Awaitable<ApiResult<std::string>> read_body(Head& head, HeadParser& parser);
  Awaitable<bool> go_on(Head& head);
  Awaitable<bool> read_text(std::string& text, std::size_t bytes);
  Awaitable<bool> read_exactly(std::span<std::byte> into);
  Awaitable<ApiResult<InferAnswer>> ask(InferCall call);
  HttpReply answer_of(const HttpRequest& request) noexcept;
  Awaitable<HttpReply> answer_elsewhere(HttpRequest request);
  Awaitable<HttpReply> answer_later(HttpRequest request);
  Awaitable<bool> drop_body(Head& head);
  Awaitable<bool> reply(Head& head, const HttpReply& reply);
  Awaitable<bool> reply(Head& head, const InferAnswer& answer);
  Awaitable<bool> stream(Head& head, const HttpReply& reply);
  Awaitable<bool> send_part(const Head& head, std::string_view part);
  Awaitable<bool> write(Head& head, int status, std::string_view headers,
                        std::span<const std::string_view> body);
  Awaitable<void> leave();

  Transport stream_;
  Shared& shared_;
  Exchange& exchange_;
  boost::beast::flat_buffer buffer_;
  const RoomSource room_;
  JsonCallReader json_reader_;
  std::string text_;  // the JSON of a request
  std::string json_;  // of an answer
  std::string out_head_;
  std::vector<std::span<const std::byte>> binary_;
  Phase phase_ = Phase::idle;
  TimePoint due_ = kNever;  // of the phase
  bool secured_ = false;    // TLS is established
  bool gone_ = false;       // the client has hung up
  bool deaf_ = false;       // it may go on sending what nobody reads
  bool ended_ = false;      // nothing more comes; Asio would wait for it in vain
  InferTicket ticket_;
  std::move_only_function<void(ApiResult<InferAnswer>)> resume_;  // ask()
  // Of a client that listens to events; runs out when there is something to do for it.
  std::shared_ptr<Timer> listening_;
};

}  // namespace takt::server::http
