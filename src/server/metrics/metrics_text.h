// SPDX-License-Identifier: Apache-2.0
// What a server counts, in Prometheus's text format.
// Thread-safe: pure function.
// Owns: plain values.
#pragma once

#include "engine/model_statistics.h"
#include "engine/options.h"
#include "memory/slot_pool.h"
#include "server/access.h"
#include "server/http/http_server.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace takt::server {

struct ModelMetrics {
  std::string model;
  std::string version;
  engine::ModelStatistics statistics;
};

struct WorkerMetrics {
  std::string task;
  std::string device;
  bool serving = false;
  std::uint64_t restarts = 0;
};

// All at one moment, about.
struct MetricsSnapshot {
  std::string version;  // of takt
  double uptime_seconds = 0;
  EngineStats engine;
  std::vector<ModelMetrics> models;
  std::vector<WorkerMetrics> workers;
  std::vector<SizeClassUse> request_slots;
  std::size_t requests_in_flight = 0;
  http::HttpStats http;
  DenialCounts denials{};
};

// `triton_names`: also as nv_inference_*, for dashboards and tools made for Triton.
[[nodiscard]] std::string metrics_text(const MetricsSnapshot& snapshot, bool triton_names);

}  // namespace takt::server
