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
#include "server/http/http_server.h"
#include "server/http/v2_endpoints.h"
#include "server/infer_service.h"
#include "server/model_catalog.h"
#include "server/shared_regions.h"

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
  [[nodiscard]] static Result<std::unique_ptr<ServerHost>> start(const config::ServerConfig& config,
                                                                 InferenceClient& client,
                                                                 server::ModelCatalog& catalog,
                                                                 std::shared_ptr<SlotPool> inputs);
  ~ServerHost();  // stop(0)
  ServerHost(const ServerHost&) = delete;
  ServerHost& operator=(const ServerHost&) = delete;

  [[nodiscard]] std::vector<std::string> places() const;  // "http://127.0.0.1:8000"

  // Takes nothing more; what is being answered has `patience`. Before the engine stops.
  void stop(Duration patience);

 private:
  ServerHost(const config::ServerConfig& config, InferenceClient& client,
             server::ModelCatalog& catalog, std::shared_ptr<SlotPool> inputs);

  const config::ServerConfig config_;
  const SystemClock clock_;
  server::SharedRegions regions_;
  server::InferService service_;
  server::http::V2Endpoints endpoints_;
  std::unique_ptr<server::http::HttpServer> http_;
};

}  // namespace takt::app
