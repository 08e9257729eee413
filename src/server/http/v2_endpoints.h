// SPDX-License-Identifier: Apache-2.0
// The Open Inference Protocol over HTTP besides inferences: health, metadata, configuration,
// statistics, repository control and shared memory.
// Thread-safe: every member from any thread.
// Owns: nothing; catalog and regions outlive it.
#pragma once

#include "server/http/endpoints.h"
#include "server/model_catalog.h"
#include "server/server_identity.h"
#include "server/settings.h"
#include "server/shared_regions.h"

#include <span>
#include <string>

namespace takt::server::http {

class V2Endpoints final : public Endpoints {
 public:
  // What they tell of and change; all of it outlives them.
  struct Services {
    ServerIdentity identity;
    ModelCatalog& catalog;
    SharedRegions& regions;
    TraceSettings& trace;
    LogSettings& log;
  };
  explicit V2Endpoints(const Services& services)
      : identity_(services.identity),
        catalog_(services.catalog),
        regions_(services.regions),
        trace_(services.trace),
        log_(services.log) {}

  [[nodiscard]] bool is_slow(const HttpRequest& request) const override;
  [[nodiscard]] Need need(const HttpRequest& request) const override;
  [[nodiscard]] HttpReply answer(const HttpRequest& request) override;

 private:
  using Path = std::span<const std::string>;
  [[nodiscard]] static HttpReply description(const HttpRequest& request);
  [[nodiscard]] HttpReply health(Path path, const HttpRequest& request) const;
  [[nodiscard]] HttpReply models(Path path, const HttpRequest& request);
  [[nodiscard]] HttpReply model(const ModelCard& card, Path path) const;
  [[nodiscard]] HttpReply statistics(std::string_view model, std::string_view version) const;
  [[nodiscard]] HttpReply trace(std::string_view model, const HttpRequest& request);
  [[nodiscard]] HttpReply logging(const HttpRequest& request);
  [[nodiscard]] HttpReply repository(Path path, const HttpRequest& request);
  [[nodiscard]] HttpReply system_memory(Path path, const HttpRequest& request);
  [[nodiscard]] static HttpReply cuda_memory(Path path, const HttpRequest& request);

  const ServerIdentity identity_;
  ModelCatalog& catalog_;
  SharedRegions& regions_;
  TraceSettings& trace_;
  LogSettings& log_;
};

}  // namespace takt::server::http
