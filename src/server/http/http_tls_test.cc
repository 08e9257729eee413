// SPDX-License-Identifier: Apache-2.0
// HTTP through TLS: what it holds, and that broken, slow and unknown clients leave nothing behind.
#include "server/http/tls_client_fixture.h"

#include <csignal>
#include <future>

namespace takt::server::http {
namespace {

using namespace server_test;
using std::chrono::milliseconds;

class HttpTlsTest : public HttpServerTest {
 protected:
  HttpTlsTest() { std::signal(SIGPIPE, SIG_IGN); }  // OpenSSL's client writes without MSG_NOSIGNAL

  void serve_tls(HttpOptions options = {}, const std::string& client_ca = {}) {
    options.tls = TlsOptions{own_.certificate, own_.key, client_ca};
    serve(std::move(options));
  }
  TlsHttpClient connect_tls(const TlsClientOptions& options = {}) {
    TlsHttpClient client(server_->port(), options);
    EXPECT_TRUE(client.shake_hands());
    return client;
  }
  // The status of an inference; 0: none came.
  int infer_status(const TlsClientOptions& options) {
    TlsHttpClient client(server_->port(), options);
    if (!client.shake_hands()) return 0;
    if (!client.try_send(infer("identity_fp32", floats_json({1})))) return 0;
    return client.read().status;
  }

