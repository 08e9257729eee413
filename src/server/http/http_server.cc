// SPDX-License-Identifier: Apache-2.0
#include "server/http/http_server.h"

#include "server/http/connection.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <netinet/tcp.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace takt::server::http {
namespace {

namespace net = boost::asio;
using boost::system::error_code;
using net::ip::tcp;

constexpr auto kVanishedMore = std::chrono::seconds(5);
constexpr auto kSweepInterval = std::chrono::milliseconds(100);
constexpr auto kAcceptRetry = std::chrono::milliseconds(50);  // where no descriptor is left

// A thread with the connections that it serves.
struct IoThread {
  explicit IoThread(InferService* service) : exchange(context.get_executor(), service) {}

  net::io_context context{1};
  net::executor_work_guard<net::io_context::executor_type> work{context.get_executor()};
  Timer timer{context};
  std::set<Connection*> connections;  // of the thread
  Exchange exchange;
  bool ended = false;  // of the thread: no further sweeps
  std::thread thread;
};

// As long as a connection is there, whatever it ends with.
class Listed {
 public:
  Listed(IoThread& io, Connection& connection) : io_(io), connection_(connection) {
    io_.connections.insert(&connection_);
  }
  ~Listed() { io_.connections.erase(&connection_); }
  Listed(const Listed&) = delete;
  Listed& operator=(const Listed&) = delete;

 private:
  IoThread& io_;
  Connection& connection_;
};

Awaitable<void> serve(Socket socket, Shared& shared, IoThread& io) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  // A client that has vanished is noticed by what it doesn't acknowledge; later than one that only
  // doesn't read, which the connection itself gives up.
  using UserTimeout = net::detail::socket_option::integer<IPPROTO_TCP, TCP_USER_TIMEOUT>;
  const auto unheard = std::chrono::duration_cast<std::chrono::milliseconds>(
      2 * shared.options.write_timeout + kVanishedMore);
  socket.set_option(UserTimeout(static_cast<int>(unheard.count())), ignored);
  Connection connection(std::move(socket), shared, io.exchange);
  const Listed listed(io, connection);
  co_await connection.serve();
}

}  // namespace

struct HttpServer::State {
  State(HttpOptions options, InferService* service, Endpoints& endpoints)
      : shared(std::move(options), service, endpoints), threads(make_threads(shared)) {}

  static std::vector<std::unique_ptr<IoThread>> make_threads(const Shared& shared) {
    std::vector<std::unique_ptr<IoThread>> made;
    for (int i = 0; i < std::max(1, shared.options.threads); ++i) {
      made.push_back(std::make_unique<IoThread>(shared.service));
    }
    return made;
  }

  Awaitable<void> accept() {
    std::size_t next = 0;
    Timer pause(threads.front()->context);
    while (acceptor.is_open()) {
      IoThread& io = *threads[next++ % threads.size()];
      auto [failure, socket] = co_await acceptor.async_accept(io.context, kTuple);
      if (!acceptor.is_open()) co_return;
      if (failure) {
        pause.expires_after(kAcceptRetry);
        co_await pause.async_wait(kTuple);
        continue;
      }
      if (shared.connections >= shared.options.connections_max) {
        ++shared.connections_refused;
        continue;  // closes it
      }
      ++shared.connections;
      ++shared.connections_taken;
      net::co_spawn(io.context, serve(std::move(socket), shared, io),
                    [this](const std::exception_ptr& /*none is thrown*/) { --shared.connections; });
    }
  }

  Awaitable<void> sweep(IoThread& io) {
    while (!io.ended) {
      io.timer.expires_after(kSweepInterval);
      co_await io.timer.async_wait(kTuple);
      const TimePoint now = shared.clock.now();
      for (Connection* const connection : io.connections) connection->sweep(now);
    }
  }

  void run(IoThread& io) {
    ::pthread_setname_np(::pthread_self(), "takt-http");
    net::co_spawn(io.context, sweep(io), net::detached);
    io.context.run();
  }

