// SPDX-License-Identifier: Apache-2.0
#include "server/http/connection.h"

#include "server/http/json_answer.h"

#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>
#include <poll.h>

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

// What is left of a body after an error is read away up to here; beyond, the connection is closed.
constexpr std::uint64_t kDropBytesMax = std::uint64_t{1} << 20;
constexpr std::size_t kCompressBytesMin = 1024;
constexpr std::size_t kPackedBytesMax = std::size_t{4} << 20;
constexpr std::size_t kKeptTextBytesMax = std::size_t{1} << 20;
constexpr std::size_t kFirstTextBytesMax = std::size_t{1} << 20;
// Closed with unread bytes in it, a socket throws the answer away that its client hasn't read.
constexpr auto kLeavingTimeout = std::chrono::seconds(2);
constexpr int kSlowWaitingMax = 64;
constexpr auto kSilenceMax = std::chrono::seconds(15);  // to a client that listens to events
constexpr std::string_view kJson = "Content-Type: application/json\r\n";
constexpr beast::string_view kJsonLength = "Inference-Header-Content-Length";

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

bool is_http(const error_code& failure) {
  return failure.category() == make_error_code(bhttp::error::bad_method).category();
}

// Pictures and archives are packed already, and packing a large answer would hold everybody else up.
bool is_worth_packing(const HttpReply& reply) {
  return reply.body.size() <= kPackedBytesMax && !reply.content_type.starts_with("image/") &&
         reply.content_type != "application/zip";
}

ApiError cut_off() {
  return {ApiCode::invalid_argument, "the body has been cut off"};
}
ApiError too_long(std::uint64_t json_length, std::uint64_t length) {
  return {ApiCode::invalid_argument, fmt::format("{} is {}, but the body has {} bytes",
                                                 view_of(kJsonLength), json_length, length)};
}

// `bytes` in `slot` alone, the binary extension's raw request.
InferCall raw_call(Slot slot, std::span<const std::byte> bytes) {
  InferCall call;
  call.raw = true;
  call.binary_outputs = true;
  call.inputs.push_back({.name = {}, .shape = {}, .bytes = bytes, .shared = {}});
  call.slots.push_back(std::move(slot));
  return call;
}

}  // namespace

Connection::Connection(Socket socket, Shared& shared, Exchange& exchange)
    : stream_(std::move(socket), shared.tls ? &*shared.tls : nullptr),
      shared_(shared),
      exchange_(exchange),
      buffer_(shared.options.header_bytes_max),
      room_([&shared](std::size_t bytes) { return shared.service->room(bytes); }) {}

void Connection::enter(Phase phase) {
  phase_ = phase;
  const HttpOptions& options = shared_.options;
  const TimePoint now = shared_.clock.now();
  due_ = phase == Phase::handshake ? now + options.header_timeout
         : phase == Phase::idle    ? now + options.idle_timeout
         : phase == Phase::header  ? now + options.header_timeout
         : phase == Phase::body    ? now + options.body_timeout
         : phase == Phase::writing ? now + options.write_timeout
         : phase == Phase::leaving ? now + kLeavingTimeout
                                   : kNever;
}

void Connection::sweep(TimePoint now) {
  // A request that has begun must go on.
  if (phase_ == Phase::idle && buffer_.size() > 0) enter(Phase::header);
  if (phase_ == Phase::answering) {
    // Seen also behind a further request that hasn't been read.
    pollfd state{stream_.socket().native_handle(), POLLRDHUP, 0};
    const bool hung_up = ::poll(&state, 1, 0) > 0;
    if (hung_up && !std::exchange(gone_, true)) {
      ticket_.cancel();
      if (listening_) listening_->cancel();
    }
  }
  if (now < due_) return;
  if (phase_ != Phase::leaving) ++shared_.connections_timed_out;
  due_ = kNever;
  stream_.close();
}

void Connection::finish() {
  if (listening_) listening_->cancel();
  const bool idle = phase_ == Phase::idle && buffer_.size() == 0;
  if (idle || phase_ == Phase::handshake) stream_.close();
}

void Connection::abort() {
  ticket_.cancel();
  gone_ = true;
  if (listening_) listening_->cancel();
  stream_.close();
}

