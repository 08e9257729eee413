// SPDX-License-Identifier: Apache-2.0
#include "app/server_host.h"

#include <fmt/format.h>

#include <utility>

namespace takt::app {
namespace {

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = 1024 * kKiB;

}  // namespace

// Each input of a request that is being answered or received holds a slot. Memory is taken when a
// slot is first written; the large ones are few.
std::vector<SizeClass> request_classes(const config::ServerConfig& config) {
  const auto in_flight = static_cast<std::uint32_t>(config.infer.in_flight_max);
  const std::size_t largest = config.infer.request_bytes_max;
  const std::uint32_t small = std::min<std::uint32_t>(4 * in_flight, 1U << 14U);
  std::vector<SizeClass> classes;
  const auto add = [&](std::size_t bytes, std::uint32_t count) {
    if (bytes < largest) classes.push_back({.bytes = bytes, .count = count});
  };
  add(4 * kKiB, small);                                      // 64 MiB of addresses
  add(64 * kKiB, std::min<std::uint32_t>(in_flight, 1024));  // 64 MiB
  add(kMiB, std::min<std::uint32_t>(in_flight, 256));        // 256 MiB
  add(8 * kMiB, std::min<std::uint32_t>(in_flight, 32));     // 256 MiB
  classes.push_back({.bytes = largest, .count = 8});
  return classes;
}

ServerHost::ServerHost(const config::ServerConfig& config, InferenceClient& client,
                       server::ModelCatalog& catalog, std::shared_ptr<SlotPool> inputs)
    : config_(config),
      regions_(config.regions),
      service_(client, catalog, regions_, std::move(inputs), clock_, config.infer),
      endpoints_(config.identity, catalog, regions_) {}

Result<std::unique_ptr<ServerHost>> ServerHost::start(const config::ServerConfig& config,
                                                      InferenceClient& client,
                                                      server::ModelCatalog& catalog,
                                                      std::shared_ptr<SlotPool> inputs) {
  std::unique_ptr<ServerHost> host(new ServerHost(config, client, catalog, std::move(inputs)));
  if (config.http_enabled) {
    auto http = server::http::HttpServer::start(config.http, host->service_, host->endpoints_);
    if (!http) return std::unexpected(std::move(http).error().within("server.http"));
    host->http_ = std::move(*http);
  }
  return host;
}

ServerHost::~ServerHost() {
  stop(Duration{});
}

std::vector<std::string> ServerHost::places() const {
  std::vector<std::string> places;
  const std::string& address = config_.http.address;
  const bool v6 = address.find(':') != std::string::npos;
  if (http_) {
    places.push_back(
        fmt::format("http://{}{}{}:{}", v6 ? "[" : "", address, v6 ? "]" : "", http_->port()));
  }
  return places;
}

void ServerHost::stop(Duration patience) {
  if (http_) http_->stop(patience);
}

}  // namespace takt::app
