// SPDX-License-Identifier: Apache-2.0
#include "config/server_config.h"

#include "config/device_config.h"
#include "config/line_config.h"
#include "config/task_config.h"
#include "server/http/browser_guard.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace takt::config {
namespace {

constexpr int kPortMax = 65535;
constexpr std::size_t kKeysMax = 1000;  // each is compared at every request

bool is_address(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> parsed;
  return ::inet_pton(AF_INET, text.c_str(), parsed.data()) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), parsed.data()) == 1;
}

bool is_loopback(const std::string& address) {
  return address == "::1" || address.starts_with("127.");
}

void read_port(Reader& reader, std::uint16_t& port) {
  int number = port;
  reader.integer("port", number, 0, kPortMax);
  port = static_cast<std::uint16_t>(number);
}

void read_http(Reader& reader, ServerConfig& server) {
  server::http::HttpOptions& http = server.http;
  reader.boolean("enabled", server.http_enabled);
  read_port(reader, http.port);
  reader.integer("threads", http.threads, 1, 256);
  int connections = static_cast<int>(http.connections_max);
  reader.integer("connections_max", connections, 1, 1'000'000);
  http.connections_max = static_cast<std::size_t>(connections);
  reader.bytes("header_bytes_max", http.header_bytes_max);
  reader.bytes("body_bytes_max", http.body_bytes_max);
  reader.duration("header_timeout", http.header_timeout);
  reader.duration("body_timeout", http.body_timeout);
  reader.duration("idle_timeout", http.idle_timeout);
  reader.duration("write_timeout", http.write_timeout);
  reader.texts("hosts", http.hosts);
  for (const std::string& host : http.hosts) {
    if (server::http::is_host_name(host)) continue;
    reader.problem("hosts", "'" + host + "' is no name; expected one such as gateway.example");
  }
  reader.texts("origins", http.origins);
  for (const std::string& origin : http.origins) {
    if (server::http::is_origin(origin)) continue;
    reader.problem(
        "origins",
        "'" + origin + "' is no origin; expected one such as https://panel.example:8443");
  }
  constexpr std::size_t kHeaderBytesMin = 1 << 10;
  constexpr std::size_t kHeaderBytesMax = 1 << 20;
  if (http.header_bytes_max < kHeaderBytesMin || http.header_bytes_max > kHeaderBytesMax) {
    reader.problem("header_bytes_max", "expected 1KiB to 1MiB");
  }
}