Awaitable<void> Connection::serve() {
  bool open = co_await shake_hands();
  while (open && !shared_.stopping) {
    enter(Phase::idle);
    HeadParser parser;
    parser.header_limit(static_cast<std::uint32_t>(shared_.options.header_bytes_max));
    parser.body_limit(boost::none);
    const auto [failure, bytes] =
        co_await bhttp::async_read_header(stream_, buffer_, parser, kTuple);
    if (failure == bhttp::error::end_of_stream || !stream_.is_open()) break;
    if (failure) {
      // Only what isn't HTTP is told so; a broken connection can't be.
      if (!is_http(failure)) break;
      const bool large =
          failure == bhttp::error::header_limit || failure == bhttp::error::buffer_overflow;
      Head head;
      HttpReply sorry =
          error_reply({ApiCode::invalid_argument, "not an HTTP/1.1 request: " + failure.message()});
      if (large) sorry.status = 431;
      deaf_ = true;
      ended_ = failure == bhttp::error::partial_message;
      co_await reply(head, sorry);
      break;
    }
    ++shared_.requests;
    open = co_await handle(parser);
  }
  co_await leave();
}

// True where there is nothing to be done. A client that is refused is told why by an alert.
Awaitable<bool> Connection::shake_hands() {
  if (!stream_.is_tls()) co_return true;
  enter(Phase::handshake);
  const auto [failure] = co_await stream_.async_handshake(kTuple);
  if (!failure) {
    secured_ = true;
    co_return true;
  }
  ++shared_.handshakes_failed;
  deaf_ = true;
  co_return false;
}

Awaitable<void> Connection::leave() {
  if (secured_ && !ended_ && stream_.is_open()) {
    // Every answer says how long it is, so that nothing is missing where a client doesn't do its part.
    enter(Phase::leaving);
    static_cast<void>(co_await stream_.async_shutdown(kTuple));
  }
  Socket& socket = stream_.socket();
  error_code ignored;
  static_cast<void>(socket.shutdown(Socket::shutdown_send, ignored));
  if (!deaf_ || ended_) co_return;
  enter(Phase::leaving);
  std::array<std::byte, 4096> nowhere;
  while (true) {
    const auto [failure, bytes] =
        co_await socket.async_read_some(net::buffer(nowhere.data(), nowhere.size()), kTuple);
    if (failure) co_return;
  }
}

Connection::Head Connection::read_head(const HeadParser& parser) {
  const auto& message = parser.get();
  const auto field = [&message](auto name) { return view_of(message[name]); };
  Head head;
  head.method = std::string(view_of(message.method_string()));
  head.target = parse_target(view_of(message.target()));
  head.keep_alive = message.keep_alive();
  head.old = message.version() < 11;
  head.chunked = parser.chunked();
  head.unread = parser.content_length().value_or(0);
  head.host = std::string(field(bhttp::field::host));
  head.origin = std::string(field(bhttp::field::origin));
  head.fetch_site = std::string(field("Sec-Fetch-Site"));
  head.authorization = std::string(field(bhttp::field::authorization));
  head.waits = !head.old && (head.chunked || head.unread > 0) &&
               beast::iequals(field(bhttp::field::expect), "100-continue");
  head.json_length = parse_length(field(kJsonLength));
  head.coding = parse_coding(field(bhttp::field::content_encoding));
  head.accepted = choose_coding(field(bhttp::field::accept_encoding));
  head.content_type = std::string(field(bhttp::field::content_type));
  head.last_event_id = std::string(field("Last-Event-ID"));
  return head;
}

// What can be refused before the body is read.
std::optional<ApiError> Connection::check_head(const HeadParser& parser, Head& head) const {
  const auto& message = parser.get();
  const auto coding = message.find(bhttp::field::transfer_encoding);
  if (coding != message.end() && !beast::iequals(coding->value(), "chunked")) {
    head.keep_alive = false;  // where the body ends isn't known
    return ApiError{ApiCode::unimplemented, "an unknown Transfer-Encoding; expected chunked"};
  }
  if (!head.target) return ApiError{ApiCode::invalid_argument, "a malformed path"};
  if (!head.coding) {
    return ApiError{ApiCode::invalid_argument,
                    "an unknown Content-Encoding; expected gzip, deflate or none"};
  }
  if (!head.json_length && message.find(kJsonLength) != message.end()) {
    return ApiError{ApiCode::invalid_argument,
                    fmt::format("{} must be a whole number of 0 or more", view_of(kJsonLength))};
  }
  const std::size_t bytes_max = shared_.options.body_bytes_max;
  if (head.unread <= bytes_max) return std::nullopt;
  return ApiError{ApiCode::payload_too_large,
                  fmt::format("a body of {} bytes; this server takes up to {} "
                              "(server.http.body_bytes_max)",
                              head.unread, bytes_max)};
}

