// SPDX-License-Identifier: Apache-2.0
// Who may ask what over HTTP: keys with their roles, and pages in browsers.
#include "server/http/http_fixture.h"
#include "server/metrics/metrics_page.h"

namespace takt::server::http {
namespace {

using namespace server_test;
using ::testing::HasSubstr;

const std::string kAsked = floats_json({1, 2, 3});

std::string bearer(const std::string& key) {
  return "Authorization: Bearer " + key + "\r\n";
}

class HttpAccessTest : public HttpServerTest {
 protected:
  void serve_with_keys() { serve({.access = &access_}); }
  int status(const std::string& method, const std::string& target, const std::string& headers,
             std::string_view body = {}) {
    return ask(request(method, target, body, headers)).status;
  }

  AccessControl access_{{{"i", hash_key("infer"), {Role::infer}},
                         {"r", hash_key("read"), {Role::read}},
                         {"o", hash_key("operate"), {Role::operate}}}};
};

// Keys ---------------------------------------------------------------------------------------------

TEST_F(HttpAccessTest, OfThoseWhoNeedNoKeyNoBodyIsRead) {
  serve_with_keys();
  const std::string packed = "Content-Encoding: gzip\r\n";
  const std::string none(2000, 'x');  // nothing that gzip has made
  EXPECT_EQ(status("GET", "/v2/health/live", packed, none), 200);
  EXPECT_EQ(status("POST", "/v2/health/live", packed, none), 405);
}

TEST_F(HttpAccessTest, EachPathAsksForItsRole) {
  struct Row {
    const char* method;
    const char* target;
    const char* allowed;  // the keys
  };
  serve_with_keys();
  for (const Row& row : std::initializer_list<Row>{
           {"GET", "/v2/health/live", "none infer read operate"},
           {"GET", "/v2/health/ready", "none infer read operate"},
           {"GET", "/v2", "infer read operate"},
           {"GET", "/v2/models/simple", "infer read operate"},
           {"GET", "/v2/models/simple/ready", "infer read operate"},
           {"GET", "/v2/models/simple/config", "infer read operate"},
           {"GET", "/v2/models/simple/versions/1/stats", "infer read operate"},
           {"GET", "/v2/models/stats", "infer read operate"},
           {"GET", "/elsewhere", "infer read operate"},
           {"POST", "/v2/models/identity_fp32/infer", "infer"},
           {"POST", "/v2/models/identity_fp32/versions/1/infer", "infer"},
           {"POST", "/v2//models/identity_fp32/%69nfer", "infer"},
           {"POST", "/v2/repository/index", "read operate"},
           {"POST", "/v2/repository/models/simple/load", "operate"},
           {"POST", "/v2/repository/models/simple/unload", "operate"},
           {"POST", "/v2/repository/models/simple%2Fload", "operate"},
           {"GET", "/v2/systemsharedmemory/status", "read operate"},
           {"GET", "/v2/cudasharedmemory/status", "read operate"},
           {"POST", "/v2/systemsharedmemory/region/a/register", "operate"},
           {"POST", "/v2/systemsharedmemory/unregister", "operate"},
           {"POST", "/v2/cudasharedmemory/region/a/register", "operate"},
           {"GET", "/v2/trace/setting", "read operate"},
           {"POST", "/v2/trace/setting", "operate"},
           {"GET", "/v2/models/simple/trace/setting", "read operate"},
           {"POST", "/v2/models/simple/trace/setting", "operate"},
           {"GET", "/v2/logging", "read operate"},
           {"POST", "/v2/logging", "operate"}}) {
    const std::string_view allowed = row.allowed;
    for (const std::string key : {"none", "wrong", "infer", "read", "operate"}) {
      const int expected = allowed.contains(key)             ? 0
                           : allowed.contains("none")        ? 0
                           : key == "none" || key == "wrong" ? 401
                                                             : 403;
      const int got = status(row.method, row.target, key == "none" ? "" : bearer(key));
      if (expected == 0) {
        EXPECT_TRUE(got != 401 && got != 403) << row.method << " " << row.target << " by " << key;
      } else {
        EXPECT_EQ(got, expected) << row.method << " " << row.target << " by " << key;
      }
    }
  }
}

TEST_F(HttpAccessTest, ARefusalSaysWhatLacks) {
  serve_with_keys();
  const HttpAnswer stranger = ask(infer("identity_fp32", kAsked));
  EXPECT_EQ(stranger.status, 401);
  EXPECT_EQ(stranger.header("www-authenticate"), "Bearer");
  EXPECT_THAT(stranger.error(), HasSubstr("Authorization: Bearer KEY"));
  const HttpAnswer reader = ask(infer("identity_fp32", kAsked, bearer("read")));
  EXPECT_EQ(reader.status, 403);
  EXPECT_EQ(reader.error(), "the key 'r' may not do this; it needs the role infer");
  EXPECT_TRUE(client_->seen().empty());
  EXPECT_EQ(ask(infer("identity_fp32", kAsked, bearer("infer"))).status, 200);
  EXPECT_EQ(access_.denials(), (DenialCounts{1, 0, 1, 0, 0}));
}

TEST_F(HttpAccessTest, NothingOfABodyIsReadForAStranger) {
  serve_with_keys();
  HttpClient waiting = connect();
  waiting.send(
      "POST /v2/models/identity_fp32/infer HTTP/1.1\r\nHost: localhost\r\n"
      "Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(waiting.read().status, 401) << "not 100";
  EXPECT_TRUE(waiting.ended());
  HttpClient large = connect();
  large.send(
      "POST /v2/models/identity_fp32/infer HTTP/1.1\r\nHost: localhost\r\n"
      "Content-Length: 60000000\r\n\r\n");
  EXPECT_EQ(large.read().status, 401) << "before the body has come";
  EXPECT_TRUE(large.ended());
  EXPECT_EQ(inputs_->in_use(), 0);
}

TEST_F(HttpAccessTest, AConnectionOutlivesARefusal) {
  serve_with_keys();
  HttpClient client = connect();
  EXPECT_EQ(client.ask(infer("identity_fp32", kAsked)).status, 401);
  EXPECT_EQ(client.ask(infer("identity_fp32", kAsked, bearer("infer"))).status, 200);
  EXPECT_EQ(client.ask(infer("identity_fp32", kAsked)).status, 401) << "a key counts once";
}

TEST_F(HttpAccessTest, MetricsAreForReaders) {
  MetricsPage page(
      [this] {
        MetricsSnapshot snapshot;
        snapshot.denials = access_.denials();
        return snapshot;
      },
      false);
  auto metrics = HttpServer::start({.port = 0, .access = &access_}, nullptr, page);
  ASSERT_TRUE(metrics);
  const auto scrape = [&](const std::string& headers) {
    return HttpClient((*metrics)->port()).ask(request("GET", "/metrics", {}, headers));
  };
  EXPECT_EQ(scrape("").status, 401);
  EXPECT_EQ(scrape(bearer("infer")).status, 403);
  const HttpAnswer read = scrape(bearer("read"));
  EXPECT_EQ(read.status, 200);
  EXPECT_THAT(read.body, HasSubstr("takt_requests_denied_total{reason=\"no_key\"} 1"));
  EXPECT_THAT(read.body, HasSubstr("takt_requests_denied_total{reason=\"role\"} 1"));
  EXPECT_EQ(scrape(bearer("operate")).status, 200);
}

// Browsers -----------------------------------------------------------------------------------------

TEST_F(HttpAccessTest, APageOfAnotherSiteGetsNothing) {
  serve({.access = &access_});
  AccessControl open;
  auto server = HttpServer::start({.port = 0, .access = &open}, service_.get(), endpoints_);
  ASSERT_TRUE(server);
  const auto from = [&](const std::string& method, const std::string& target,
                        const std::string& headers, std::string_view body = {}) {
    return HttpClient((*server)->port()).ask(request(method, target, body, headers)).status;
  };
  const std::string evil = "Origin: http://evil.example\r\n";
  // What a form can send without asking first.
  const std::string form = evil + "Content-Type: text/plain\r\n";
  EXPECT_EQ(from("POST", "/v2/repository/models/simple/unload", form, "{}"), 403);
  EXPECT_EQ(from("POST", "/v2/models/identity_fp32/infer", form, kAsked), 403);
  EXPECT_EQ(from("POST", "/v2/logging", "Origin: null\r\n", "{}"), 403);
  EXPECT_EQ(from("GET", "/v2/models/simple", evil), 403);
  EXPECT_EQ(from("GET", "/v2/health/live", evil), 200);
  EXPECT_EQ(from("GET", "/v2/models/simple", "Origin: http://localhost\r\n"), 200);
  EXPECT_TRUE(client_->seen().empty());
  EXPECT_EQ(open.denials(), (DenialCounts{0, 0, 0, 0, 4}));
  // Keys don't make it better: a page may have one that it found.
  EXPECT_EQ(status("POST", "/v2/models/identity_fp32/infer", form + bearer("infer"), kAsked), 403);
}

TEST_F(HttpAccessTest, NoPageIsAskedToComeIn) {
  serve({.origins = {"http://panel.example"}});
  for (const char* origin : {"http://evil.example", "http://panel.example"}) {
    const HttpAnswer answer =
        ask(request("OPTIONS", "/v2/models/simple", {},
                    fmt::format("Origin: {}\r\nAccess-Control-Request-Method: POST\r\n", origin)));
    EXPECT_TRUE(answer.status == 403 || answer.status == 405) << answer.status;
    for (const auto& [name, value] : answer.headers)
      EXPECT_FALSE(name.starts_with("access-control"));
  }
  EXPECT_EQ(status("GET", "/v2/models/simple", "Origin: http://panel.example\r\n"), 200);
}

TEST_F(HttpAccessTest, ANameThatWasBoundToThisServerGetsNothing) {
  serve({.access = nullptr, .hosts = {"gateway.example"}});
  const auto by_name = [this](const std::string& host, const std::string& more = {}) {
    return ask("GET /v2/models/simple HTTP/1.1\r\nHost: " + host + "\r\n" + more + "\r\n").status;
  };
  EXPECT_EQ(by_name("rebound.example:8000"), 403);
  EXPECT_EQ(by_name("rebound.example:8000", "Origin: http://rebound.example:8000\r\n"), 403);
  EXPECT_EQ(by_name("gateway.example:8000"), 200);
  EXPECT_EQ(by_name("127.0.0.1"), 200);
  EXPECT_EQ(ask("GET /v2/health/ready HTTP/1.1\r\nHost: rebound.example\r\n\r\n").status, 200);
}

TEST_F(HttpAccessTest, WithKeysAServerMayHaveAnyName) {
  serve_with_keys();
  const std::string named = "GET /v2 HTTP/1.1\r\nHost: gateway.example\r\n";
  EXPECT_EQ(ask(named + bearer("read") + "\r\n").status, 200);
  EXPECT_EQ(ask(named + "\r\n").status, 401);
}

}  // namespace
}  // namespace takt::server::http