  // Calls `each` for every connection, on its thread.
  void tell_all(void (Connection::*each)()) {
    for (const auto& io : threads) {
      net::post(io->context, [&thread = *io, each] {
        for (Connection* const connection : thread.connections) (connection->*each)();
      });
    }
  }

  bool wait_closed(Duration patience) const {
    const TimePoint end = shared.clock.now() + patience;
    while (shared.connections > 0) {
      if (shared.clock.now() >= end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }

  Shared shared;
  std::vector<std::unique_ptr<IoThread>> threads;
  tcp::acceptor acceptor{threads.front()->context};
  std::uint16_t port = 0;
  std::mutex stop_mutex;  // guards stopped
  bool stopped = false;
};

HttpServer::HttpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpOptions options, InferService* service,
                                                      Endpoints& endpoints) {
  error_code failure;
  const auto address = net::ip::make_address(options.address, failure);
  const std::string place = options.address + ":" + std::to_string(options.port);
  if (failure) {
    return fail(ErrorKind::invalid_input,
                "'" + options.address + "' is no IP address; expected one such as 127.0.0.1");
  }
  auto state = std::make_unique<State>(std::move(options), service, endpoints);
  if (const auto& tls = state->shared.options.tls) {
    Result<TlsContext> context = make_tls_context(*tls);
    if (!context) return std::unexpected(std::move(context).error().within("tls"));
    state->shared.tls.emplace(context->release());
  }
  const tcp::endpoint endpoint(address, state->shared.options.port);
  tcp::acceptor& acceptor = state->acceptor;
  acceptor.open(endpoint.protocol(), failure);
  if (!failure) acceptor.set_option(tcp::acceptor::reuse_address(true), failure);
  if (!failure) acceptor.bind(endpoint, failure);
  if (!failure) acceptor.listen(net::socket_base::max_listen_connections, failure);
  if (failure) {
    return fail(ErrorKind::unavailable, "can't listen on " + place + ": " + failure.message() +
                                            "; choose another port, or end what has it");
  }
  state->port = acceptor.local_endpoint().port();
  net::co_spawn(state->threads.front()->context, state->accept(), net::detached);
  for (const auto& io : state->threads) {
    io->thread = std::thread([raw = state.get(), &thread = *io] { raw->run(thread); });
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state)));
}

HttpServer::~HttpServer() {
  stop(Duration{});
}

std::uint16_t HttpServer::port() const noexcept {
  return state_->port;
}

HttpStats HttpServer::stats() const {
  const Shared& shared = state_->shared;
  return {.connections = shared.connections,
          .connections_taken = shared.connections_taken,
          .connections_refused = shared.connections_refused,
          .connections_timed_out = shared.connections_timed_out,
          .handshakes_failed = shared.handshakes_failed,
          .requests = shared.requests};
}

void HttpServer::stop(Duration patience) {
  const std::scoped_lock lock(state_->stop_mutex);
  if (std::exchange(state_->stopped, true)) return;
  Shared& shared = state_->shared;
  shared.stopping = true;
  net::post(state_->threads.front()->context, [this] {
    error_code ignored;
    state_->acceptor.close(ignored);
  });
  state_->tell_all(&Connection::finish);
  if (!state_->wait_closed(patience)) {
    // Withdrawn requests come back from the engine, which has its own bound.
    do {
      state_->tell_all(&Connection::abort);
    } while (!state_->wait_closed(std::chrono::seconds(1)));
  }
  for (const auto& io : state_->threads) {
    net::post(io->context, [&thread = *io] {
      thread.ended = true;  // the timer may have gone off, with nothing to cancel
      thread.timer.cancel();
    });
    io->work.reset();
  }
  for (const auto& io : state_->threads) {
    if (io->thread.joinable()) io->thread.join();
  }
  shared.slow.join();
}

}  // namespace takt::server::http