ApiResult<void> Connection::check_access(const Head& head, Need need) const {
  if (need == Need::nothing) return {};
  AccessControl* const access = shared_.options.access;
  if (const auto checked = shared_.browsers.check(head.host, head.origin, head.fetch_site);
      !checked) {
    if (access != nullptr) access->count(checked.error().reason);
    return refuse(ApiCode::permission_denied, checked.error().message);
  }
  return access != nullptr ? access->check(need, head.authorization) : ApiResult<void>();
}

Awaitable<bool> Connection::handle(HeadParser& parser) {
  enter(Phase::body);
  Head head = read_head(parser);
  if (const auto wrong = check_head(parser, head))
    co_return co_await reply(head, error_reply(*wrong));
  auto path = shared_.service != nullptr ? infer_path(*head.target) : std::nullopt;
  const bool infers = path && head.method == "POST";
  HttpRequest request{head.method, std::move(head.target->path), std::move(head.target->query),
                      {},          std::move(head.content_type), std::move(head.last_event_id)};
  const Need need = infers ? Need::infer : shared_.endpoints.need(request);
  if (const auto allowed = check_access(head, need); !allowed) {
    co_return co_await reply(head, error_reply(allowed.error()));
  }
  // Whoever sends it: nothing is read from those who need no leave.
  if (need == Need::nothing) co_return co_await reply(head, answer_of(request));
  if (infers) {
    co_return co_await infer(head, parser, std::move(path->model), std::move(path->version));
  }
  ApiResult<std::string> body = co_await read_body(head, parser);
  if (!body) co_return co_await reply(head, error_reply(body.error()));
  request.body = std::move(*body);
  // Not by ?:, in which GCC 12 destroys what was awaited twice.
  HttpReply answer;
  if (shared_.endpoints.is_slow(request)) {
    answer = co_await answer_elsewhere(std::move(request));
  } else if (shared_.endpoints.is_long(request)) {
    answer = co_await answer_later(std::move(request));
    if (gone_) co_return false;
  } else {
    answer = answer_of(request);
  }
  if (answer.stream) co_return co_await stream(head, answer);
  co_return co_await reply(head, answer);
}

HttpReply Connection::answer_of(const HttpRequest& request) noexcept try {
  return shared_.endpoints.answer(request);
} catch (const std::exception& /*may name files*/) {
  return error_reply({ApiCode::internal, "the request failed inside the server"});
}

Awaitable<HttpReply> Connection::answer_elsewhere(HttpRequest request) {
  if (++shared_.slow_waiting > kSlowWaitingMax) {
    --shared_.slow_waiting;
    co_return error_reply({ApiCode::resource_exhausted,
                           "too many requests that take long are waiting; try again later"});
  }
  enter(Phase::answering);
  const auto home = co_await net::this_coro::executor;
  co_await net::post(net::bind_executor(shared_.slow, kAwaitable));
  HttpReply answer;
  if (shared_.stopping) {
    answer = error_reply({ApiCode::unavailable, "the server is stopping"});
  } else {
    answer = answer_of(request);
  }
  --shared_.slow_waiting;
  co_await net::post(net::bind_executor(home, kAwaitable));
  co_return answer;
}

// Resumes on the connection's own thread, whoever answers.
Awaitable<HttpReply> Connection::answer_later(HttpRequest request) {
  enter(Phase::answering);
  const auto home = co_await net::this_coro::executor;
  const auto start = [this, home](auto handler, HttpRequest asked) {
    // Of the connection's thread; empty once there is an answer.
    const auto waiting = std::make_shared<std::optional<decltype(handler)>>(std::move(handler));
    const auto done = [home, waiting](HttpReply answer) {
      net::post(home, [waiting, answer = std::move(answer)]() mutable {
        auto last = std::exchange(*waiting, std::nullopt);
        if (last) std::move (*last)(std::move(answer));
      });
    };
    try {
      shared_.endpoints.begin(std::move(asked), done);
    } catch (const std::exception& /*may name files*/) {
      done(error_reply({ApiCode::internal, "the request failed inside the server"}));
    }
  };
  co_return co_await net::async_initiate<decltype(kAwaitable), void(HttpReply)>(start, kAwaitable,
                                                                                std::move(request));
}

