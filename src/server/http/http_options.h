// SPDX-License-Identifier: Apache-2.0
// How the HTTP server is set up.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include "core/time.h"
#include "server/access.h"
#include "server/tls.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace takt::server::http {

struct HttpOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 8000;  // 0: one that is free
  int threads = 1;            // that read and write; what takes long runs on threads of its own
  std::size_t connections_max = 4096;
  std::size_t header_bytes_max = std::size_t{16} << 10;
  std::size_t body_bytes_max = std::size_t{64} << 20;
  // From the first byte of a request to the end of its headers, from there to the end of its body,
  // between two requests, and for a response to be taken.
  Duration header_timeout = std::chrono::seconds(10);
  Duration body_timeout = std::chrono::seconds(60);
  Duration idle_timeout = std::chrono::seconds(90);
  Duration write_timeout = std::chrono::seconds(60);
  std::optional<TlsOptions> tls = std::nullopt;  // its handshake has header_timeout
  AccessControl* access = nullptr;               // outlives the server; null: everything is allowed
  std::vector<std::string> hosts{};              // see BrowserGuard
  std::vector<std::string> origins{};
};

}  // namespace takt::server::http
