// SPDX-License-Identifier: Apache-2.0
// Keeps web pages from using a server through the browser of somebody who can reach it.
// Thread-safe: every member from any thread.
// Owns: the names of the server.
#pragma once

#include "server/access.h"

#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace takt::server::http {

struct BrowserDenial {
  Denial reason = Denial::origin;
  std::string message;
};

// A page of another site that sends a request shows itself by its Origin. A page whose name has been
// bound to this server's address (DNS rebinding) looks like the server's own, but asks a Host that no
// server has: names of this machine are known, and an address needs no name server. Where clients need
// a key or a certificate for the name, such a page has nothing to send, and any Host is good.
class BrowserGuard {
 public:
  struct Options {
    bool tls = false;
    bool check_host = true;
    std::vector<std::string> hosts;    // further names of this server, without ports
    std::vector<std::string> origins;  // further origins of its own pages, "https://name:port"
  };
  explicit BrowserGuard(Options options);

  // The values of the headers; empty: there is none, as in most clients' requests.
  [[nodiscard]] std::expected<void, BrowserDenial> check(std::string_view host,
                                                         std::string_view origin,
                                                         std::string_view fetch_site = {}) const;

 private:
  [[nodiscard]] bool knows(std::string_view host) const;

  const std::string scheme_;
  const bool check_host_;
  std::vector<std::string> hosts_;
  std::vector<std::string> origins_;
};

// As they are compared: lower case. Nothing but a name (or an address), and an origin.
[[nodiscard]] bool is_host_name(std::string_view text);
[[nodiscard]] bool is_origin(std::string_view text);

}  // namespace takt::server::http
