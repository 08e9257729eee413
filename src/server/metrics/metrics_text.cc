// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/metrics_text.h"

#include "core/priority.h"
#include "engine/events.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <chrono>
#include <limits>
#include <utility>

namespace takt::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

class Families {
 public:
  // Metrics that are added next are of this one.
  void begin(const char* name, MetricType type, const char* help) {
    all_.push_back({name, help, type, {}});
  }
  void add(double value, Labels labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    if (all_.back().type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    all_.back().metric.push_back(std::move(metric));
  }
  void add(const engine::DurationCounts& counts, const engine::DurationSum& sum, Labels labels) {
    ClientMetric metric;
    metric.label = std::move(labels);
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      cumulative += counts[i];
      const bool last = i == engine::kDurationBounds.size();
      metric.histogram.bucket.push_back({cumulative, last ? std::numeric_limits<double>::infinity()
                                                          : seconds(engine::kDurationBounds[i])});
    }
    metric.histogram.sample_count = cumulative;
    metric.histogram.sample_sum = seconds(sum.total);
    all_.back().metric.push_back(std::move(metric));
  }
  void counter(const char* name, const char* help, double value) {
    begin(name, MetricType::Counter, help);
    add(value);
  }
  void gauge(const char* name, const char* help, double value) {
    begin(name, MetricType::Gauge, help);
    add(value);
  }
  [[nodiscard]] std::string text() const { return prometheus::TextSerializer().Serialize(all_); }

 private:
  std::vector<MetricFamily> all_;
};

Labels labels_of(const ModelMetrics& model) {
  return {{"model", model.model}, {"version", model.version}};
}

Labels with(Labels labels, const char* name, std::string value) {
  labels.push_back({name, std::move(value)});
  return labels;
}

double count(std::uint64_t value) {
  return static_cast<double>(value);
}

void put_models(Families& families, const std::vector<ModelMetrics>& models) {
  using engine::DurationCounts;
  using engine::DurationHistograms;
  using engine::DurationSum;
  using engine::ModelStatistics;
  struct Stage {
    const char* name;
    const char* help;
    DurationCounts DurationHistograms::* counts;
    DurationSum ModelStatistics::* sum;
  };
  constexpr std::array kStages{
      Stage{"takt_request_duration_seconds", "Requests that succeeded, from submission to answer",
            &DurationHistograms::request, &ModelStatistics::success},
      Stage{"takt_queue_duration_seconds", "Their time in the queue", &DurationHistograms::queue,
            &ModelStatistics::queue},
      Stage{"takt_compute_input_duration_seconds", "Until their inputs were on the device",
            &DurationHistograms::compute_input, &ModelStatistics::compute_input},
      Stage{"takt_compute_duration_seconds", "The model itself", &DurationHistograms::compute_infer,
            &ModelStatistics::compute_infer},
      Stage{"takt_compute_output_duration_seconds", "Until their outputs lay in their places",
            &DurationHistograms::compute_output, &ModelStatistics::compute_output}};
  for (const Stage& stage : kStages) {
    families.begin(stage.name, MetricType::Histogram, stage.help);
    for (const ModelMetrics& model : models) {
      const ModelStatistics& all = model.statistics;
      families.add(all.histograms.*stage.counts, all.*stage.sum, labels_of(model));
    }
  }
  families.begin("takt_inferences_total", MetricType::Counter, "Rows of requests that succeeded");
  for (const ModelMetrics& model : models) {
    families.add(count(model.statistics.inferences), labels_of(model));
  }
  families.begin("takt_executions_total", MetricType::Counter,
                 "Batches that succeeded, by their rows");
  for (const ModelMetrics& model : models) {
    for (const engine::BatchStatistics& batch : model.statistics.batches) {
      families.add(count(batch.compute_infer.count),
                   with(labels_of(model), "rows", std::to_string(batch.rows)));
    }
  }
  families.begin("takt_failures_total", MetricType::Counter,
                 "Requests that did not succeed, by reason");
  for (const ModelMetrics& model : models) {
    for (int kind = 0; kind < kErrorKindCount; ++kind) {
      families.add(count(model.statistics.failed_by_kind[static_cast<std::size_t>(kind)]),
                   with(labels_of(model), "reason",
                        std::string(takt::to_string(static_cast<ErrorKind>(kind)))));
    }
  }
}

