// SPDX-License-Identifier: Apache-2.0
// Clients that go while they are answered, a server that stops, and many clients at once.
#include "server/http/http_fixture.h"

#include <future>

namespace takt::server::http {
namespace {

using namespace server_test;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AnyOf;

const std::string kAsked = infer("identity_fp32", floats_json({1, 2, 3}));

class HttpStopTest : public HttpServerTest {
 protected:
  void serve_held(HttpOptions options = {}) {
    client_->set_mode(FakeClient::Mode::held);
    serve(std::move(options));
  }
  void ask_and_hold(HttpClient& client, const std::string& text = kAsked) {
    const std::size_t before = client_->held();
    client.send(text);
    ASSERT_TRUE(wait_until([&] { return client_->held() == before + 1; }));
  }
  std::future<void> stop_elsewhere(Duration patience) {
    return std::async(std::launch::async, [this, patience] { server_->stop(patience); });
  }
  // stop() has begun: nobody gets in any more.
  bool stopping() {
    return wait_until([this] { return !HttpClient(server_->port()).connected(); });
  }
  static bool done(const std::future<void>& future) {
    return future.wait_for(seconds(0)) == std::future_status::ready;
  }
};

// Clients that go ----------------------------------------------------------------------------------

TEST_F(HttpStopTest, ARequestIsWithdrawnWhenItsClientHangsUp) {
  serve_held();
  {
    HttpClient client = connect();
    ask_and_hold(client);
  }
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(client_->cancels(), 1);
  EXPECT_EQ(client_->held(), 0);
}

TEST_F(HttpStopTest, ARequestIsWithdrawnWhenItsConnectionBreaks) {
  serve_held();
  HttpClient client = connect();
  ask_and_hold(client);
  client.reset();
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(client_->cancels(), 1);
}

TEST_F(HttpStopTest, ARequestIsWithdrawnThoughAnotherCameBehindIt) {
  serve_held();
  {
    HttpClient client = connect();
    ask_and_hold(client);
    client.send(kAsked + kAsked);
  }
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(client_->cancels(), 1);
  EXPECT_EQ(client_->seen().size(), 1) << "the others were not asked for a client that has gone";
}

TEST_F(HttpStopTest, AConnectionLivesUntilTheEngineHasAnswered) {
  serve_held();
  client_->run_to_the_end();
  {
    HttpClient client = connect();
    ask_and_hold(client);
  }
  ASSERT_TRUE(wait_until([this] { return client_->cancels() == 1; }));
  EXPECT_EQ(server_->stats().connections, 1);
  EXPECT_EQ(inputs_->in_use(), 1);
  client_->release();
  EXPECT_TRUE(no_connections());
}

TEST_F(HttpStopTest, AClientMayGoAtAnyByteOfItsRequest) {
  serve();
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  const std::vector<std::string> requests{
      kAsked, infer_binary("identity_fp32", floats_binary_json(3), "123456789012"),
      infer("identity_fp32", {}, chunked) + "5\r\nhello\r\n3\r\n"};
  for (const std::string& text : requests) {
    for (std::size_t length = 0; length < text.size(); length += 3) {
      HttpClient client = connect();
      client.send(text.substr(0, length));
      if (length % 2 == 0) client.reset();
    }
  }
  EXPECT_TRUE(no_connections());
  EXPECT_TRUE(client_->seen().empty());
}

TEST_F(HttpStopTest, AClientMayGoInTheMiddleOfItsAnswer) {
  serve();
  const std::vector<float> values(4'000'000, 7);  // more than two sockets hold
  const std::string text =
      infer_binary("identity_fp32", floats_binary_json(values.size()), text_of(values));
  for (const bool reset : {true, false}) {
    HttpClient client(server_->port(), 4096);
    client.send(text);
    ASSERT_TRUE(client.wait_readable());
    EXPECT_EQ(outputs_->in_use(), 1) << "it is held until the answer has been written";
    if (reset) client.reset();
    client.close();
    EXPECT_TRUE(no_connections());
    EXPECT_EQ(outputs_->in_use(), 0);
  }
}

TEST_F(HttpStopTest, AClientMayGoWhileItWaitsForASlowEndpoint) {
  serve();
  {
    HttpClient client = connect();
    client.send(request("GET", "/test/slow"));
    ASSERT_TRUE(wait_until([this] { return endpoints_.waiting() == 1; }));
  }
  HttpClient other = connect();
  EXPECT_EQ(other.ask(request("GET", "/v2/health/live")).status, 200);
  EXPECT_EQ(server_->stats().connections, 2) << "its coroutine is elsewhere";
  endpoints_.open();
  EXPECT_TRUE(wait_until([this] { return server_->stats().connections == 1; }));
}

// A server that stops ------------------------------------------------------------------------------

TEST_F(HttpStopTest, IdleConnectionsEndAtOnce) {
  serve();
  HttpClient silent = connect();
  HttpClient used = connect();
  EXPECT_EQ(used.ask(request("GET", "/v2/health/live")).status, 200);
  server_->stop(kPatience);
  EXPECT_TRUE(silent.ended());
  EXPECT_TRUE(used.ended());
  EXPECT_FALSE(HttpClient(server_->port()).connected());
  EXPECT_EQ(server_->stats().connections, 0);
  server_->stop(kPatience);
}

TEST_F(HttpStopTest, WhatIsBeingAnsweredIsAnsweredWithinThePatience) {
  serve_held({.threads = 2});
  HttpClient first = connect();
  HttpClient second = connect();
  ask_and_hold(first, kAsked + kAsked);
  ask_and_hold(second);
  const std::future<void> stopped = stop_elsewhere(kPatience);
  ASSERT_TRUE(stopping());
  EXPECT_FALSE(done(stopped));
  client_->release();
  client_->release();
  for (HttpClient* const client : {&first, &second}) {
    const HttpAnswer answer = client->read();
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.header("connection"), "close");
    EXPECT_TRUE(client->ended());
  }
  stopped.wait();
  EXPECT_EQ(client_->seen().size(), 2) << "the pipelined one was not begun";
  EXPECT_EQ(client_->cancels(), 0);
}

TEST_F(HttpStopTest, BeyondThePatienceRequestsAreWithdrawn) {
  serve_held();
  HttpClient client = connect();
  ask_and_hold(client);
  server_->stop(milliseconds(1));
  EXPECT_EQ(client_->cancels(), 1);
  EXPECT_EQ(client.read().status, 0);
  EXPECT_TRUE(client.ended());
  EXPECT_EQ(server_->stats().connections, 0);
}

TEST_F(HttpStopTest, ItWaitsForRequestsThatRunToTheirEnd) {
  serve_held();
  client_->run_to_the_end();
  HttpClient client = connect();
  ask_and_hold(client);
  const std::future<void> stopped = stop_elsewhere(Duration{});
  EXPECT_TRUE(client.ended());
  ASSERT_TRUE(wait_until([this] { return client_->cancels() >= 1; }));
  EXPECT_FALSE(done(stopped));
  client_->release();
  stopped.wait();
  EXPECT_EQ(server_->stats().connections, 0);
}

TEST_F(HttpStopTest, ItWaitsForSlowEndpoints) {
  serve();
  HttpClient client = connect();
  client.send(request("GET", "/test/slow"));
  ASSERT_TRUE(wait_until([this] { return endpoints_.waiting() == 1; }));
  const std::future<void> stopped = stop_elsewhere(Duration{});
  EXPECT_TRUE(client.ended());
  EXPECT_FALSE(done(stopped));
  endpoints_.open();
  stopped.wait();
  EXPECT_EQ(server_->stats().connections, 0);
}

TEST_F(HttpStopTest, ASlowEndpointMayAnswerWithinThePatience) {
  serve();
  HttpClient client = connect();
  client.send(request("GET", "/test/slow"));
  ASSERT_TRUE(wait_until([this] { return endpoints_.waiting() == 1; }));
  const std::future<void> stopped = stop_elsewhere(kPatience);
  ASSERT_TRUE(stopping());
  endpoints_.open();
  EXPECT_EQ(client.read().header("connection"), "close");
  stopped.wait();
}

TEST_F(HttpStopTest, HalfARequestHasItsTimeAndNoMore) {
  serve({.header_timeout = milliseconds(200), .body_timeout = milliseconds(200)});
  HttpClient half = connect();
  HttpClient body = connect();
  half.send("GET /v2/health/live HTTP/1.1\r\nA: ");
  body.send(kAsked.substr(0, kAsked.size() - 1));
  ASSERT_TRUE(wait_until([this] { return server_->stats().requests == 1; }));
  server_->stop(kPatience);
  EXPECT_TRUE(half.ended());
  EXPECT_TRUE(body.ended());
}

TEST_F(HttpStopTest, ABodyThatComesWhileItStopsIsAnswered) {
  serve();
  HttpClient client = connect();
  client.send(kAsked.substr(0, kAsked.size() - 1));
  ASSERT_TRUE(wait_until([this] { return server_->stats().requests == 1; }));
  const std::future<void> stopped = stop_elsewhere(kPatience);
  ASSERT_TRUE(stopping());
  client.send(kAsked.substr(kAsked.size() - 1));
  const HttpAnswer answer = client.read();
  EXPECT_EQ(floats_of(answer).size(), 3);
  EXPECT_EQ(answer.header("connection"), "close");
  stopped.wait();
}

TEST_F(HttpStopTest, ItStopsWhileAnswersAreWritten) {
  serve();
  HttpClient deaf(server_->port(), 4096);
  deaf.send(request("GET", "/test/50000000"));
  ASSERT_TRUE(deaf.wait_readable());
  server_->stop(milliseconds(1));
  EXPECT_EQ(server_->stats().connections, 0);
}

TEST_F(HttpStopTest, ItStopsInItsDestructor) {
  serve_held();
  HttpClient client = connect();
  ask_and_hold(client);
  server_.reset();
  EXPECT_TRUE(client.ended());
  EXPECT_EQ(client_->cancels(), 1);
}

TEST_F(HttpStopTest, ItStopsWhileClientsComeAndGo) {
  client_->set_mode(FakeClient::Mode::on_its_thread);
  for (int round = 0; round < 20; ++round) {
    serve({.threads = 3});
    std::atomic<bool> over = false;
    std::vector<std::thread> clients;
    for (int i = 0; i < 3; ++i) {
      clients.emplace_back([&, port = server_->port()] {
        while (!over) {
          HttpClient client(port);
          if (client.connected() && client.try_send(kAsked + kAsked)) {
            EXPECT_THAT(client.read().status, AnyOf(0, 200));
          }
        }
      });
    }
    ASSERT_TRUE(wait_until([&] { return server_->stats().requests > 20; }));
    server_->stop(round % 2 == 0 ? Duration{} : Duration(kPatience));
    EXPECT_EQ(server_->stats().connections, 0);
    EXPECT_EQ(service_->in_flight(), 0);
    over = true;
    for (std::thread& thread : clients) thread.join();
  }
}

// Many ---------------------------------------------------------------------------------------------

TEST_F(HttpStopTest, TwoHundredClientsAreServedAtOnce) {
  client_->set_mode(FakeClient::Mode::on_its_thread);
  serve({.threads = 2});
  std::vector<HttpClient> clients;
  for (int i = 0; i < 200; ++i) clients.push_back(connect());
  for (int round = 0; round < 5; ++round) {
    for (std::size_t i = 0; i < clients.size(); ++i) {
      const std::string id = fmt::format("{}-{}", i, round);
      clients[i].send(infer("identity_fp32", floats_json({static_cast<float>(i)}, id)) +
                      request("GET", "/v2/models/simple"));
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
      const HttpAnswer answer = clients[i].read();
      EXPECT_EQ(floats_of(answer), std::vector{static_cast<float>(i)});
      EXPECT_EQ(answer.json()["id"], fmt::format("{}-{}", i, round));
      EXPECT_EQ(clients[i].read().json()["name"], "simple");
    }
  }
  EXPECT_EQ(server_->stats().connections, 200);
  EXPECT_EQ(server_->stats().requests, 2000);
}

TEST_F(HttpStopTest, ClientsOfEveryKindLeaveNothingBehind) {
  client_->set_mode(FakeClient::Mode::on_its_thread);
  serve({.threads = 3});
  endpoints_.open();
  const std::vector<float> values(20'000, 3);
  const std::vector<std::string> kinds{
      kAsked,
      infer_binary("identity_fp32", floats_binary_json(values.size()), text_of(values)),
      infer("identity_fp32", "{\"inputs\":[1}"),
      infer("nowhere", "{\"inputs\":[]}"),
      request("GET", "/test/slow"),
      request("GET", "/test/slow/throw"),
      request("POST", "/v2/repository/index", "{}"),
      request("GET", "/test/300000", {}, "Accept-Encoding: gzip\r\n"),
      "nonsense\r\n\r\n"};
  std::vector<std::thread> threads;
  for (std::size_t first = 0; first < 4; ++first) {
    threads.emplace_back([&, first] {
      for (std::size_t i = 0; i < 200; ++i) {
        HttpClient client(server_->port());
        const std::string& text = kinds[(first * 7 + i) % kinds.size()];
        static_cast<void>(client.try_send(text));
        if (i % 3 == 0) continue;  // gone without its answer
        EXPECT_NE(client.read().status, 0) << text.substr(0, 100);
        if (i % 3 == 1) client.reset();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(no_connections());
  EXPECT_EQ(service_->in_flight(), 0);
}

}  // namespace
}  // namespace takt::server::http
