// SPDX-License-Identifier: Apache-2.0
#include "app/compile_report.h"

#include "repository/read_file.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <vector>

namespace takt::app {
namespace {

using cuda::BatchReport;
using cuda::CompileReport;
using cuda::LayerReport;
using nlohmann::json;
using repository::printable;  // names of a model may hold what moves a terminal's cursor

using Row = std::vector<std::string>;

// Columns as wide as their widest entry; the first `texts` of them begin on the left, numbers end on the
// right. Each row has as many entries.
std::string aligned(const std::vector<Row>& rows, std::size_t texts) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += i < texts ? fmt::format("  {:<{}}", row[i], widths[i])
                        : fmt::format("  {:>{}}", row[i], widths[i]);
    }
    text += '\n';
  }
  return text;
}

std::string bytes_text(std::size_t bytes) {
  constexpr double kMebibyte = 1024.0 * 1024.0;
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / kMebibyte);
}

// `amount` in so many microseconds, in units of `unit` a second.
std::string rate_text(double amount, double microseconds, double unit) {
  if (microseconds <= 0 || amount <= 0) return "-";
  return fmt::format("{:.1f}", amount / (microseconds * 1e-6) / unit);
}

Row row_of(const LayerReport& layer) {
  constexpr double kGiga = 1e9;
  constexpr double kTera = 1e12;
  return {printable(layer.name),
          layer.shapes,
          layer.precision,
          layer.implementation,
          fmt::format("{:.1f} us", layer.microseconds),
          fmt::format("{:.1f} %", 100 * layer.share),
          rate_text(layer.bytes, layer.microseconds, kGiga),
          rate_text(layer.flops, layer.microseconds, kTera)};
}

std::string layers_text(const BatchReport& batch) {
  constexpr std::size_t kTexts = 4;
  std::vector<Row> rows{
      {"layer", "shapes", "precision", "implementation", "time", "share", "GB/s", "TFLOP/s"}};
  for (const LayerReport& layer : batch.layers) rows.push_back(row_of(layer));
  return fmt::format("batch {}\n", batch.batch) + aligned(rows, kTexts);
}

Row row_of(const BatchReport& batch) {
  const double ms = std::chrono::duration<double, std::milli>(batch.latency_p50).count();
  return {fmt::format("{}", batch.batch), fmt::format("{:.3f} ms", ms),
          fmt::format("{:.1f}", batch.rows_per_second), bytes_text(batch.arena_bytes),
          bytes_text(batch.weights_bytes)};
}

json json_of(const LayerReport& layer) {
  return {{"name", layer.name},           {"shapes", layer.shapes},
          {"precision", layer.precision}, {"implementation", layer.implementation},
          {"us", layer.microseconds},     {"share", layer.share},
          {"bytes", layer.bytes},         {"flops", layer.flops}};
}

json json_of(const BatchReport& batch) {
  json layers = json::array();
  for (const LayerReport& layer : batch.layers) layers.push_back(json_of(layer));
  return {{"batch", batch.batch},
          {"latency_p50_us", std::chrono::duration<double, std::micro>(batch.latency_p50).count()},
          {"rows_per_second", batch.rows_per_second},
          {"arena_bytes", batch.arena_bytes},
          {"weights_bytes", batch.weights_bytes},
          {"layers", std::move(layers)}};
}

}  // namespace

std::string to_table(const CompileReport& report, bool layers) {
  std::string text = report.device;
  for (const auto& [name, version] : report.libraries) {
    text += fmt::format(", {} {}", name, version);
  }
  text += '\n';
  std::vector<Row> rows{{"batch", "p50", "rows/s", "arena", "weights"}};
  for (const BatchReport& batch : report.batches) {
    if (layers) text += layers_text(batch);
    rows.push_back(row_of(batch));
  }
  text += aligned(rows, 0);
  if (!report.remade.empty()) {
    text += fmt::format("the plan that was there wasn't used: {}\n", report.remade);
  }
  return text + fmt::format("plan: {} ({} steps tuned, {} reused, {:.1f} s)\n",
                            report.plan.string(), report.tuned_steps, report.reused_steps,
                            report.seconds);
}

std::string to_json(const CompileReport& report) {
  json libraries = json::object();
  for (const auto& [name, version] : report.libraries) libraries[name] = version;
  json batches = json::array();
  for (const BatchReport& batch : report.batches) batches.push_back(json_of(batch));
  const json out{{"device", report.device},           {"libraries", std::move(libraries)},
                 {"plan", report.plan.string()},      {"remade", report.remade},
                 {"tuned_steps", report.tuned_steps}, {"reused_steps", report.reused_steps},
                 {"seconds", report.seconds},         {"batches", std::move(batches)}};
  // Names in a model need not be UTF-8, JSON must.
  return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace takt::app