Awaitable<bool> Connection::infer(Head& head, HeadParser& parser, std::string model,
                                  std::string version) {
  ApiResult<InferCall> call = co_await read_call(head, parser);
  if (!stream_.is_open()) co_return false;
  if (!call) co_return co_await reply(head, error_reply(call.error()));
  call->model = std::move(model);
  call->version = std::move(version);
  const ApiResult<InferAnswer> answer = co_await ask(std::move(*call));
  if (gone_) co_return false;
  if (!answer) co_return co_await reply(head, error_reply(answer.error()));
  co_return co_await reply(head, *answer);
}

// Resumes on the connection's own thread, whoever answers.
Awaitable<ApiResult<InferAnswer>> Connection::ask(InferCall call) {
  enter(Phase::answering);
  call.more_come = true;
  const auto start = [this](auto handler, InferCall asked) {
    resume_ = std::move(handler);
    ticket_ = shared_.service->submit(std::move(asked), [this](ApiResult<InferAnswer> answer) {
      exchange_.add(*this, std::move(answer));
    });
    if (gone_) ticket_.cancel();
    exchange_.flush_later();
  };
  ApiResult<InferAnswer> answer =
      co_await net::async_initiate<decltype(kAwaitable), void(ApiResult<InferAnswer>)>(
          start, kAwaitable, std::move(call));
  ticket_ = {};
  co_return answer;
}

void Connection::answered(ApiResult<InferAnswer> answer) {
  std::exchange(resume_, nullptr)(std::move(answer));
}

void Exchange::flush_later() {
  if (std::exchange(flushes_, true)) return;
  net::post(thread_, [this] {
    flushes_ = false;
    service_->flush();
  });
}

void Exchange::add(Connection& connection, ApiResult<InferAnswer> answer) {
  {
    const std::scoped_lock lock(mutex_);
    answers_.push_back({&connection, std::move(answer)});
    if (answers_.size() > 1) return;
  }
  net::post(thread_, [this] { deliver(); });
}

void Exchange::deliver() {
  {
    const std::scoped_lock lock(mutex_);
    taken_.swap(answers_);
  }
  for (Answered& each : taken_) each.connection->answered(std::move(each.answer));
  taken_.clear();
}

// Requests -----------------------------------------------------------------------------------------

Awaitable<ApiResult<InferCall>> Connection::read_call(Head& head, HeadParser& parser) {
  if (!head.chunked && head.coding == Coding::identity) co_return co_await read_plain_call(head);
  ApiResult<std::string> body = co_await read_body(head, parser);
  if (!body) co_return std::unexpected(std::move(body).error());
  co_return call_from(std::move(*body), head);
}

// From the socket into slots, without a copy of the whole in between.
Awaitable<ApiResult<InferCall>> Connection::read_plain_call(Head& head) {
  if (head.json_length == 0) co_return co_await read_raw_call(head);
  const std::uint64_t json_length = head.json_length.value_or(head.unread);
  if (json_length > head.unread) co_return std::unexpected(too_long(json_length, head.unread));
  if (!co_await go_on(head) || !co_await read_text(text_, json_length)) {
    co_return std::unexpected(cut_off());
  }
  head.unread -= json_length;
  text_.resize(json_length + JsonCallReader::padding());
  ApiResult<JsonCall> read =
      json_reader_.read(std::span<const char>(text_).first(json_length), head.unread, room_);
  if (text_.size() > kKeptTextBytesMax) std::string().swap(text_);
  if (!read) co_return std::unexpected(std::move(read).error());
  for (const std::span<std::byte> part : read->binary) {
    if (!co_await read_exactly(part)) co_return std::unexpected(cut_off());
    head.unread -= part.size();
  }
  co_return std::move(read->call);
}

Awaitable<ApiResult<InferCall>> Connection::read_raw_call(Head& head) {
  ApiResult<Slot> slot = room_(head.unread);
  if (!slot) co_return std::unexpected(std::move(slot).error());
  const std::span<std::byte> bytes = slot->bytes().first(head.unread);
  if (!co_await go_on(head) || !co_await read_exactly(bytes)) {
    co_return std::unexpected(cut_off());
  }
  head.unread = 0;
  co_return raw_call(std::move(*slot), bytes);
}

