// SPDX-License-Identifier: Apache-2.0
// The metrics over HTTP: GET /metrics.
// Thread-safe: every member from any thread.
// Owns: nothing.
#pragma once

#include "server/http/endpoints.h"
#include "server/metrics/metrics_text.h"

#include <functional>

namespace takt::server {

class MetricsPage final : public http::Endpoints {
 public:
  // `snapshot` is called for each scrape, from any thread.
  MetricsPage(std::function<MetricsSnapshot()> snapshot, bool triton_names)
      : snapshot_(std::move(snapshot)), triton_names_(triton_names) {}

  [[nodiscard]] bool is_slow(const http::HttpRequest& request) const override;
  [[nodiscard]] Need need(const http::HttpRequest& /*request*/) const override {
    return Need::read;
  }
  [[nodiscard]] http::HttpReply answer(const http::HttpRequest& request) override;

 private:
  const std::function<MetricsSnapshot()> snapshot_;
  const bool triton_names_;
};

}  // namespace takt::server
