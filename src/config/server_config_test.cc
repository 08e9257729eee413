// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <gmock/gmock.h>

#include <string>

namespace takt::config {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Result<Loaded> parse_server(const std::string& server) {
  return parse("models: {repository: models, cache: none}\nserver: " + server + "\n",
               "/configured/takt.yaml");
}

std::string problem_of(const std::string& server) {
  const Result<Loaded> loaded = parse_server(server);
  return loaded ? "accepted" : loaded.error().message;
}

// One of server.keys; the hash is of one digit.
std::string key_text(const std::string& name, char digit, const std::string& roles) {
  return "{name: " + name + ", hash: 'sha256:" + std::string(64, digit) + "', roles: " + roles +
         "}";
}

TEST(ServerConfig, IsThereOnlyWhereTheFileHasOne) {
  const auto loaded = parse("models: {repository: models}\n", "/configured/takt.yaml");
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error().message, HasSubstr("tasks"));
}

TEST(ServerConfig, NeedsNeitherTasksNorLines) {
  const auto loaded = parse_server("{}");
  ASSERT_TRUE(loaded) << loaded.error().message;
  const ServerConfig& server = *loaded->config.server;
  EXPECT_EQ(server.identity.name, "takt");
  EXPECT_EQ(server.http.address, "127.0.0.1");
  EXPECT_EQ(server.http.port, 8000);
  EXPECT_EQ(server.metrics.port, 8002);
  EXPECT_FALSE(server.models) << "all of the repository";
  EXPECT_FALSE(server.model_control) << "clients change nothing unless it is said";
  EXPECT_TRUE(loaded->warnings.empty());
}

TEST(ServerConfig, EveryKeyReachesItsPlace) {
  const auto loaded = parse_server(
      "{name: triton, address: ::1, models: [a, b], isolation: thread, backends: [simulated], "
      "model_control: true, shared_memory: false, deadline: 2s, priorities: [critical, background],"
      " in_flight_max: 7, request_bytes_max: 2MiB, own_run_max: 30us,"
      " http: {port: 81, threads: 3, connections_max: 5, header_bytes_max: 8KiB,"
      " body_bytes_max: 1MiB, header_timeout: 1s, body_timeout: 2s, idle_timeout: 3s,"
      " write_timeout: 4s}, grpc: {port: 83, calls_max: 9, connection_calls_max: 8, "
      "stream_unanswered_max: 7,"
      " message_bytes_max: 1MiB, keepalive_interval: 5s, keepalive_timeout: 6s},"
      " metrics: {port: 82, triton_names: true}}");
  ASSERT_TRUE(loaded) << loaded.error().message;
  const ServerConfig& server = *loaded->config.server;
  EXPECT_EQ(server.identity.name, "triton");
  EXPECT_EQ(server.http.address, "::1");
  EXPECT_EQ(server.metrics.address, "::1");
  EXPECT_THAT(*server.models, ElementsAre("a", "b"));
  EXPECT_EQ(server.isolation, Isolation::thread);
  EXPECT_THAT(server.backends, ElementsAre("simulated"));
  EXPECT_TRUE(server.model_control);
  EXPECT_FALSE(server.regions.allowed);
  EXPECT_EQ(server.infer.deadline, 2s);
  EXPECT_THAT(server.infer.priorities,
              ElementsAre(PriorityClass::critical, PriorityClass::background));
  EXPECT_EQ(server.infer.in_flight_max, 7);
  EXPECT_EQ(server.infer.own_run_max, std::chrono::microseconds(30));
  EXPECT_EQ(server.infer.request_bytes_max, 2 << 20);
  EXPECT_EQ(server.http.port, 81);
  EXPECT_EQ(server.http.threads, 3);
  EXPECT_EQ(server.http.connections_max, 5);
  EXPECT_EQ(server.http.header_bytes_max, 8 << 10);
  EXPECT_EQ(server.http.body_bytes_max, 1 << 20);
  EXPECT_EQ(server.http.header_timeout, 1s);
  EXPECT_EQ(server.http.body_timeout, 2s);
  EXPECT_EQ(server.http.idle_timeout, 3s);
  EXPECT_EQ(server.http.write_timeout, 4s);
  EXPECT_EQ(server.grpc.address, "::1");
  EXPECT_EQ(server.grpc.port, 83);
  EXPECT_EQ(server.grpc.calls_max, 9);
  EXPECT_EQ(server.grpc.connection_calls_max, 8);
  EXPECT_EQ(server.grpc.stream_unanswered_max, 7);
  EXPECT_EQ(server.grpc.message_bytes_max, 1 << 20);
  EXPECT_EQ(server.grpc.keepalive_interval, 5s);
  EXPECT_EQ(server.grpc.keepalive_timeout, 6s);
  EXPECT_EQ(server.metrics.port, 82);
  EXPECT_TRUE(server.triton_names);
}

