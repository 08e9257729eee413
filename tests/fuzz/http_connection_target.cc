// SPDX-License-Identifier: Apache-2.0
// A connection of the HTTP server and the bytes of its client, which come in two pieces and end.
#include "server/http/connection.h"
#include "server/http/v2_endpoints.h"
#include "target.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <sys/socket.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

namespace takt::fuzz {
namespace {

namespace net = boost::asio;
namespace http = server::http;
constexpr auto kTuple = net::as_tuple(net::use_awaitable);

// Answers at once, with its inputs.
class Echo final : public InferenceClient {
 public:
  std::shared_ptr<SlotPool> outputs =
      SlotPool::create("fuzz outputs", std::array{SizeClass{32 << 10, 4}}).value();

  [[nodiscard]] Result<ModelInfo> find(std::string_view /*model*/,
                                       std::optional<std::int64_t> /*version*/) const override {
    return fail(ErrorKind::internal, "the server asks its catalog");
  }
  RequestId submit(InferRequest request, InferCompletion done) override {
    done(echo(request));
    return {};
  }
  void cancel(RequestId /*request*/) override {}
  void expect_arrivals(ModelId /*model*/, FlowId /*flow*/, Duration /*min_interval*/,
                       Duration /*deadline*/, int /*rows*/) override {}
  [[nodiscard]] Duration expected_p99(ModelId /*model*/, int /*rows*/) const override { return {}; }

 private:
  Result<InferResult> echo(const InferRequest& request) {
    InferResult result;
    const auto& input = std::get<TensorView>(request.inputs.at(0));
    Result<Slot> slot = outputs->acquire(input.bytes.size());
    if (!slot) return std::unexpected(slot.error());
    const std::span<std::byte> room = slot->bytes().first(input.bytes.size());
    if (!room.empty()) std::memcpy(room.data(), input.bytes.data(), room.size());
    result.outputs.push_back({input.type, input.shape, room});
    result.hold = std::move(*slot);
    return result;
  }
};

// "numbers" and "words" of any length, of which a client may load and unload others in vain.
class Catalog final : public server::ModelCatalog {
 public:
  Catalog() : cards_{card(1, "numbers", DataType::fp32), card(2, "words", DataType::bytes)} {}

  [[nodiscard]] server::ApiResult<server::ModelCardPtr> find(
      std::string_view model, std::string_view version) const override {
    for (const server::ModelCardPtr& card : cards_) {
      if (card->info.name == model && (version.empty() || version == "1")) return card;
    }
    return refuse(server::ApiCode::not_found, "no such model");
  }
  [[nodiscard]] std::vector<server::ModelCardPtr> serving() const override { return cards_; }
  [[nodiscard]] bool ready() const override { return true; }
  [[nodiscard]] std::optional<engine::ModelStatistics> statistics(
      ModelId /*model*/) const override {
    return engine::ModelStatistics{};
  }
  [[nodiscard]] std::vector<server::IndexEntry> index(bool /*ready_only*/) const override {
    return {{"numbers", "1", "READY", ""}};
  }
  [[nodiscard]] server::ApiResult<void> load(std::string_view /*model*/,
                                             const server::LoadOverrides& /*overrides*/) override {
    return refuse(server::ApiCode::unavailable, "loading is off");
  }
  [[nodiscard]] server::ApiResult<void> unload(std::string_view /*model*/) override {
    return refuse(server::ApiCode::unavailable, "loading is off");
  }

