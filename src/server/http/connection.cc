// SPDX-License-Identifier: Apache-2.0
#include "server/http/connection.h"

#include "server/http/json_answer.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

namespace takt::server::http {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using boost::system::error_code;
using net::awaitable;

constexpr auto kTuple = net::as_tuple(net::use_awaitable);
// What is left of a body after an error is read away up to here; beyond, the connection is closed.
constexpr std::uint64_t kDropBytesMax = std::uint64_t{1} << 20;
constexpr std::size_t kCompressBytesMin = 1024;
constexpr std::size_t kKeptTextBytesMax = std::size_t{1} << 20;
constexpr int kSlowWaitingMax = 64;
constexpr std::string_view kJson = "Content-Type: application/json\r\n";

template <typename Text>
std::string_view view_of(const Text& text) {
  return {text.data(), text.size()};
}

std::optional<std::uint64_t> parse_length(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// {"v2","models",NAME,"infer"} or {"v2","models",NAME,"versions",VERSION,"infer"}.
struct InferPath {
  std::string model;
  std::string version;
};
std::optional<InferPath> infer_path(const Target& target) {
  const std::vector<std::string>& path = target.path;
  const bool plain = path.size() == 4;
  const bool versioned = path.size() == 6 && path[3] == "versions";
  if (!plain && !versioned) return std::nullopt;
  if (path[0] != "v2" || path[1] != "models" || path.back() != "infer") return std::nullopt;
  return InferPath{path[2], versioned ? path[4] : std::string()};
}

}  // namespace

Connection::Connection(net::ip::tcp::socket socket, Shared& shared)
    : socket_(std::move(socket)), shared_(shared), buffer_(shared.options.header_bytes_max) {}

void Connection::enter(Phase phase) {
  phase_ = phase;
  const HttpOptions& options = shared_.options;
  const TimePoint now = shared_.clock.now();
  due_ = phase == Phase::idle      ? now + options.idle_timeout
         : phase == Phase::header  ? now + options.header_timeout
         : phase == Phase::body    ? now + options.body_timeout
         : phase == Phase::writing ? now + options.write_timeout
                                   : kNever;
}

void Connection::sweep(TimePoint now) {
  // A request that has begun must go on.
  if (phase_ == Phase::idle && buffer_.size() > 0) enter(Phase::header);
  if (phase_ == Phase::answering) {
    char byte = 0;
    const ssize_t got = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    const bool hung_up = got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
    if (hung_up && !std::exchange(gone_, true)) ticket_.cancel();
  }
  if (now < due_) return;
  ++shared_.connections_timed_out;
  due_ = kNever;
  error_code ignored;
  socket_.close(ignored);
}

void Connection::finish() {
  finishing_ = true;
  if (phase_ != Phase::idle || buffer_.size() > 0) return;
  error_code ignored;
  socket_.close(ignored);
}

void Connection::abort() {
  finishing_ = true;
  ticket_.cancel();
  error_code ignored;
  socket_.close(ignored);
}

awaitable<void> Connection::serve() {
  bool open = true;
  while (open && !finishing_) {
    enter(Phase::idle);
    HeadParser parser;
    parser.header_limit(static_cast<std::uint32_t>(shared_.options.header_bytes_max));
    parser.body_limit(boost::none);
    const auto [failure, bytes] =
        co_await bhttp::async_read_header(socket_, buffer_, parser, kTuple);
    if (failure == bhttp::error::end_of_stream || !socket_.is_open()) break;
    if (failure) {
      // Only what isn't HTTP is told so; a broken connection can't be.
      if (failure.category() != make_error_code(bhttp::error::bad_method).category()) break;
      const bool large =
          failure == bhttp::error::header_limit || failure == bhttp::error::buffer_overflow;
      Head head;
      HttpReply sorry =
          error_reply({ApiCode::invalid_argument, "not an HTTP/1.1 request: " + failure.message()});
      if (large) sorry.status = 431;
      co_await reply(head, sorry);
      break;
    }
    ++shared_.requests;
    open = co_await handle(parser);
  }
  error_code ignored;
  socket_.shutdown(net::ip::tcp::socket::shutdown_send, ignored);
}

Connection::Head Connection::read_head(const HeadParser& parser) {
  const auto& message = parser.get();
  const auto field = [&message](auto name) { return view_of(message[name]); };
  Head head;
  head.method = std::string(view_of(message.method_string()));
  head.target = parse_target(view_of(message.target()));
  head.keep_alive = message.keep_alive();
  head.chunked = parser.chunked();
  if (const auto length = parser.content_length()) head.content_length = *length;
  head.json_length = parse_length(field("Inference-Header-Content-Length"));
  head.coding = parse_coding(field(bhttp::field::content_encoding));
  head.accepted = choose_coding(field(bhttp::field::accept_encoding));
  head.unread = head.content_length.value_or(0);
  return head;
}

awaitable<bool> Connection::handle(HeadParser& parser) {
  enter(Phase::body);
  Head head = read_head(parser);
  if (finishing_ || shared_.stopping) head.keep_alive = false;
  const auto refuse_call = [&](ApiCode code, std::string message) {
    return error_reply({code, std::move(message)});
  };
  if (!head.target) {
    co_return co_await reply(head, refuse_call(ApiCode::invalid_argument, "a malformed path"));
  }
  if (view_of(parser.get()[bhttp::field::expect]) == "100-continue") {
    constexpr std::string_view kGoOn = "HTTP/1.1 100 Continue\r\n\r\n";
    const auto [failure, bytes] =
        co_await net::async_write(socket_, net::buffer(kGoOn.data(), kGoOn.size()), kTuple);
    if (failure) co_return false;
  }
  if (auto path = infer_path(*head.target); path && head.method == "POST") {
    co_return co_await infer(head, parser, std::move(path->model), std::move(path->version));
  }
  ApiResult<std::string> body = co_await read_body(head, parser);
  if (!body) co_return co_await reply(head, error_reply(body.error()));
  HttpRequest request{head.method, std::move(head.target->path), std::move(head.target->query),
                      std::move(*body)};
  const HttpReply answer = shared_.endpoints.is_slow(request)
                               ? co_await answer_elsewhere(std::move(request))
                               : shared_.endpoints.answer(request);
  co_return co_await reply(head, answer);
}

awaitable<HttpReply> Connection::answer_elsewhere(HttpRequest request) {
  if (++shared_.slow_waiting > kSlowWaitingMax) {
    --shared_.slow_waiting;
    co_return error_reply({ApiCode::resource_exhausted,
                           "too many requests that take long are waiting; try again later"});
  }
  enter(Phase::answering);
  const auto home = co_await net::this_coro::executor;
  co_await net::post(net::bind_executor(shared_.slow, net::use_awaitable));
  HttpReply answer = shared_.endpoints.answer(request);
  --shared_.slow_waiting;
  co_await net::post(net::bind_executor(home, net::use_awaitable));
  co_return answer;
}

awaitable<bool> Connection::infer(Head& head, HeadParser& parser, std::string model,
                                  std::string version) {
  ApiResult<InferCall> call = co_await read_call(head, parser);
  if (!socket_.is_open()) co_return false;
  if (!call) co_return co_await reply(head, error_reply(call.error()));
  call->model = std::move(model);
  call->version = std::move(version);
  const ApiResult<InferAnswer> answer = co_await ask(std::move(*call));
  if (gone_) co_return false;
  if (!answer) co_return co_await reply(head, error_reply(answer.error()));
  co_return co_await reply(head, *answer);
}

// Resumes on the connection's own thread, whoever answers.
awaitable<ApiResult<InferAnswer>> Connection::ask(InferCall call) {
  enter(Phase::answering);
  const auto home = co_await net::this_coro::executor;
  const auto start = [this, home](auto handler, InferCall asked) {
    ticket_ = shared_.service.submit(std::move(asked), [home, handler = std::move(handler)](
                                                           ApiResult<InferAnswer> answer) mutable {
      net::post(home, [handler = std::move(handler), answer = std::move(answer)]() mutable {
        std::move(handler)(std::move(answer));
      });
    });
    if (gone_) ticket_.cancel();
  };
  ApiResult<InferAnswer> answer =
      co_await net::async_initiate<decltype(net::use_awaitable), void(ApiResult<InferAnswer>)>(
          start, net::use_awaitable, std::move(call));
  ticket_ = {};
  co_return answer;
}

// Requests -----------------------------------------------------------------------------------------

awaitable<ApiResult<InferCall>> Connection::read_call(Head& head, HeadParser& parser) {
  if (!head.chunked && head.coding == Coding::identity) co_return co_await read_plain_call(head);
  ApiResult<std::string> body = co_await read_body(head, parser);
  if (!body) co_return std::unexpected(std::move(body).error());
  co_return call_from(std::move(*body), head);
}

// From the socket into slots, without a copy of the whole in between.
awaitable<ApiResult<InferCall>> Connection::read_plain_call(Head& head) {
  const std::uint64_t length = head.content_length.value_or(0);
  const std::uint64_t json_length = head.json_length.value_or(length);
  if (length > shared_.options.body_bytes_max) {
    co_return refuse(ApiCode::payload_too_large,
                     fmt::format("a body of {} bytes; this server takes up to {} "
                                 "(server.http.body_bytes_max)",
                                 length, shared_.options.body_bytes_max));
  }
  if (json_length > length) {
    co_return refuse(ApiCode::invalid_argument,
                     fmt::format("Inference-Header-Content-Length is {}, but the body has {} bytes",
                                 json_length, length));
  }
  text_.resize(json_length + JsonCallReader::padding());
  const std::span<char> text(text_.data(), json_length);
  if (!co_await read_exactly(std::as_writable_bytes(text))) {
    co_return refuse(ApiCode::invalid_argument, "the body has been cut off");
  }
  head.unread -= json_length;
  ApiResult<JsonCall> read =
      json_reader_.read(text, [this](std::size_t bytes) { return shared_.service.room(bytes); });
  if (text_.size() > kKeptTextBytesMax) std::vector<char>().swap(text_);
  if (!read) co_return std::unexpected(std::move(read).error());
  std::uint64_t stated = 0;
  for (const std::span<std::byte> part : read->binary) stated += part.size();
  if (stated != head.unread) {
    co_return refuse(ApiCode::invalid_argument,
                     fmt::format("the inputs state {} bytes of binary data, but {} follow the JSON",
                                 stated, head.unread));
  }
  for (const std::span<std::byte> part : read->binary) {
    if (!co_await read_exactly(part)) {
      co_return refuse(ApiCode::invalid_argument, "the body has been cut off");
    }
    head.unread -= part.size();
  }
  co_return std::move(read->call);
}

// From a body that had to be unpacked first.
ApiResult<InferCall> Connection::call_from(std::string body, const Head& head) {
  const std::uint64_t json_length = head.json_length.value_or(body.size());
  if (json_length > body.size()) {
    return refuse(ApiCode::invalid_argument,
                  fmt::format("Inference-Header-Content-Length is {}, but the body has {} bytes",
                              json_length, body.size()));
  }
  text_.assign(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(json_length));
  text_.resize(json_length + JsonCallReader::padding());
  ApiResult<JsonCall> read =
      json_reader_.read({text_.data(), json_length},
                        [this](std::size_t bytes) { return shared_.service.room(bytes); });
  if (!read) return std::unexpected(std::move(read).error());
  std::span<const char> rest = std::span(body).subspan(json_length);
  for (const std::span<std::byte> part : read->binary) {
    if (part.size() > rest.size()) break;
    std::memcpy(part.data(), rest.data(), part.size());
    rest = rest.subspan(part.size());
  }
  std::uint64_t stated = 0;
  for (const std::span<std::byte> part : read->binary) stated += part.size();
  if (stated == body.size() - json_length) return std::move(read->call);
  return refuse(ApiCode::invalid_argument,
                fmt::format("the inputs state {} bytes of binary data, but {} follow the JSON",
                            stated, body.size() - json_length));
}

// The whole body, unpacked.
awaitable<ApiResult<std::string>> Connection::read_body(Head& head, HeadParser& parser) {
  const std::size_t bytes_max = shared_.options.body_bytes_max;
  if (!head.coding) {
    co_return refuse(ApiCode::invalid_argument,
                     "an unknown Content-Encoding; expected gzip, deflate or none");
  }
  std::string body;
  if (head.chunked) {
    bhttp::request_parser<bhttp::string_body> whole(std::move(parser));
    whole.body_limit(bytes_max);
    const auto [failure, bytes] = co_await bhttp::async_read(socket_, buffer_, whole, kTuple);
    if (failure) {
      head.keep_alive = false;  // where the body ends isn't known
      co_return failure == bhttp::error::body_limit
          ? refuse(ApiCode::payload_too_large,
                   fmt::format("a body of more than {} bytes", bytes_max))
          : refuse(ApiCode::invalid_argument, "a malformed body: " + failure.message());
    }
    body = std::move(whole.get().body());
  } else {
    const std::uint64_t length = head.content_length.value_or(0);
    if (length > bytes_max) {
      co_return refuse(ApiCode::payload_too_large,
                       fmt::format("a body of {} bytes; this server takes up to {} "
                                   "(server.http.body_bytes_max)",
                                   length, bytes_max));
    }
    body.resize(length);
    if (!co_await read_exactly(std::as_writable_bytes(std::span(body)))) {
      co_return refuse(ApiCode::invalid_argument, "the body has been cut off");
    }
    head.unread = 0;
  }
  if (*head.coding == Coding::identity) co_return body;
  co_return decompress(body, *head.coding, bytes_max);
}

// What came with the headers first, then the socket.
awaitable<bool> Connection::read_exactly(std::span<std::byte> into) {
  const std::size_t here = std::min(into.size(), buffer_.size());
  if (here > 0) {
    std::memcpy(into.data(), buffer_.data().data(), here);
    buffer_.consume(here);
  }
  if (here == into.size()) co_return true;
  const std::span<std::byte> rest = into.subspan(here);
  const auto [failure, bytes] =
      co_await net::async_read(socket_, net::buffer(rest.data(), rest.size()), kTuple);
  co_return !failure;
}

// So that the next request can be read. False where that would take too long.
awaitable<bool> Connection::drop_body(Head& head) {
  if (head.unread > kDropBytesMax) co_return false;
  std::array<std::byte, 4096> nowhere;
  while (head.unread > 0) {
    const std::size_t part = std::min<std::uint64_t>(head.unread, nowhere.size());
    if (!co_await read_exactly(std::span(nowhere).first(part))) co_return false;
    head.unread -= part;
  }
  co_return true;
}

// Answers ------------------------------------------------------------------------------------------

awaitable<bool> Connection::reply(Head& head, const HttpReply& reply) {
  if (!co_await drop_body(head)) head.keep_alive = false;
  std::string headers;
  if (!reply.body.empty()) headers += "Content-Type: " + reply.content_type + "\r\n";
  for (const auto& [name, value] : reply.headers) headers += name + ": " + value + "\r\n";
  const std::array<std::string_view, 1> body{reply.body};
  co_return co_await write(head, reply.status, headers, body);
}

awaitable<bool> Connection::reply(Head& head, const InferAnswer& answer) {
  json_.clear();
  binary_.clear();
  if (const ApiResult<void> written = write_answer(answer, json_, binary_); !written) {
    co_return co_await reply(head, error_reply(written.error()));
  }
  std::vector<std::string_view> body{json_};
  for (const std::span<const std::byte> part : binary_) {
    body.emplace_back(reinterpret_cast<const char*>(part.data()), part.size());
  }
  std::string headers(kJson);
  if (!binary_.empty()) {
    headers = fmt::format(
        "Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {}\r\n",
        json_.size());
  }
  const bool written = co_await write(head, 200, headers, body);
  if (json_.size() > kKeptTextBytesMax) std::string().swap(json_);
  co_return written;
}

awaitable<bool> Connection::write(Head& head, int status, std::string_view headers,
                                  std::span<const std::string_view> body) {
  enter(Phase::writing);
  std::size_t bytes = 0;
  for (const std::string_view part : body) bytes += part.size();
  std::string packed;
  std::string_view coding;
  if (head.accepted != Coding::identity && bytes >= kCompressBytesMin) {
    packed = compress(body, head.accepted);
    coding = to_string(head.accepted);
    bytes = packed.size();
  }
  out_head_.clear();
  fmt::format_to(std::back_inserter(out_head_), "HTTP/1.1 {} {}\r\n{}Content-Length: {}\r\n",
                 status, reason_phrase(status), headers, bytes);
  if (!coding.empty()) out_head_ += fmt::format("Content-Encoding: {}\r\n", coding);
  if (!head.keep_alive) out_head_ += "Connection: close\r\n";
  out_head_ += "\r\n";
  std::vector<net::const_buffer> buffers{net::buffer(out_head_)};
  if (!coding.empty()) {
    buffers.push_back(net::buffer(packed));
  } else if (head.method != "HEAD") {
    for (const std::string_view part : body) buffers.emplace_back(part.data(), part.size());
  }
  const auto [failure, written] = co_await net::async_write(socket_, buffers, kTuple);
  co_return !failure && head.keep_alive;
}

}  // namespace takt::server::http
