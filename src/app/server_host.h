// SPDX-License-Identifier: Apache-2.0
// The network front ends of a running takt.
// Thread-safe: no; the main thread starts and stops it.
// Owns: the servers and what they share.
#pragma once

#include "config/config.h"
#include "core/result.h"
#include "core/time.h"
#include "engine/inference_client.h"
#include "line/request_source.h"
#include "line/review_desk.h"
#include "memory/slot_pool.h"
#include "rest/rest_endpoints.h"
#include "rest/task_runner.h"
#include "rest/verdict_feed.h"
#include "server/access.h"
#include "server/grpc/grpc_server.h"
#include "server/http/http_server.h"
#include "server/http/v2_endpoints.h"
#include "server/infer_service.h"
#include "server/metrics/metrics_page.h"
#include "server/model_catalog.h"
#include "server/settings.h"
#include "server/shared_regions.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace takt::app {

// Slots for the inputs of requests, up to what the configuration lets one request have.
[[nodiscard]] std::vector<SizeClass> request_classes(const config::ServerConfig& config);

// The files that `server` names, before anything is started. Errors: invalid_input.
[[nodiscard]] Result<void> check_server(const config::Config& config);

// What the front ends use of a running takt; it outlives them.
struct HostParts {
  InferenceClient& client;
  server::ModelCatalog& catalog;
  std::shared_ptr<SlotPool> inputs;  // shared with the workers
  rest::VerdictFeed& feed;
  std::map<std::string, std::shared_ptr<line::FrameInlet>> inlets;
  line::ReviewDesk* reviews = nullptr;  // null: there is no store
  // Each fills in what it knows, from any thread.
  std::function<void(server::MetricsSnapshot&)> add_metrics;
  std::function<void(rest::ServerView&)> add_view;
};

class ServerHost {
 public:
  // Serves when it returns. Errors: unavailable (a port), invalid_input (TLS), of tasks as
  // line::make_plan().
  [[nodiscard]] static Result<std::unique_ptr<ServerHost>> start(const config::ServerConfig& config,
                                                                 const std::vector<TaskSpec>& tasks,
                                                                 HostParts parts);
  ~ServerHost();  // stop(0)
  ServerHost(const ServerHost&) = delete;
  ServerHost& operator=(const ServerHost&) = delete;

  [[nodiscard]] std::vector<std::string> places() const;  // "http: http://127.0.0.1:8000"

  // Takes nothing more; what is being answered has `patience`. Before the engine stops.
  void stop(Duration patience);

 private:
  // The paths of all surfaces on one port.
  class Paths;

  ServerHost(const config::ServerConfig& config, HostParts parts,
             std::unique_ptr<rest::TaskRunner> tasks);
  [[nodiscard]] server::MetricsSnapshot snapshot() const;
  [[nodiscard]] rest::ServerView view() const;

  const config::ServerConfig config_;
  const SystemClock clock_;
  const TimePoint started_ = clock_.now();
  const HostParts parts_;
  server::SharedRegions regions_;
  server::TraceSettings trace_;
  server::LogSettings log_;
  server::InferService service_;
  server::http::V2Endpoints v2_;
  const std::unique_ptr<rest::TaskRunner> tasks_;
  rest::RestEndpoints rest_;
  const std::unique_ptr<Paths> paths_;
  server::MetricsPage metrics_page_;
  server::AccessControl access_;
  std::unique_ptr<server::http::HttpServer> http_;
  std::unique_ptr<server::rpc::GrpcServer> grpc_;
  std::unique_ptr<server::http::HttpServer> metrics_;
};

}  // namespace takt::app
