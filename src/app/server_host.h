// SPDX-License-Identifier: Apache-2.0
// The network front ends of a running takt.
// Thread-safe: no; the main thread starts and stops it.
// Owns: the servers and what they share.
#pragma once

#include "config/config.h"
#include "core/result.h"
#include "core/time.h"
#include "engine/inference_client.h"
#include "memory/slot_pool.h"
#include "server/grpc/grpc_server.h"
#include "server/http/http_server.h"
#include "server/http/v2_endpoints.h"
#include "server/infer_service.h"
#include "server/metrics/metrics_page.h"
#include "server/model_catalog.h"
#include "server/settings.h"
#include "server/shared_regions.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace takt::app {

// Slots for the inputs of requests, up to what the configuration lets one request have.
[[nodiscard]] std::vector<SizeClass> request_classes(const config::ServerConfig& config);

class ServerHost {
 public:
  // Serves when it returns. `inputs` are shared with the workers. Errors: unavailable (a port).
  // `add_metrics` fills what it knows into a snapshot, from any thread.
  using AddMetrics = std::function<void(server::MetricsSnapshot&)>;
  [[nodiscard]] static Result<std::unique_ptr<ServerHost>> start(const config::ServerConfig& config,
                                                                 InferenceClient& client,
                                                                 server::ModelCatalog& catalog,
                                                                 std::shared_ptr<SlotPool> inputs,
                                                                 AddMetrics add_metrics);
  ~ServerHost();  // stop(0)
  ServerHost(const ServerHost&) = delete;
  ServerHost& operator=(const ServerHost&) = delete;

  [[nodiscard]] std::vector<std::string> places() const;  // "http: http://127.0.0.1:8000"

  // Takes nothing more; what is being answered has `patience`. Before the engine stops.
  void stop(Duration patience);

 private:
  ServerHost(const config::ServerConfig& config, InferenceClient& client,
             server::ModelCatalog& catalog, std::shared_ptr<SlotPool> inputs,
             AddMetrics add_metrics);
  [[nodiscard]] server::MetricsSnapshot snapshot() const;

  const config::ServerConfig config_;
  const SystemClock clock_;
  const TimePoint started_ = clock_.now();
  const AddMetrics add_metrics_;
  const std::shared_ptr<SlotPool> inputs_;
  server::ModelCatalog& catalog_;
  server::SharedRegions regions_;
  server::TraceSettings trace_;
  server::LogSettings log_;
  server::InferService service_;
  server::http::V2Endpoints endpoints_;
  server::MetricsPage metrics_page_;
  std::unique_ptr<server::http::HttpServer> http_;
  std::unique_ptr<server::rpc::GrpcServer> grpc_;
  std::unique_ptr<server::http::HttpServer> metrics_;
};

}  // namespace takt::app