  const Certificate own_{"localhost"};
};

TEST_F(HttpTlsTest, RequestsAreAnsweredAsWithoutIt) {
  serve_tls();
  TlsHttpClient client = connect_tls();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(floats_of(client.ask(infer("identity_fp32", floats_json({1, 2, 3})))),
              (std::vector<float>{1, 2, 3}));
  }
  const std::vector<float> values(300'000, 7);
  const HttpAnswer large =
      client.ask(infer_binary("identity_fp32", floats_binary_json(values.size()), text_of(values)));
  EXPECT_EQ(large.status, 200);
  EXPECT_TRUE(large.body.ends_with(text_of(values)));
  EXPECT_EQ(client.ask(request("GET", "/v2/health/ready")).status, 200);
}

TEST_F(HttpTlsTest, RequestsMayComeInPiecesOfAnySize) {
  serve_tls();
  TlsHttpClient client = connect_tls();
  client.send_in_pieces(infer("identity_fp32", floats_json({4, 5})), 1);
  EXPECT_EQ(floats_of(client.read()), (std::vector<float>{4, 5}));
}

TEST_F(HttpTlsTest, OnlyNewVersionsAreSpoken) {
  serve_tls();
  EXPECT_EQ(infer_status({.version_max = TLS1_3_VERSION}), 200);
  EXPECT_EQ(infer_status({.version_max = TLS1_2_VERSION}), 200);
  EXPECT_EQ(infer_status({.version_max = TLS1_1_VERSION}), 0);
  EXPECT_EQ(infer_status({.version_max = TLS1_VERSION}), 0);
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(server_->stats().handshakes_failed, 2);
}

TEST_F(HttpTlsTest, WithoutItNothingIsAnswered) {
  serve_tls();
  HttpClient client = connect();
  client.send(request("GET", "/v2/health/live"));
  EXPECT_EQ(client.read().status, 0);
  client.close();
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(server_->stats().handshakes_failed, 1);
  EXPECT_EQ(server_->stats().requests, 0);
}

TEST_F(HttpTlsTest, ClientsAreAskedForTheirCertificate) {
  const Certificate client("client");
  const Certificate stranger("stranger");
  serve_tls({}, client.certificate);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    EXPECT_EQ(infer_status({.own = nullptr, .version_max = version}), 0);
    EXPECT_EQ(infer_status({.own = &stranger, .version_max = version}), 0);
    EXPECT_EQ(infer_status({.own = &client, .version_max = version}), 200);
  }
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(server_->stats().handshakes_failed, 4);
  EXPECT_EQ(client_->seen().size(), 2);
}

TEST_F(HttpTlsTest, AHandshakeHasItsTime) {
  serve_tls({.header_timeout = milliseconds(1)});
  HttpClient silent = connect();
  EXPECT_TRUE(silent.ended());
  HttpClient slow = connect();
  slow.send(std::string("\x16\x03\x01\x02", 4));
  EXPECT_TRUE(slow.ended()) << "though the idle timeout is far away";
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(server_->stats().connections_timed_out, 2);
}

TEST_F(HttpTlsTest, AConnectionCountsFromItsFirstByteOn) {
  serve_tls({.connections_max = 1});
  HttpClient silent = connect();
  ASSERT_TRUE(wait_until([this] { return server_->stats().connections == 1; }));
  HttpClient second(server_->port());
  EXPECT_TRUE(second.ended());
  EXPECT_EQ(server_->stats().connections_refused, 1);
}

TEST_F(HttpTlsTest, AnIdleConnectionEnds) {
  serve_tls({.idle_timeout = milliseconds(1)});
  TlsHttpClient client(server_->port());
  static_cast<void>(client.shake_hands());
  EXPECT_TRUE(client.ended());
  EXPECT_TRUE(no_connections());
}

TEST_F(HttpTlsTest, GoodbyesAreGivenAndNotAskedFor) {
  serve_tls();
  {
    TlsHttpClient polite = connect_tls();
    EXPECT_EQ(polite.ask(request("GET", "/v2/health/live")).status, 200);
    static_cast<void>(polite.say_goodbye());
    EXPECT_TRUE(polite.ended());
    EXPECT_TRUE(polite.was_told_goodbye());
  }
  {
    TlsHttpClient last = connect_tls();
    EXPECT_EQ(last.ask(request("GET", "/v2/health/live", {}, "Connection: close\r\n")).status, 200);
    EXPECT_TRUE(last.ended());
    EXPECT_TRUE(last.was_told_goodbye());
  }
  {
    TlsHttpClient rude = connect_tls();
    EXPECT_EQ(rude.ask(request("GET", "/v2/health/live")).status, 200);
  }
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(server_->stats().connections_timed_out, 0);
  EXPECT_EQ(server_->stats().handshakes_failed, 0);
}

TEST_F(HttpTlsTest, ARequestIsWithdrawnWhenItsClientHangsUp) {
  client_->set_mode(FakeClient::Mode::held);
  serve_tls();
  for (const bool polite : {true, false}) {
    TlsHttpClient client = connect_tls();
    client.send(infer("identity_fp32", floats_json({1})));
    ASSERT_TRUE(wait_until([this] { return client_->held() == 1; }));
    if (polite) static_cast<void>(client.say_goodbye());
    client.close();
    EXPECT_TRUE(no_connections());
    EXPECT_EQ(client_->held(), 0);
  }
  EXPECT_EQ(client_->cancels(), 2);
}

TEST_F(HttpTlsTest, ClientsMayGoAnywhere) {
  serve_tls();
  const std::string text = infer("identity_fp32", floats_json({1, 2, 3}));
  for (std::size_t length = 0; length < text.size(); length += 40) {
    TlsHttpClient client = connect_tls();
    client.send(text.substr(0, length));
    if (length % 80 == 0) client.reset();
  }
  const std::string hello("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10);
  for (std::size_t length = 0; length < hello.size(); ++length) {
    HttpClient client = connect();
    client.send(hello.substr(0, length));
    if (length % 2 == 0) client.reset();
  }
  EXPECT_TRUE(no_connections());
  EXPECT_TRUE(client_->seen().empty());
  TlsHttpClient client = connect_tls();
  EXPECT_EQ(client.ask(text).status, 200) << "the server is as it was";
}

TEST_F(HttpTlsTest, BytesThatAreNoTlsEndTheConnection) {
  serve_tls({.header_timeout = milliseconds(500)});
  for (const std::string& bytes :
       {std::string(1000, '\0'), std::string(20'000, '\xff'),
        std::string("\x16\x03\x01\xff\xff") + std::string(70'000, '\1'),
        std::string("\x80\x2e\x01"), std::string("\x15\x03\x03\x00\x02\x02\x28", 7)}) {
    HttpClient client = connect();
    static_cast<void>(client.try_send(bytes));
    client.end_sending();
    while (client.wait_readable() && !client.ended()) {
    }
  }
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(server_->stats().requests, 0);
}

TEST_F(HttpTlsTest, AnAnswerThatNobodyTakesEndsTheConnection) {
  serve_tls({.write_timeout = milliseconds(1)});
  TlsHttpClient deaf(server_->port(), {}, 4096);
  ASSERT_TRUE(deaf.shake_hands());
  deaf.send(request("GET", "/test/50000000"));
  ASSERT_TRUE(wait_until([this] { return server_->stats().requests == 1; }));
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(server_->stats().connections_timed_out, 1);
}

TEST_F(HttpTlsTest, AServerStopsWhoeverIsThere) {
  client_->set_mode(FakeClient::Mode::held);
  serve_tls();
  HttpClient shaking = connect();
  TlsHttpClient idle = connect_tls();
  TlsHttpClient asking = connect_tls();
  asking.send(infer("identity_fp32", floats_json({1})));
  ASSERT_TRUE(wait_until([this] { return client_->held() == 1; }));
  auto stopped = std::async(std::launch::async, [this] { server_->stop(kPatience); });
  EXPECT_TRUE(shaking.ended());
  EXPECT_TRUE(idle.ended());
  client_->release();
  EXPECT_EQ(asking.read().status, 200) << "what was taken is answered";
  EXPECT_EQ(stopped.wait_for(kPatience), std::future_status::ready);
}

TEST_F(HttpTlsTest, WhatCantServeIsTold) {
  const Certificate other("other");
  const auto server = HttpServer::start(
      {.port = 0, .tls = TlsOptions{own_.certificate, other.key, ""}}, service_.get(), endpoints_);
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().kind, ErrorKind::invalid_input);
  EXPECT_EQ(server.error().message.find("tls: key: "), 0U) << server.error().message;
}

}  // namespace
}  // namespace takt::server::http