TEST(ServerConfig, ServesNoModelsOrAllOfThem) {
  EXPECT_TRUE(parse_server("{models: none}")->config.server->models->empty());
  EXPECT_FALSE(parse_server("{models: all}")->config.server->models);
}

TEST(ServerConfig, TlsAndKeysReachTheirPlaces) {
  const auto loaded = parse_server(
      "{tls: {certificate: tls/server.pem, key: /keys/server.key, client_ca: ca.pem}, keys: [" +
      key_text("line-3", 'a', "[infer, read]") + ", " + key_text("desk", 'b', "operate") +
      "], http: {hosts: [gateway.plant], origins: 'https://panel.plant:8443'}}");
  ASSERT_TRUE(loaded) << loaded.error().message;
  const ServerConfig& server = *loaded->config.server;
  EXPECT_EQ(server.tls->certificate, "/configured/tls/server.pem");
  EXPECT_EQ(server.tls->key, "/keys/server.key");
  EXPECT_EQ(server.tls->client_ca, "/configured/ca.pem");
  ASSERT_EQ(server.keys.size(), 2);
  EXPECT_EQ(server.keys[0].name, "line-3");
  EXPECT_EQ(server.keys[0].hash.front(), 0xaa);
  EXPECT_THAT(server.keys[0].roles, ElementsAre(server::Role::infer, server::Role::read));
  EXPECT_THAT(server.keys[1].roles, ElementsAre(server::Role::operate));
  for (const server::http::HttpOptions* http : {&server.http, &server.metrics}) {
    EXPECT_THAT(http->hosts, ElementsAre("gateway.plant"));
    EXPECT_THAT(http->origins, ElementsAre("https://panel.plant:8443"));
  }
  const auto plain = parse_server("{}");
  EXPECT_FALSE(plain->config.server->tls);
  EXPECT_TRUE(plain->config.server->keys.empty());
}

TEST(ServerConfig, WhatIsWrongWithTlsAndKeysIsNamed) {
  EXPECT_THAT(problem_of("{tls: {certificate: a.pem}}"), HasSubstr("server.tls.key: is missing"));
  EXPECT_THAT(problem_of("{tls: {key: a.key}}"), HasSubstr("server.tls.certificate: is missing"));
  EXPECT_THAT(problem_of("{tls: {certificate: a, key: b, ca: c}}"), HasSubstr("unknown key 'ca'"));
  EXPECT_THAT(problem_of("{keys: []}"), HasSubstr("server.keys: is empty"));
  EXPECT_THAT(problem_of("{keys: [{name: a}]}"), HasSubstr("server.keys[0].hash: is missing"));
  EXPECT_THAT(problem_of("{keys: [" + key_text("a", 'a', "[admin]") + "]}"),
              HasSubstr("server.keys[0].roles: 'admin' is no role"));
  EXPECT_THAT(problem_of("{keys: [" + key_text("a", 'a', "[]") + "]}"), HasSubstr("is empty"));
  const std::string first = key_text("a", 'a', "infer") + ", ";
  EXPECT_THAT(problem_of("{keys: [" + first + key_text("a", 'b', "infer") + "]}"),
              HasSubstr("server.keys[1].name: 'a' stands here twice"));
  EXPECT_THAT(problem_of("{keys: [" + first + key_text("b", 'a', "infer") + "]}"),
              HasSubstr("server.keys[1].hash: is that of 'a' as well"));
  const std::string secret = problem_of("{keys: [{name: a, hash: takt_secret, roles: infer}]}");
  EXPECT_THAT(secret, HasSubstr("server.keys[0].hash: is no hash"));
  EXPECT_THAT(secret, Not(HasSubstr("takt_secret"))) << "it may be a key";
  EXPECT_THAT(problem_of("{http: {hosts: ['a:80']}}"), HasSubstr("server.http.hosts"));
  EXPECT_THAT(problem_of("{http: {origins: ['*']}}"), HasSubstr("server.http.origins"));
}