// From a body that had to be unpacked first.
ApiResult<InferCall> Connection::call_from(std::string body, const Head& head) {
  const std::size_t length = body.size();
  const std::uint64_t json_length = head.json_length.value_or(length);
  if (json_length > length) return std::unexpected(too_long(json_length, length));
  if (head.json_length == 0) {
    ApiResult<Slot> slot = room_(length);
    if (!slot) return std::unexpected(std::move(slot).error());
    const std::span<std::byte> bytes = slot->bytes().first(length);
    std::memcpy(bytes.data(), body.data(), length);
    return raw_call(std::move(*slot), bytes);
  }
  body.resize(length + JsonCallReader::padding());
  const std::span<const char> text(body);
  ApiResult<JsonCall> read =
      json_reader_.read(text.first(json_length), length - json_length, room_);
  if (!read) return std::unexpected(std::move(read).error());
  std::span<const char> rest = text.subspan(json_length);
  for (const std::span<std::byte> part : read->binary) {
    std::memcpy(part.data(), rest.data(), part.size());
    rest = rest.subspan(part.size());
  }
  return std::move(read->call);
}

// The whole body, unpacked.
Awaitable<ApiResult<std::string>> Connection::read_body(Head& head, HeadParser& parser) {
  const std::size_t bytes_max = shared_.options.body_bytes_max;
  if (!co_await go_on(head)) co_return std::unexpected(cut_off());
  std::string body;
  if (head.chunked) {
    bhttp::request_parser<bhttp::string_body> whole(std::move(parser));
    whole.body_limit(bytes_max);
    const auto [failure, bytes] = co_await bhttp::async_read(stream_, buffer_, whole, kTuple);
    if (failure == bhttp::error::body_limit) {
      co_return refuse(ApiCode::payload_too_large,
                       fmt::format("a body of more than {} bytes", bytes_max));
    }
    if (failure) {
      ended_ = !is_http(failure) || failure == bhttp::error::partial_message;
      co_return refuse(ApiCode::invalid_argument, "a malformed body: " + failure.message());
    }
    head.chunked = false;
    body = std::move(whole.get().body());
  } else {
    if (!co_await read_text(body, head.unread)) co_return std::unexpected(cut_off());
    head.unread = 0;
  }
  if (*head.coding == Coding::identity) co_return body;
  co_return decompress(body, *head.coding, bytes_max);
}

Awaitable<bool> Connection::go_on(Head& head) {
  if (!std::exchange(head.waits, false)) co_return true;
  constexpr std::string_view kGoOn = "HTTP/1.1 100 Continue\r\n\r\n";
  const auto [failure, bytes] =
      co_await net::async_write(stream_, net::buffer(kGoOn.data(), kGoOn.size()), kTuple);
  co_return !failure;
}

// Takes memory for what comes, not for what was announced.
Awaitable<bool> Connection::read_text(std::string& text, std::size_t bytes) {
  text.clear();
  while (text.size() < bytes) {
    const std::size_t had = text.size();
    text.resize(std::min(bytes, std::max(kFirstTextBytesMax, 2 * had)));
    if (!co_await read_exactly(std::as_writable_bytes(std::span(text).subspan(had)))) {
      co_return false;
    }
  }
  co_return true;
}

// What came with the headers first, then the socket.
Awaitable<bool> Connection::read_exactly(std::span<std::byte> into) {
  const std::size_t here = std::min(into.size(), buffer_.size());
  if (here > 0) {
    std::memcpy(into.data(), buffer_.data().data(), here);
    buffer_.consume(here);
  }
  if (here == into.size()) co_return true;
  const std::span<std::byte> rest = into.subspan(here);
  const auto [failure, bytes] =
      co_await net::async_read(stream_, net::buffer(rest.data(), rest.size()), kTuple);
  if (failure) ended_ = true;
  co_return !failure;
}

// So that the next request can be read. False where it isn't known where that begins, or would take
// too long.
Awaitable<bool> Connection::drop_body(Head& head) {
  if (ended_ || head.waits || head.chunked || head.unread > kDropBytesMax) co_return false;
  std::array<std::byte, 4096> nowhere;
  while (head.unread > 0) {
    const std::size_t part = std::min<std::uint64_t>(head.unread, nowhere.size());
    if (!co_await read_exactly(std::span(nowhere).first(part))) co_return false;
    head.unread -= part;
  }
  co_return true;
}