void put_engine(Families& families, const EngineStats& stats) {
  families.gauge("takt_queue_requests", "Accepted requests that wait", count(stats.queue_depth));
  families.gauge("takt_batches_running", "Batches at instances", count(stats.batches_running));
  families.gauge("takt_output_slots_in_use", "Slots that hold outputs", count(stats.slots_in_use));
  families.gauge("takt_output_slots", "Slots for outputs of the models that are loaded",
                 count(stats.slots));
  families.counter("takt_requests_total", "Requests submitted to the engine",
                   count(stats.submitted));
  families.counter("takt_requests_refused_total", "Requests that were not accepted",
                   count(stats.refused));
  families.counter("takt_requests_expired_total", "Requests whose time ran out while they waited",
                   count(stats.expired));
  families.counter("takt_requests_cancelled_total", "Requests withdrawn while they waited",
                   count(stats.cancelled));
  families.begin("takt_requests_shed_total", MetricType::Counter,
                 "Requests that gave way to more urgent ones, by class");
  for (int i = 0; i < kPriorityClassCount; ++i) {
    families.add(count(stats.shed_by_class[static_cast<std::size_t>(i)]),
                 {{"class", std::string(takt::to_string(static_cast<PriorityClass>(i)))}});
  }
  families.begin("takt_events_total", MetricType::Counter, "What a person should know of, by kind");
  for (std::size_t i = 0; i < stats.events.size(); ++i) {
    families.add(count(stats.events[i]),
                 {{"event", std::string(to_string(static_cast<engine::EventKind>(i)))}});
  }
}

void put_server(Families& families, const MetricsSnapshot& snapshot) {
  families.gauge("takt_uptime_seconds", "Since the server started", snapshot.uptime_seconds);
  families.begin("takt_build_info", MetricType::Gauge, "Always 1");
  families.add(1, {{"version", snapshot.version}});
  families.gauge("takt_requests_in_flight", "Inferences of clients that are not answered yet",
                 count(snapshot.requests_in_flight));
  families.begin("takt_request_slots_in_use", MetricType::Gauge,
                 "Slots that hold inputs of requests, by their size");
  for (const SizeClassUse& use : snapshot.request_slots) {
    families.add(count(use.in_use), {{"bytes", std::to_string(use.bytes)}});
  }
  const http::HttpStats& http = snapshot.http;
  families.gauge("takt_http_connections", "Open HTTP connections", count(http.connections));
  families.counter("takt_http_requests_total", "HTTP requests", count(http.requests));
  families.counter("takt_http_connections_refused_total", "Connections beyond the limit",
                   count(http.connections_refused));
  families.counter("takt_http_timeouts_total", "Connections that took too long",
                   count(http.connections_timed_out));
  families.counter("takt_http_handshakes_failed_total", "Connections that TLS refused",
                   count(http.handshakes_failed));
  families.begin("takt_requests_denied_total", MetricType::Counter,
                 "Requests that were refused unread, by reason");
  for (int i = 0; i < kDenialCount; ++i) {
    families.add(count(snapshot.denials[static_cast<std::size_t>(i)]),
                 {{"reason", std::string(to_string(static_cast<Denial>(i)))}});
  }
  families.begin("takt_worker_serving", MetricType::Gauge, "1 while the worker serves");
  for (const WorkerMetrics& worker : snapshot.workers) {
    families.add(worker.serving ? 1 : 0, {{"task", worker.task}, {"device", worker.device}});
  }
  families.begin("takt_worker_restarts_total", MetricType::Counter, "Restarts of the worker");
  for (const WorkerMetrics& worker : snapshot.workers) {
    families.add(count(worker.restarts), {{"task", worker.task}, {"device", worker.device}});
  }
}

double microseconds(const engine::DurationSum& sum) {
  return std::chrono::duration<double, std::micro>(sum.total).count();
}

void put_triton_names(Families& families, const std::vector<ModelMetrics>& models) {
  using engine::ModelStatistics;
  const auto put = [&](const char* name, const char* help, auto value_of) {
    families.begin(name, MetricType::Counter, help);
    for (const ModelMetrics& model : models)
      families.add(value_of(model.statistics), labels_of(model));
  };
  put("nv_inference_request_success", "Successful requests",
      [](const ModelStatistics& all) { return count(all.success.count); });
  put("nv_inference_request_failure", "Failed requests", [](const ModelStatistics& all) {
    return count(all.fail.count + all.refused.count + all.cancelled.count);
  });
  put("nv_inference_count", "Rows that were inferred",
      [](const ModelStatistics& all) { return count(all.inferences); });
  put("nv_inference_exec_count", "Batches that were executed",
      [](const ModelStatistics& all) { return count(all.executions); });
  put("nv_inference_request_duration_us", "Sum over requests",
      [](const ModelStatistics& all) { return microseconds(all.success); });
  put("nv_inference_queue_duration_us", "Sum over requests",
      [](const ModelStatistics& all) { return microseconds(all.queue); });
  put("nv_inference_compute_input_duration_us", "Sum over requests",
      [](const ModelStatistics& all) { return microseconds(all.compute_input); });
  put("nv_inference_compute_infer_duration_us", "Sum over requests",
      [](const ModelStatistics& all) { return microseconds(all.compute_infer); });
  put("nv_inference_compute_output_duration_us", "Sum over requests",
      [](const ModelStatistics& all) { return microseconds(all.compute_output); });
}

}  // namespace

std::string metrics_text(const MetricsSnapshot& snapshot, bool triton_names) {
  Families families;
  put_server(families, snapshot);
  put_engine(families, snapshot.engine);
  put_models(families, snapshot.models);
  if (triton_names) put_triton_names(families, snapshot.models);
  return families.text();
}

}  // namespace takt::server
