// SPDX-License-Identifier: Apache-2.0
#include "app/server_host.h"

#include <fmt/format.h>

#include <chrono>
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

Result<void> check_server(const config::Config& config) {
  if (!config.server || !config.server->tls) return {};
  if (const auto tls = server::load_tls(*config.server->tls); !tls) {
    return std::unexpected(tls.error().within(config.file.string() + ": server.tls"));
  }
  return {};
}

class ServerHost::Paths final : public server::http::Endpoints {
 public:
  Paths(Endpoints& v2, Endpoints& rest) : v2_(v2), rest_(rest) {}

  bool is_slow(const server::http::HttpRequest& request) const override {
    return of(request).is_slow(request);
  }
  server::Need need(const server::http::HttpRequest& request) const override {
    return of(request).need(request);
  }
  server::http::HttpReply answer(const server::http::HttpRequest& request) override {
    return of(request).answer(request);
  }
  bool is_long(const server::http::HttpRequest& request) const override {
    return of(request).is_long(request);
  }
  void begin(server::http::HttpRequest request, Done done) override {
    Endpoints& responsible = of(request);
    responsible.begin(std::move(request), std::move(done));
  }

 private:
  Endpoints& of(const server::http::HttpRequest& request) const {
    return !request.path.empty() && request.path.front() == "v2" ? v2_ : rest_;
  }

  Endpoints& v2_;
  Endpoints& rest_;
};

ServerHost::ServerHost(const config::ServerConfig& config, HostParts parts,
                       std::unique_ptr<rest::TaskRunner> tasks)
    : config_(config),
      parts_(std::move(parts)),
      regions_(config.regions),
      service_(parts_.client, parts_.catalog, regions_, parts_.inputs, clock_, config.infer),
      v2_({config.identity, parts_.catalog, regions_, trace_, log_}),
      tasks_(std::move(tasks)),
      rest_({config.identity, clock_, *tasks_, parts_.feed, parts_.inlets, parts_.reviews,
             [this] { return view(); }}),
      paths_(std::make_unique<Paths>(v2_, rest_)),
      metrics_page_([this] { return snapshot(); }, config.triton_names),
      access_(config.keys) {}

Result<std::unique_ptr<ServerHost>> ServerHost::start(const config::ServerConfig& config,
                                                      const std::vector<TaskSpec>& tasks,
                                                      HostParts parts) {
  static const SystemClock kClock;
  auto runner =
      rest::TaskRunner::create(tasks, parts.client, parts.inputs, kClock, config.pictures);
  if (!runner) return std::unexpected(std::move(runner).error());
  std::unique_ptr<ServerHost> host(new ServerHost(config, std::move(parts), std::move(*runner)));
  std::optional<server::TlsOptions> tls;
  if (config.tls) {
    auto loaded = server::load_tls(*config.tls);
    if (!loaded) return std::unexpected(std::move(loaded).error().within("server.tls"));
    tls = std::move(*loaded);
  }
  server::AccessControl& access = host->access_;
  const auto guarded = [&](server::http::HttpOptions options) {
    options.tls = tls;
    options.access = &access;
    return options;
  };
  if (config.http_enabled) {
    auto http =
        server::http::HttpServer::start(guarded(config.http), &host->service_, *host->paths_);
    if (!http) return std::unexpected(std::move(http).error().within("server.http"));
    host->http_ = std::move(*http);
  }
  if (config.grpc_enabled) {
    server::rpc::Services services{config.identity, host->parts_.catalog, host->regions_,
                                   host->trace_, host->log_};
    server::rpc::GrpcOptions options = config.grpc;
    options.tls = tls;
    options.access = [&access](std::string_view method, std::string_view authorization) {
      return access.check(server::rpc::need_of(method), authorization);
    };
    auto grpc = server::rpc::GrpcServer::start(std::move(options), host->service_,
                                               std::move(services), host->clock_);
    if (!grpc) return std::unexpected(std::move(grpc).error().within("server.grpc"));
    host->grpc_ = std::move(*grpc);
  }
  if (config.metrics_enabled) {
    auto metrics =
        server::http::HttpServer::start(guarded(config.metrics), nullptr, host->metrics_page_);
    if (!metrics) return std::unexpected(std::move(metrics).error().within("server.metrics"));
    host->metrics_ = std::move(*metrics);
  }
  return host;
}

ServerHost::~ServerHost() {
  stop(Duration{});
}

std::vector<std::string> ServerHost::places() const {
  const std::string& address = config_.http.address;
  const bool v6 = address.find(':') != std::string::npos;
  const std::string host = v6 ? "[" + address + "]" : address;
  std::vector<std::string> places;
  const char* const scheme = config_.tls ? "https" : "http";
  if (http_) places.push_back(fmt::format("http: {}://{}:{}", scheme, host, http_->port()));
  if (grpc_) places.push_back(fmt::format("grpc: {}:{}", host, grpc_->port()));
  if (metrics_)
    places.push_back(fmt::format("metrics: {}://{}:{}", scheme, host, metrics_->port()));
  return places;
}

void ServerHost::stop(Duration patience) {
  parts_.feed.close();
  if (http_) http_->stop(patience);
  if (grpc_) grpc_->stop(patience);
  if (metrics_) metrics_->stop(Duration{});
  tasks_->stop();
}

server::MetricsSnapshot ServerHost::snapshot() const {
  server::MetricsSnapshot snapshot;
  snapshot.version = config_.identity.version;
  snapshot.uptime_seconds = std::chrono::duration<double>(clock_.now() - started_).count();
  for (const server::ModelCardPtr& card : parts_.catalog.serving()) {
    if (auto statistics = parts_.catalog.statistics(card->info.id)) {
      snapshot.models.push_back(
          {card->info.name, std::to_string(card->info.version), std::move(*statistics)});
    }
  }
  snapshot.request_slots = parts_.inputs->use();
  snapshot.requests_in_flight = service_.in_flight();
  if (http_) snapshot.http = http_->stats();
  snapshot.denials = access_.denials();
  parts_.add_metrics(snapshot);
  return snapshot;
}

rest::ServerView ServerHost::view() const {
  rest::ServerView view;
  view.ready = parts_.catalog.ready();
  view.uptime_seconds = std::chrono::duration<double>(clock_.now() - started_).count();
  view.requests_in_flight = service_.in_flight();
  parts_.add_view(view);
  return view;
}

}  // namespace takt::app
