// SPDX-License-Identifier: Apache-2.0
// What clients that are broken, greedy, slow or hostile get, and what it leaves behind: nothing.
#include "server/http/compression.h"
#include "server/http/http_fixture.h"

#include <fstream>

namespace takt::server::http {
namespace {

using namespace server_test;
using std::chrono::milliseconds;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class HttpLimitsTest : public HttpServerTest {
 protected:
  // The one answer to all this, after which the server ends the connection. What may stand in it as
  // a second request must not have been taken for one.
  HttpAnswer only_answer(const std::string& text) {
    HttpClient client = connect();
    static_cast<void>(client.try_send(text));
    HttpAnswer answer = client.read();
    EXPECT_EQ(answer.header("connection"), "close") << text.substr(0, 200);
    EXPECT_TRUE(client.ended()) << text.substr(0, 200);
    return answer;
  }
  void expect_refused(const std::string& text, int status) {
    const std::uint64_t before = server_->stats().requests;
    EXPECT_EQ(only_answer(text).status, status) << text.substr(0, 200);
    EXPECT_LE(server_->stats().requests, before + 1) << text.substr(0, 200);
    EXPECT_TRUE(client_->seen().empty()) << text.substr(0, 200);
  }
  // The server is as it was.
  void expect_alive() { EXPECT_EQ(ask(request("GET", "/v2/health/ready")).status, 200); }
};

std::string head(const std::string& lines) {
  return "POST /v2/models/identity_fp32/infer HTTP/1.1\r\n" + lines + "\r\n";
}

// Requests that are none ---------------------------------------------------------------------------

TEST_F(HttpLimitsTest, WhatIsNotHttpIsToldSo) {
  serve();
  for (const char* text :
       {"\r\n\r\n\r\n\r\nnonsense\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1 x\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/0.9\r\n\r\n", "GET / http/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n", " GET / HTTP/1.1\r\n\r\n", "G@T / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\n: empty\r\n\r\n",
        "GET / HTTP/1.1\r\nName : x\r\n\r\n", "GET / HTTP/1.1\r\nNa me: x\r\n\r\n",
        "GET / HTTP/1.1\r\nName: a\x01 b\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\x01\x01\xfc\x03\x03 tls\r\n\r\n"}) {
    const HttpAnswer answer = only_answer(text);
    EXPECT_EQ(answer.status, 400) << text;
    EXPECT_THAT(answer.error(), HasSubstr("not an HTTP/1.1 request")) << text;
  }
  expect_refused(std::string("GET /\0 HTTP/1.1\r\n\r\n", 19), 400);
  expect_refused(std::string("GET / HTTP/1.1\r\na: \0\r\n\r\n", 24), 400);
  EXPECT_EQ(server_->stats().requests, 0);
  expect_alive();
}

TEST_F(HttpLimitsTest, ALengthThatIsNoneIsRefused) {
  serve();
  for (const char* length : {"-1", "+5", "0x5", "5x", "", "5 5", "18446744073709551616", "1e3"}) {
    expect_refused(head(fmt::format("Content-Length: {}\r\n", length)) + "hello", 400);
  }
}

TEST_F(HttpLimitsTest, ABodyHasOneLength) {
  serve();
  const std::string inner = "GET /v2/health/live HTTP/1.1\r\n\r\n";
  for (const std::string& lines : {
           std::string("Content-Length: 5\r\nContent-Length: 6\r\n"),
           std::string("Content-Length: 0\r\nContent-Length: 30\r\n"),
           std::string("Content-Length: 5, 6\r\n"),
           std::string("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
           std::string("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
           std::string("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
       }) {
    expect_refused(head(lines) + "0\r\n\r\n" + inner, 400);
  }
}

TEST_F(HttpLimitsTest, ABodyInAnUnknownTransferEncodingIsNotTakenForARequest) {
  serve();
  const std::string inner = "GET /v2/health/live HTTP/1.1\r\n\r\n";
  for (const char* coding : {"identity", "xchunked", "chunked, identity", "gzip, chunked",
                             "chunkedx", "chunked;q=1", "\"chunked\"", "gzip"}) {
    expect_refused(head(fmt::format("Transfer-Encoding: {}\r\n", coding)) + inner, 501);
  }
  expect_refused(head("Transfer-Encoding: identity\r\nContent-Length: 5\r\n") + "hello" + inner,
                 501);
}

TEST_F(HttpLimitsTest, DamagedChunksEndTheConnection) {
  serve();
  const std::string lines = "Transfer-Encoding: chunked\r\n";
  for (const char* body :
       {"x\r\n", "-1\r\n", "5\r\nhello", "5\r\nhelloX\r\n0\r\n\r\n", "5\nhello\n0\n\n",
        "10000000000000000\r\n", "FFFFFFFFFFFFFFFF\r\n", " 5\r\nhello\r\n0\r\n\r\n"}) {
    HttpClient client = connect();
    client.send(head(lines) + body);
    client.end_sending();
    EXPECT_THAT(client.read().status, AnyOf(400, 413)) << body;
    EXPECT_TRUE(client.ended()) << body;
  }
  EXPECT_TRUE(client_->seen().empty());
}

TEST_F(HttpLimitsTest, AChunkedBodyThatNobodyReadsIsNotTakenForARequest) {
  serve();
  const std::string chunk = "21\r\nGET /v2/health/live HTTP/1.1\r\n\r\n\r\n0\r\n\r\n";
  expect_refused(head("Transfer-Encoding: chunked\r\nContent-Encoding: br\r\n") + chunk, 400);
  expect_refused("POST /%zz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk, 400);
}

// Sizes --------------------------------------------------------------------------------------------

TEST_F(HttpLimitsTest, HeadersAreBounded) {
  serve({.header_bytes_max = 2000});
  const auto with = [](std::size_t bytes) {
    return "GET /v2/health/live HTTP/1.1\r\nLong: " + std::string(bytes, 'x') + "\r\n\r\n";
  };
  EXPECT_EQ(ask(with(1500)).status, 200);
  for (const std::size_t bytes : {2000, 5000, 1'000'000}) {
    EXPECT_EQ(only_answer(with(bytes)).status, 431) << bytes;
  }
  EXPECT_EQ(only_answer("GET /" + std::string(5000, 'x') + " HTTP/1.1\r\n\r\n").status, 431);
  expect_alive();
}

TEST_F(HttpLimitsTest, ABodyThatIsALittleTooLargeLeavesTheConnectionUsable) {
  serve({.body_bytes_max = 1000});
  HttpClient client = connect();
  for (const char* target :
       {"/v2/models/identity_fp32/infer", "/v2/repository/index", "/nowhere"}) {
    const HttpAnswer answer = client.ask(request("POST", target, std::string(1001, ' ')));
    EXPECT_EQ(answer.status, 413) << target;
    EXPECT_THAT(answer.error(), HasSubstr("a body of 1001 bytes; this server takes up to 1000"));
    EXPECT_EQ(answer.header("connection"), "");
  }
  EXPECT_EQ(floats_of(client.ask(infer("identity_fp32", floats_json({1})))), std::vector{1.0F});
}

TEST_F(HttpLimitsTest, AClientThatSendsFarTooMuchStillReadsTheAnswer) {
  serve({.body_bytes_max = 1000});
  const std::string large = infer("identity_fp32", std::string(std::size_t{20} << 20, ' '));
  HttpClient client = connect();
  EXPECT_TRUE(client.try_send(large)) << "the server reads it away";
  const HttpAnswer answer = client.read();
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpLimitsTest, ChunksAndPackedBodiesAreBoundedAsWell) {
  serve({.body_bytes_max = 1000});
  const std::string chunk = "3E9\r\n" + std::string(1001, ' ') + "\r\n0\r\n\r\n";
  expect_refused(head("Transfer-Encoding: chunked\r\n") + chunk, 413);
  const std::string zeros(10'000, '\0');
  const std::array<std::string_view, 1> parts{zeros};
  const std::string bomb = compress(parts, Coding::deflate);
  EXPECT_LE(bomb.size(), 1000);
  const HttpAnswer answer = ask(infer("identity_fp32", bomb, "Content-Encoding: deflate\r\n"));
  EXPECT_EQ(answer.status, 413);
  EXPECT_THAT(answer.error(), HasSubstr("more than 1000 bytes, decompressed"));
}

// The most that this process has had at once, as the kernel says.
std::size_t peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoul(line.substr(6)) << 10U;
  }
  ADD_FAILURE() << "no VmHWM";
  return 0;
}

TEST_F(HttpLimitsTest, AnAnnouncedBodyTakesNoMemoryBeforeItComes) {
  serve({.body_bytes_max = std::size_t{1} << 30});
  const std::size_t before = peak_bytes();
  for (const char* target : {"/v2/models/identity_fp32/infer", "/v2/repository/index"}) {
    HttpClient client = connect();
    client.send(fmt::format("POST {} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{{\"inputs\":[", target,
                            1 << 30));
    client.end_sending();
    EXPECT_EQ(client.read().status, 400);
  }
  EXPECT_LT(peak_bytes(), before + (std::size_t{256} << 20));
}

TEST_F(HttpLimitsTest, AnnouncedBinaryDataThatIsNotInTheBodyTakesNoSlot) {
  serve();
  const HttpAnswer answer =
      ask(infer_binary("identity_fp32", floats_binary_json(200'000), "short"));
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(inputs_->use()[1].in_use_max, 0);
}

TEST_F(HttpLimitsTest, NoMoreConnectionsAreTakenThanAllowed) {
  serve({.connections_max = 3});
  std::vector<HttpClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(connect());
    EXPECT_EQ(clients.back().ask(request("GET", "/v2/health/live")).status, 200);
  }
  EXPECT_TRUE(connect().ended());
  EXPECT_EQ(server_->stats().connections, 3);
  EXPECT_EQ(server_->stats().connections_refused, 1);
  clients.pop_back();
  ASSERT_TRUE(wait_until([this] { return server_->stats().connections == 2; }));
  expect_alive();
  EXPECT_EQ(server_->stats().connections_taken, 4);
}

TEST_F(HttpLimitsTest, OnlySoManyRequestsWaitForAThreadOfTheirOwn) {
  serve();
  std::vector<HttpClient> clients;
  for (int i = 0; i < 64; ++i) {
    clients.push_back(connect());
    clients.back().send(request("GET", "/test/slow"));
  }
  ASSERT_TRUE(wait_until([this] { return server_->stats().requests == 64; }));
  const HttpAnswer full = ask(request("GET", "/test/slow"));
  EXPECT_EQ(full.status, 503);
  EXPECT_EQ(full.header("retry-after"), "1");
  EXPECT_THAT(full.error(), HasSubstr("too many requests that take long"));
  expect_alive();
  endpoints_.open();
  for (HttpClient& client : clients) EXPECT_EQ(client.read().status, 200);
  EXPECT_EQ(ask(request("GET", "/test/slow")).status, 200);
}

TEST_F(HttpLimitsTest, AnEndpointThatThrowsIsAnError) {
  serve();
  HttpClient client = connect();
  for (const char* target : {"/test/throw", "/test/slow/throw"}) {
    for (int i = 0; i < 3; ++i) {
      const HttpAnswer answer = client.ask(request("GET", target));
      EXPECT_EQ(answer.status, 500);
      EXPECT_EQ(answer.error(), "the request failed inside the server");
    }
  }
  EXPECT_EQ(client.ask(request("GET", "/v2/health/live")).status, 200);
}

// Time ---------------------------------------------------------------------------------------------

TEST_F(HttpLimitsTest, AnIdleConnectionEnds) {
  serve({.idle_timeout = milliseconds(1)});
  HttpClient silent = connect();
  EXPECT_TRUE(silent.ended());
  EXPECT_TRUE(no_connections());
  EXPECT_GE(server_->stats().connections_timed_out, 1);
}

TEST_F(HttpLimitsTest, HeadersThatDripInEndTheConnection) {
  serve({.header_timeout = milliseconds(1)});
  HttpClient slow = connect();
  slow.send("GET /v2/health/live HTTP/1.1\r\nA");
  EXPECT_TRUE(slow.ended()) << "though the idle timeout is far away";
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(server_->stats().connections_timed_out, 1);
  EXPECT_EQ(server_->stats().requests, 0);
}

TEST_F(HttpLimitsTest, EveryByteOfADripDoesntCountAnew) {
  serve({.header_timeout = milliseconds(300)});
  HttpClient slow = connect();
  const auto end = std::chrono::steady_clock::now() + kPatience;
  std::string_view drip = "GET /v2/health/live HTTP/1.1\r\nA: ";
  while (slow.try_send(drip.substr(0, 1)) && std::chrono::steady_clock::now() < end) {
    drip = drip.size() > 1 ? drip.substr(1) : drip;
    static_cast<void>(slow.wait_readable(milliseconds(20)));
  }
  EXPECT_LT(std::chrono::steady_clock::now(), end) << "it went on and on";
  EXPECT_EQ(server_->stats().connections_timed_out, 1);
}

TEST_F(HttpLimitsTest, ABodyThatDripsInEndsTheConnection) {
  serve({.body_timeout = milliseconds(1)});
  const std::string json = floats_binary_json(3);
  const std::string binary = infer_binary("identity_fp32", json, "123456789012");
  for (const std::string& text :
       {infer("identity_fp32", floats_json({1, 2, 3})),
        request("POST", "/v2/repository/index", "{}"), binary.substr(0, binary.size() - 5),
        head("Transfer-Encoding: chunked\r\n") + "5\r\nhell",
        infer("identity_fp32", "123456789", "Inference-Header-Content-Length: 0\r\n"),
        infer("identity_fp32", "123456789", "Content-Encoding: br\r\n")}) {
    HttpClient slow = connect();
    slow.send(text.substr(0, text.size() - 1));
    EXPECT_TRUE(slow.ended()) << text;
  }
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(server_->stats().connections_timed_out, 6);
  EXPECT_TRUE(client_->seen().empty());
}

TEST_F(HttpLimitsTest, AnAnswerThatNobodyTakesEndsTheConnection) {
  serve({.write_timeout = milliseconds(1)});
  HttpClient deaf(server_->port(), 4096);
  deaf.send(request("GET", "/test/50000000"));
  ASSERT_TRUE(wait_until([this] { return server_->stats().requests == 1; }));
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(server_->stats().connections_timed_out, 1);
}

TEST_F(HttpLimitsTest, AnAnswerOfTheEngineMayTakeLongerThanAllTimeouts) {
  serve({.header_timeout = milliseconds(1),
         .body_timeout = milliseconds(1),
         .idle_timeout = milliseconds(1),
         .write_timeout = milliseconds(1)});
  client_->set_mode(FakeClient::Mode::held);
  HttpClient client = connect();
  client.send(infer("identity_fp32", floats_json({1})));
  ASSERT_TRUE(wait_until([this] { return client_->held() == 1; }));
  HttpClient idle = connect();
  EXPECT_TRUE(idle.ended()) << "connections were looked at meanwhile";
  EXPECT_EQ(client_->held(), 1);
  client_->release();
  EXPECT_EQ(client.read().status, 200);
}

}  // namespace
}  // namespace takt::server::http