// Answers ------------------------------------------------------------------------------------------

Awaitable<bool> Connection::reply(Head& head, const HttpReply& reply) {
  if (!co_await drop_body(head)) deaf_ = true;
  if (deaf_) head.keep_alive = false;
  if (!is_worth_packing(reply)) head.accepted = Coding::identity;
  std::string headers;
  if (!reply.body.empty()) headers += "Content-Type: " + reply.content_type + "\r\n";
  for (const auto& [name, value] : reply.headers) headers += name + ": " + value + "\r\n";
  const std::array<std::string_view, 1> body{reply.body};
  co_return co_await write(head, reply.status, headers, body);
}

// Until the stream ends, the client goes or the server stops.
Awaitable<bool> Connection::stream(Head& head, const HttpReply& reply) {
  if (!co_await drop_body(head)) deaf_ = true;
  if (deaf_ || head.old) head.keep_alive = false;
  enter(Phase::writing);
  out_head_ =
      fmt::format("HTTP/1.1 200 OK\r\nContent-Type: {}\r\nCache-Control: no-store\r\n{}{}\r\n",
                  reply.content_type, head.old ? "" : "Transfer-Encoding: chunked\r\n",
                  head.keep_alive ? "" : "Connection: close\r\n");
  auto [failure, bytes] = co_await net::async_write(stream_, net::buffer(out_head_), kTuple);
  if (failure || head.method == "HEAD") co_return !failure && head.keep_alive;
  EventStream& events = *reply.stream;
  const auto home = co_await net::this_coro::executor;
  listening_ = std::make_shared<Timer>(home);
  events.on_change([home, timer = std::weak_ptr(listening_)] {
    net::post(home, [timer] {
      if (const auto waiting = timer.lock()) waiting->cancel();
    });
  });
  bool open = true;
  bool ended = false;
  while (open && !ended && !gone_ && !shared_.stopping) {
    std::optional<std::string> part = events.take();
    if (!part) {
      ended = true;
    } else if (!part->empty()) {
      open = co_await send_part(head, *part);
    } else {
      enter(Phase::answering);
      listening_->expires_after(kSilenceMax);
      const auto [interrupted] = co_await listening_->async_wait(kTuple);
      // A comment, by which both sides see that the other one is there.
      if (!interrupted) open = co_await send_part(head, ":\n\n");
    }
  }
  events.on_change({});
  listening_.reset();
  if (!open || gone_) co_return false;
  open = co_await send_part(head, {});
  co_return open&& head.keep_alive;
}

// Nothing: the end.
Awaitable<bool> Connection::send_part(const Head& head, std::string_view part) {
  enter(Phase::writing);
  const std::string length = fmt::format("{:x}\r\n", part.size());
  std::vector<net::const_buffer> buffers;
  if (!head.old) buffers.push_back(net::buffer(length));
  buffers.emplace_back(part.data(), part.size());
  if (!head.old) buffers.emplace_back("\r\n", 2);
  const auto [failure, written] = co_await net::async_write(stream_, buffers, kTuple);
  if (failure) ended_ = true;
  co_return !failure;
}

Awaitable<bool> Connection::reply(Head& head, const InferAnswer& answer) {
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

Awaitable<bool> Connection::write(Head& head, int status, std::string_view headers,
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
  if (shared_.stopping) head.keep_alive = false;
  out_head_.clear();
  fmt::format_to(std::back_inserter(out_head_), "HTTP/1.1 {} {}\r\n{}Content-Length: {}\r\n",
                 status, reason_phrase(status), headers, bytes);
  if (!coding.empty()) out_head_ += fmt::format("Content-Encoding: {}\r\n", coding);
  if (!head.keep_alive) out_head_ += "Connection: close\r\n";
  if (head.keep_alive && head.old) out_head_ += "Connection: keep-alive\r\n";
  out_head_ += "\r\n";
  std::vector<net::const_buffer> buffers{net::buffer(out_head_)};
  if (head.method != "HEAD") {
    if (!coding.empty()) buffers.push_back(net::buffer(packed));
    if (coding.empty()) {
      for (const std::string_view part : body) buffers.emplace_back(part.data(), part.size());
    }
  }
  const auto [failure, written] = co_await net::async_write(stream_, buffers, kTuple);
  if (failure) ended_ = true;
  co_return !failure && head.keep_alive;
}

}  // namespace takt::server::http