 private:
  static server::ModelCardPtr card(std::uint32_t id, const std::string& name, DataType type) {
    server::ModelCard card;
    card.info = {ModelId{id}, name, 1, {{{"x", type, {-1}}}, {{"y", type, {-1}}}, 0}};
    card.backend = "simulated";
    card.versions = {"1"};
    card.config.name = name;
    return std::make_shared<const server::ModelCard>(std::move(card));
  }
  const std::vector<server::ModelCardPtr> cards_;
};

struct World {
  Echo client;
  Catalog catalog;
  server::SharedRegions regions{server::RegionLimits{.allowed = false}};
  std::shared_ptr<SlotPool> inputs =
      SlotPool::create("fuzz inputs", std::array{SizeClass{4096, 8}, SizeClass{32 << 10, 4}})
          .value();
  const SystemClock clock;
  server::InferService service{client, catalog, regions, inputs, clock, {}};
  server::TraceSettings trace;
  server::LogSettings log;
  http::V2Endpoints endpoints{{{"takt", "1"}, catalog, regions, trace, log}};
  http::Shared shared{{.header_bytes_max = 2048, .body_bytes_max = 16 << 10}, &service, endpoints};
};

World& world() {
  static World one;
  return one;
}

http::Awaitable<void> serve(http::Socket socket, http::Exchange& exchange) {
  http::Connection connection(std::move(socket), world().shared, exchange);
  co_await connection.serve();
}

// Sends the pieces and reads to the end.
net::awaitable<void> ask(net::local::stream_protocol::socket socket,
                         std::array<std::string_view, 2> pieces, std::string& answers) {
  for (const std::string_view piece : pieces) {
    const auto [failure, bytes] =
        co_await net::async_write(socket, net::buffer(piece.data(), piece.size()), kTuple);
    if (failure) break;
    constexpr int kTurns = 4;  // that the server has to read a piece before the next one comes
    for (int i = 0; i < kTurns; ++i) co_await net::post(net::use_awaitable);
  }
  boost::system::error_code ignored;
  static_cast<void>(socket.shutdown(net::socket_base::shutdown_send, ignored));
  std::array<char, 4096> part{};
  while (true) {
    const auto [failure, bytes] =
        co_await socket.async_read_some(net::buffer(part.data(), part.size()), kTuple);
    answers.append(part.data(), bytes);
    if (failure) co_return;
  }
}

std::string exchange_with_server(std::array<std::string_view, 2> pieces) {
  static net::io_context context(1);
  static http::Exchange exchange(context.get_executor(), &world().service);
  std::array<int, 2> ends{};
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0, "sockets");
  http::Socket mine(context);
  mine.assign(net::ip::tcp::v4(), ends[0]);
  net::local::stream_protocol::socket theirs(context, net::local::stream_protocol(), ends[1]);
  std::string answers;
  const auto ended = [](const std::exception_ptr& thrown) {
    require(thrown == nullptr, "nothing is thrown");
  };
  context.restart();
  net::co_spawn(context, serve(std::move(mine), exchange), ended);
  net::co_spawn(context, ask(std::move(theirs), pieces, answers), ended);
  context.run();
  return answers;
}

// Takes an answer off; `answers` begins behind it. A client that knows only lengths finds the next one.
void check_answer(std::string_view& answers) {
  require(answers.starts_with("HTTP/1.1 "), "an answer follows");
  const std::size_t end = answers.find("\r\n\r\n");
  require(end != std::string_view::npos, "headers end");
  const std::string_view head = answers.substr(0, end);
  int status = 0;
  std::from_chars(head.data() + 9, head.data() + head.size(), status);
  require(status == 100 || http::reason_phrase(status) != "Unknown", "a status is known");
  require(status != 500, "nothing fails inside");
  answers.remove_prefix(end + 4);
  constexpr std::string_view kLength = "\r\nContent-Length: ";
  const std::size_t at = head.find(kLength);
  std::size_t length = 0;
  if (at != std::string_view::npos) {
    std::from_chars(head.data() + at + kLength.size(), head.data() + head.size(), length);
  }
  require(length <= answers.size(), "a body is whole");
  answers.remove_prefix(length);
}

void run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const std::size_t wanted = input.take<std::uint8_t>();
  const std::string_view text(reinterpret_cast<const char*>(input.rest().data()),
                              input.rest().size());
  const std::size_t cut = std::min(wanted, text.size());
  const std::string answers = exchange_with_server({text.substr(0, cut), text.substr(cut)});
  require(world().service.in_flight() == 0, "every inference is answered");
  require(world().inputs->in_use() == 0, "no input's slot is leaked");
  require(world().client.outputs->in_use() == 0, "no output's slot is leaked");
  // The answer to a HEAD has a length and no body.
  if (text.find("HEAD") != std::string_view::npos) return;
  for (std::string_view rest = answers; !rest.empty();) check_answer(rest);
}

Seed seed(const std::string& name, std::string_view text) {
  return {name, Script()
                    .put(static_cast<std::uint8_t>(text.size() / 2))
                    .put_bytes(std::as_bytes(std::span(text)))
                    .bytes()};
}

std::string post(const std::string& path, std::string_view body, const std::string& headers = {}) {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

std::vector<Seed> seeds() {
  const std::string get = "GET /v2/models/numbers HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const std::string plain =
      R"({"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1,2]}]})";
  const std::string binary =
      R"({"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":)"
      R"(6}}],"parameters":{"binary_data_output":true}})";
  const std::string length =
      "Inference-Header-Content-Length: " + std::to_string(binary.size()) + "\r\n";
  const std::string hello(
      "\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\x05\0\xfa\xffhello\x86\xa6\x10\x36\x05\0\0\0", 28);
  return {
      seed("get", get),
      seed("pipelined", get + "GET /v2/health/ready HTTP/1.1\r\n\r\n" + get),
      seed("old", "GET /v2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
      seed("head", "HEAD /v2/health/live HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n"),
      seed("infer", post("/v2/models/numbers/infer", plain)),
      seed("version", post("/v2/models/numbers/versions/1/infer", plain) + get),
      seed("binary", post("/v2/models/words/infer", binary + std::string("\2\0\0\0ab", 6), length)),
      seed("raw",
           post("/v2/models/numbers/infer", "abcdefgh", "Inference-Header-Content-Length: 0\r\n")),
      seed("continue", post("/v2/models/numbers/infer", plain, "Expect: 100-continue\r\n")),
      seed("chunked",
           "POST /v2/models/numbers/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
           "44;x=y\r\n" +
               plain + "\r\n0\r\nTrailer: 1\r\n\r\n" + get),
      seed("gzip", post("/v2/models/numbers/infer", hello, "Content-Encoding: gzip\r\n")),
      seed("settings", post("/v2/logging", R"({"log_verbose_level":1,"log_format":"default"})") +
                           post("/v2/models/words/trace/setting", R"({"trace_rate":"5"})")),
      seed("index", post("/v2/repository/index", R"({"ready":true})")),
      seed("load", post("/v2/repository/models/m/load",
                        R"({"parameters":{"config":"{}","file:1/model.onnx":"aGVsbG8="}})")),
      seed("region", post("/v2/systemsharedmemory/region/r/register",
                          R"({"key":"/fuzz","offset":0,"byte_size":16})")),
      seed("origin",
           "GET /v2/models/words/stats HTTP/1.1\r\nHost: evil.example\r\n"
           "Origin: http://evil.example\r\n\r\n"),
      seed("no-http", "\x16\x03\x01\x02"),
      seed("two-lengths",
           "POST /v2 HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
  };
}

}  // namespace

Target http_connection() {
  return {"http_connection", &run, &seeds};
}

}  // namespace takt::fuzz
