// SPDX-License-Identifier: Apache-2.0
// A real server on a free port, and clients that send any bytes in any pieces.
// Thread-safe: HttpClient no; TestEndpoints from any thread.
// Owns: the server, which has no connection left when a test ends.
#pragma once

#include "server/http/http_server.h"
#include "server/http/v2_endpoints.h"
#include "server/server_fixture.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cctype>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::server_test {

struct HttpAnswer {
  int status = 0;                              // 0: none came
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  [[nodiscard]] std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
  [[nodiscard]] nlohmann::json json() const { return nlohmann::json::parse(body, nullptr, false); }
  [[nodiscard]] std::string error() const {
    const nlohmann::json answer = json();
    return answer.is_object() ? answer.value("error", "") : "no JSON: " + body;
  }
};

class HttpClient {
 public:
  explicit HttpClient(std::uint16_t port, int receive_bytes = 0)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval patience{std::chrono::seconds(kPatience).count(), 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (receive_bytes > 0) {
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  HttpClient(HttpClient&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)),
        connected_(other.connected_),
        received_(std::move(other.received_)) {}
  HttpClient& operator=(HttpClient&&) = delete;
  virtual ~HttpClient() { close(); }

  [[nodiscard]] bool connected() const { return connected_; }

  bool try_send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send_some(bytes);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  void send(std::string_view bytes) {
    EXPECT_TRUE(try_send(bytes)) << "the server has closed the connection";
  }
  void send_in_pieces(std::string_view bytes, std::size_t piece) {
    for (std::size_t at = 0; at < bytes.size(); at += piece) send(bytes.substr(at, piece));
  }
  void end_sending() const { ::shutdown(socket_, SHUT_WR); }
  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  // So that the other side gets an error in place of the end.
  void reset() {
    const linger now{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close();
  }

  // `bodiless`: the answer to a HEAD.
  HttpAnswer read(bool bodiless = false) {
    HttpAnswer answer;
    std::size_t end = 0;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive()) return answer;
    }
    const std::string head = received_.substr(0, end + 2);
    received_.erase(0, end + 4);
    EXPECT_EQ(head.substr(0, 9), "HTTP/1.1 ");
    answer.status = std::stoi(head.substr(9, 3));
    read_headers(answer, head);
    if (bodiless || answer.status == 100) return answer;
    EXPECT_TRUE(answer.headers.contains("content-length"));
    const std::size_t length = std::stoul(answer.header("content-length"));
    while (received_.size() < length) {
      if (!receive()) return {};
    }
    answer.body = received_.substr(0, length);
    received_.erase(0, length);
    return answer;
  }
  HttpAnswer ask(std::string_view request) {
    send(request);
    return read();
  }
  // Waits for the server to end the connection. False when it sends something or nothing.
  bool ended() {
    if (!received_.empty()) return false;
    char byte = 0;
    const ssize_t got = receive_some({&byte, 1});
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }
  // Whether there is something to read, or the end, within this time.
  [[nodiscard]] bool wait_readable(std::chrono::milliseconds patience = kPatience) const {
    pollfd state{socket_, POLLIN, 0};
    return ::poll(&state, 1, static_cast<int>(patience.count())) == 1;
  }