TEST(ServerConfig, OtherMachinesReachItWithTlsAndKeys) {
  const std::string tls = "tls: {certificate: a.pem, key: a.key}";
  const std::string keys = "keys: [" + key_text("a", 'a', "infer") + "]";
  EXPECT_EQ(problem_of("{address: 0.0.0.0, " + tls + ", " + keys + "}"), "accepted");
  EXPECT_THAT(problem_of("{address: 0.0.0.0, " + tls + "}"), HasSubstr("add keys (server.keys)"));
  EXPECT_THAT(problem_of("{address: 0.0.0.0, " + keys + "}"), HasSubstr("add TLS (server.tls)"));
  EXPECT_THAT(problem_of("{address: 0.0.0.0}"), HasSubstr("add TLS and keys"));
  EXPECT_EQ(problem_of("{address: 0.0.0.0, insecure: true, " + tls + "}"), "accepted");
}

TEST(ServerConfig, KeysThatAnyoneCanReadAreWarnedOf) {
  const std::string keys = "keys: [" + key_text("a", 'a', "infer") + "]";
  const auto clear = parse_server("{address: 0.0.0.0, insecure: true, " + keys + "}");
  ASSERT_TRUE(clear) << clear.error().message;
  EXPECT_THAT(clear->warnings, ElementsAre(HasSubstr("keys without TLS can be read")));
  EXPECT_TRUE(parse_server("{" + keys + "}")->warnings.empty()) << "only this machine";
}

TEST(ServerConfig, OtherMachinesReachItOnlyWhereThatIsSaid) {
  EXPECT_THAT(problem_of("{address: 0.0.0.0}"), HasSubstr("insecure: true"));
  EXPECT_THAT(problem_of("{address: '::'}"), HasSubstr("insecure: true"));
  EXPECT_THAT(problem_of("{address: 192.168.0.7}"), HasSubstr("insecure: true"));
  EXPECT_EQ(problem_of("{address: 0.0.0.0, insecure: true}"), "accepted");
  EXPECT_EQ(problem_of("{address: 127.0.0.2}"), "accepted");
  EXPECT_THAT(problem_of("{address: localhost}"), HasSubstr("no IP address"));
}

TEST(ServerConfig, WhatCannotBeIsNamedWithItsPlace) {
  EXPECT_THAT(problem_of("{http: {port: 70000}}"), HasSubstr("server.http.port"));
  EXPECT_THAT(problem_of("{http: {header_bytes_max: 10B}}"), HasSubstr("1KiB to 1MiB"));
  EXPECT_THAT(problem_of("{priorities: [urgent]}"), HasSubstr("server.priorities"));
  EXPECT_THAT(problem_of("{isolation: vm}"), HasSubstr("server.isolation"));
  EXPECT_THAT(problem_of("{htp: {}}"), HasSubstr("http"));
}

}  // namespace
}  // namespace takt::config
