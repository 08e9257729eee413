// SPDX-License-Identifier: Apache-2.0
#include "server/http/browser_guard.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <utility>

namespace takt::server::http {
namespace {

constexpr std::size_t kShownBytesMax = 100;  // of what a client sent

std::string lower(std::string_view text) {
  std::string lowered(text);
  for (char& c : lowered) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lowered;
}

bool is_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// "name:8000" without its port, "[::1]:8000" as "::1". Empty: none of these.
std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) {
    const std::size_t end = host.find(']');
    if (end == std::string_view::npos) return {};
    const std::string_view rest = host.substr(end + 1);
    const bool port = rest.empty() || (rest.front() == ':' && is_digits(rest.substr(1)));
    return port ? host.substr(1, end - 1) : std::string_view();
  }
  const std::size_t colon = host.find(':');
  if (colon == std::string_view::npos) return host;
  return is_digits(host.substr(colon + 1)) ? host.substr(0, colon) : std::string_view();
}

bool is_address(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> parsed;
  return ::inet_pton(AF_INET, text.c_str(), parsed.data()) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), parsed.data()) == 1;
}

std::string machine_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return {};
  return lower(name.data());
}

}  // namespace

bool is_host_name(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  });
}

bool is_origin(std::string_view text) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (text.starts_with(scheme)) return is_host_name(without_port(text.substr(scheme.size())));
  }
  return false;
}

BrowserGuard::BrowserGuard(Options options)
    : scheme_(options.tls ? "https://" : "http://"),
      check_host_(options.check_host),
      hosts_(std::move(options.hosts)),
      origins_(std::move(options.origins)) {
  for (std::string& host : hosts_) host = lower(host);
  for (std::string& origin : origins_) origin = lower(origin);
  hosts_.emplace_back("localhost");
  if (std::string name = machine_name(); !name.empty()) {
    hosts_.push_back(name.substr(0, name.find('.')));
    hosts_.push_back(std::move(name));
  }
}

bool BrowserGuard::knows(std::string_view host) const {
  std::string name = lower(without_port(host));
  if (name.ends_with('.')) name.pop_back();
  return is_address(name) || std::ranges::find(hosts_, name) != hosts_.end();
}

std::expected<void, BrowserDenial> BrowserGuard::check(std::string_view host,
                                                       std::string_view origin,
                                                       std::string_view fetch_site) const {
  if (check_host_ && !host.empty() && !knows(host)) {
    return std::unexpected(BrowserDenial{
        Denial::host, fmt::format("'{}' is no name of this server; ask by its address, or add the "
                                  "name to server.http.hosts",
                                  host.substr(0, kShownBytesMax))});
  }
  if (origin.empty()) {
    // Pictures, scripts and links of other pages bring no Origin.
    if (fetch_site != "cross-site" && fetch_site != "same-site") return {};
    return std::unexpected(
        BrowserDenial{Denial::origin,
                      "pages of other sites may not use this server; where they should, add them "
                      "to server.http.origins, and let them ask with an Origin"});
  }
  const std::string from = lower(origin);
  if (!host.empty() && from == scheme_ + lower(host)) return {};
  if (std::ranges::find(origins_, from) != origins_.end()) return {};
  return std::unexpected(BrowserDenial{
      Denial::origin, fmt::format("pages of '{}' may not use this server; where they should, add "
                                  "it to server.http.origins",
                                  origin.substr(0, kShownBytesMax))});
}

}  // namespace takt::server::http