 protected:
  [[nodiscard]] int socket() const { return socket_; }
  virtual ssize_t send_some(std::string_view bytes) {
    return ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  virtual ssize_t receive_some(std::span<char> into) {
    return ::recv(socket_, into.data(), into.size(), 0);
  }

 private:
  bool receive() {
    std::array<char, 65536> piece;
    const ssize_t got = receive_some(piece);
    if (got <= 0) return false;
    received_.append(piece.data(), static_cast<std::size_t>(got));
    return true;
  }
  static void read_headers(HttpAnswer& answer, const std::string& head) {
    std::size_t at = head.find("\r\n") + 2;
    while (at < head.size()) {
      const std::size_t end = head.find("\r\n", at);
      const std::size_t colon = head.find(": ", at);
      EXPECT_LT(colon, end);
      std::string name = head.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      EXPECT_FALSE(answer.headers.contains(name)) << name << " comes twice";
      answer.headers[name] = head.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
  }

  int socket_;
  bool connected_ = false;
  std::string received_;
};

inline std::string request(const std::string& method, const std::string& target,
                           std::string_view body = {}, const std::string& headers = {}) {
  std::string text = method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + headers;
  if (!body.empty()) text += fmt::format("Content-Length: {}\r\n", body.size());
  return text + "\r\n" + std::string(body);
}
inline std::string infer(const std::string& model, std::string_view body,
                         const std::string& headers = {}) {
  return request("POST", "/v2/models/" + model + "/infer", body, headers);
}
// A body of JSON and binary data, as two parts.
inline std::string infer_binary(const std::string& model, const std::string& json,
                                std::string_view binary, const std::string& headers = {}) {
  return infer(model, json + std::string(binary),
               fmt::format("Inference-Header-Content-Length: {}\r\n{}", json.size(), headers));
}
template <typename T>
std::string text_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// Values of "identity_fp32" as JSON, and the values in its answer.
inline std::string floats_json(const std::vector<float>& values, const std::string& id = "1") {
  return fmt::format(
      R"({{"id":"{}","inputs":[{{"name":"INPUT0","datatype":"FP32","shape":[{}],"data":[{}]}}]}})",
      id, values.size(), fmt::join(values, ","));
}
// As binary data, there and back.
inline std::string floats_binary_json(std::size_t count) {
  return fmt::format(
      R"({{"inputs":[{{"name":"INPUT0","datatype":"FP32","shape":[{}],)"
      R"("parameters":{{"binary_data_size":{}}}}}],"parameters":{{"binary_data_output":true}}}})",
      count, count * sizeof(float));
}
inline std::vector<float> floats_of(const HttpAnswer& answer) {
  EXPECT_EQ(answer.status, 200) << answer.body;
  if (answer.status != 200) return {};
  const nlohmann::json json = answer.json();
  return json["outputs"][0]["data"].get<std::vector<float>>();
}

// The protocol's endpoints, and below /test some that wait, fail, or answer much.
class TestEndpoints final : public server::http::Endpoints {
 public:
  TestEndpoints(server::ModelCatalog& catalog, server::SharedRegions& regions)
      : v2_({{"takt", "1.2.3"}, catalog, regions, trace_, log_}) {}

  // "/test/slow" answers from now on.
  void open() {
    {
      const std::scoped_lock lock(mutex_);
      open_ = true;
    }
    opened_.notify_all();
  }
  [[nodiscard]] int waiting() const {
    const std::scoped_lock lock(mutex_);
    return waiting_;
  }

  [[nodiscard]] bool is_slow(const server::http::HttpRequest& request) const override {
    return v2_.is_slow(request) || (request.path.size() > 1 && request.path[1] == "slow");
  }
  [[nodiscard]] server::Need need(const server::http::HttpRequest& request) const override {
    return v2_.need(request);
  }
  [[nodiscard]] server::http::HttpReply answer(const server::http::HttpRequest& request) override {
    if (request.path.empty() || request.path[0] != "test") return v2_.answer(request);
    if (request.path.back() == "throw") throw std::runtime_error("thrown by an endpoint");
    server::http::HttpReply reply;
    if (request.path.back() == "slow") {
      std::unique_lock lock(mutex_);
      ++waiting_;
      opened_.wait(lock, [this] { return open_; });
      --waiting_;
    } else {
      reply.body = std::string(std::stoul(request.path.back()), 'x');
    }
    return reply;
  }

 private:
  server::TraceSettings trace_;
  server::LogSettings log_;
  server::http::V2Endpoints v2_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable opened_;
  bool open_ = false;
  int waiting_ = 0;
};

class HttpServerTest : public ServerTest {
 protected:
  ~HttpServerTest() override {
    if (server_ == nullptr) return;
    EXPECT_TRUE(no_connections()) << "a connection was left";
    server_->stop(kPatience);
  }

  // On a free port of this machine.
  void serve(server::http::HttpOptions options = {}) {
    options.port = 0;
    auto server = server::http::HttpServer::start(std::move(options), service_.get(), endpoints_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }
  HttpClient connect() {
    HttpClient client(server_->port());
    EXPECT_TRUE(client.connected());
    return client;
  }
  // One request on a connection of its own.
  HttpAnswer ask(std::string_view request) { return connect().ask(request); }
  bool no_connections() {
    return wait_until([this] { return server_->stats().connections == 0; });
  }

  TestEndpoints endpoints_{catalog_, regions_};
  std::unique_ptr<server::http::HttpServer> server_;
};

}  // namespace takt::server_test