void read_grpc(Reader& reader, ServerConfig& server) {
  server::rpc::GrpcOptions& grpc = server.grpc;
  reader.boolean("enabled", server.grpc_enabled);
  read_port(reader, grpc.port);
  reader.bytes("message_bytes_max", grpc.message_bytes_max);
  int calls = static_cast<int>(grpc.calls_max);
  reader.integer("calls_max", calls, 1, 1'000'000);
  grpc.calls_max = static_cast<std::size_t>(calls);
  reader.integer("connection_calls_max", grpc.connection_calls_max, 1, 100'000);
  int unanswered = static_cast<int>(grpc.stream_unanswered_max);
  reader.integer("stream_unanswered_max", unanswered, 1, 100'000);
  grpc.stream_unanswered_max = static_cast<std::size_t>(unanswered);
  reader.duration("message_timeout", grpc.message_timeout);
  reader.duration("idle_timeout", grpc.idle_timeout);
  reader.duration("keepalive_interval", grpc.keepalive_interval);
  reader.duration("keepalive_timeout", grpc.keepalive_timeout);
}

void read_metrics(Reader& reader, ServerConfig& server) {
  reader.boolean("enabled", server.metrics_enabled);
  read_port(reader, server.metrics.port);
  reader.boolean("triton_names", server.triton_names);
}

template <typename Count>
void read_count(Reader& reader, std::string_view key, Count& target, int max) {
  int count = static_cast<int>(target);
  reader.integer(key, count, 1, max);
  target = static_cast<Count>(count);
}

void read_pictures(Reader& reader, rest::TaskRunnerOptions& pictures) {
  reader.integer("threads", pictures.threads, 1, 64);
  reader.integer("calls_max", pictures.calls_max, 1, 4096);
}

void read_verdicts(Reader& reader, rest::FeedOptions& verdicts) {
  read_count(reader, "kept_max", verdicts.kept_max, 1'000'000);
  read_count(reader, "listeners_max", verdicts.listeners_max, 10'000);
  read_count(reader, "unheard_max", verdicts.unheard_max, 1'000'000);
}

void read_priorities(Reader& reader, std::vector<PriorityClass>& priorities) {
  if (!reader.has("priorities")) return;
  std::vector<std::string> words;
  reader.texts("priorities", words);
  priorities.clear();
  for (const std::string& word : words) {
    const Result<PriorityClass> priority = parse_priority(word);
    if (priority) {
      priorities.push_back(*priority);
    } else {
      reader.problem("priorities", priority.error().message);
    }
  }
}

void read_models(Reader& reader, ServerConfig& server) {
  if (!reader.has("models")) return;
  std::vector<std::string> names;
  reader.texts("models", names);
  if (names == std::vector<std::string>{"all"}) return;
  if (names == std::vector<std::string>{"none"}) names.clear();
  server.models = std::move(names);
}

void read_tls(Reader& reader, const std::filesystem::path& base, server::TlsFiles& tls) {
  const auto file = [&](const char* key, std::filesystem::path& into) {
    std::string path;
    reader.text(key, path);
    if (!path.empty()) into = resolve(path, base);
  };
  reader.require("certificate", "the server's, a file in PEM");
  reader.require("key", "the certificate's private key, a file in PEM");
  file("certificate", tls.certificate);
  file("key", tls.key);
  file("client_ca", tls.client_ca);
}

void read_key(Reader& reader, std::vector<server::AccessKey>& keys) {
  server::AccessKey key;
  reader.require("name", "whose key it is, such as line-3");
  reader.require("hash", "what `takt key` prints");
  reader.require("roles", "a list of infer, read and operate");
  reader.text("name", key.name);
  reader.word("hash", key.hash, &server::parse_key_hash);
  std::vector<std::string> roles;
  reader.texts("roles", roles);
  for (const std::string& word : roles) {
    const Result<server::Role> role = server::parse_role(word);
    if (role) {
      key.roles.push_back(*role);
    } else {
      reader.problem("roles", role.error().message);
    }
  }
  if (reader.has("roles") && roles.empty()) reader.problem("roles", "is empty; it may do nothing");
  for (const server::AccessKey& other : keys) {
    if (other.name == key.name) reader.problem("name", "'" + key.name + "' stands here twice");
    const bool same = other.hash == key.hash && key.hash != server::KeyHash{};
    if (same) reader.problem("hash", "is that of '" + other.name + "' as well");
  }
  keys.push_back(std::move(key));
}

void read_keys(Reader& reader, std::vector<server::AccessKey>& keys) {
  if (!reader.has("keys")) return;
  reader.list("keys", [&](Reader& one) { read_key(one, keys); });
  if (reader.is_list("keys") && keys.empty()) {
    reader.problem("keys",
                   "is empty, which would allow everything to everyone; add what `takt key` "
                   "prints, or leave it out");
  }
  if (keys.size() > kKeysMax) reader.problem("keys", "has more than 1000 keys");
}

// Who can reach the server, and what keeps them out.
void check_exposure(Reader& reader, const std::string& address, const ServerConfig& server,
                    std::vector<std::string>& warnings) {
  bool insecure = false;
  reader.boolean("insecure", insecure);
  if (is_loopback(address) || (server.tls && !server.keys.empty())) return;
  if (!insecure) {
    const char* const missing = server.tls             ? "keys (server.keys)"
                                : !server.keys.empty() ? "TLS (server.tls)"
                                                       : "TLS and keys (server.tls, server.keys)";
    reader.problem("address", "'" + address + "' can be reached from other machines; add " +
                                  missing + ", use 127.0.0.1, or say insecure: true");
  } else if (!server.keys.empty()) {
    warnings.push_back("server: keys without TLS can be read on their way to " + address +
                       " and used by others; add server.tls");
  }
}

}  // namespace

void read_server(Reader& reader, const std::filesystem::path& base, ServerConfig& server,
                 std::vector<std::string>& warnings) {
  std::string address = server.http.address;
  reader.text("name", server.identity.name);
  reader.text("address", address);
  if (!is_address(address)) {
    reader.problem("address", "'" + address + "' is no IP address; expected one such as 127.0.0.1");
  }
  reader.mapping("tls", [&](Reader& tls) { read_tls(tls, base, server.tls.emplace()); });
  read_keys(reader, server.keys);
  check_exposure(reader, address, server, warnings);
  server.http.address = address;
  server.grpc.address = address;
  server.metrics.address = address;
  reader.mapping("http", [&](Reader& http) { read_http(http, server); });
  reader.mapping("grpc", [&](Reader& grpc) { read_grpc(grpc, server); });
  reader.mapping("metrics", [&](Reader& metrics) { read_metrics(metrics, server); });
  server.metrics.hosts = server.http.hosts;
  server.metrics.origins = server.http.origins;
  read_models(reader, server);
  reader.word("isolation", server.isolation, &parse_isolation);
  server.backends = read_backends(reader);
  reader.boolean("model_control", server.model_control);
  reader.boolean("shared_memory", server.regions.allowed);
  reader.duration("deadline", server.infer.deadline);
  read_priorities(reader, server.infer.priorities);
  int in_flight = static_cast<int>(server.infer.in_flight_max);
  reader.integer("in_flight_max", in_flight, 1, 1'000'000);
  server.infer.in_flight_max = static_cast<std::size_t>(in_flight);
  reader.bytes("request_bytes_max", server.infer.request_bytes_max);
  reader.duration("own_run_max", server.infer.own_run_max);
  reader.mapping("pictures", [&](Reader& child) { read_pictures(child, server.pictures); });
  reader.mapping("verdicts", [&](Reader& child) { read_verdicts(child, server.verdicts); });
  server.pictures.deadline = server.infer.deadline;
  if (!server.infer.priorities.empty()) {
    server.pictures.most_urgent = *std::ranges::min_element(server.infer.priorities);
  }
}

}  // namespace takt::config
