// SPDX-License-Identifier: Apache-2.0
#include "rest/rest_json.h"

#include "line/record_json.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <string_view>

namespace takt::rest {
namespace {

using Json = nlohmann::ordered_json;

// As the records of lines have them.
double rounded(float value, double steps) {
  return std::round(static_cast<double>(value) * steps) / steps;
}
constexpr double kScoreSteps = 1e4;
constexpr double kPixelSteps = 1e2;

Json box_json(const Box& box) {
  return {rounded(box.x1, kPixelSteps), rounded(box.y1, kPixelSteps), rounded(box.x2, kPixelSteps),
          rounded(box.y2, kPixelSteps)};
}

Json quantiles_json(const line::Quantiles& quantiles) {
  return {{"count", quantiles.count},      {"mean", to_us(quantiles.mean)},
          {"p50", to_us(quantiles.p50)},   {"p99", to_us(quantiles.p99)},
          {"p999", to_us(quantiles.p999)}, {"max", to_us(quantiles.max)}};
}

Json duration_json(const std::optional<Duration>& duration) {
  if (!duration || *duration <= Duration{}) return nullptr;
  return to_us(*duration);
}

// Adds what the task found under the name of its kind.
struct Finding {
  const line::PlannedTask& plan;
  Json& json;

  void operator()(const std::vector<Detection>& detections) const {
    Json& list = json["detections"] = Json::array();
    for (const Detection& detection : detections) {
      list.push_back({{"class", plan.class_name(detection.class_index)},
                      {"score", rounded(detection.score, kScoreSteps)},
                      {"box", box_json(detection.box)}});
    }
  }
  void operator()(const Classification& classification) const {
    json["class"] = plan.class_name(classification.class_index);
    json["score"] = rounded(classification.score, kScoreSteps);
    Json& list = json["classes"] = Json::array();
    for (std::size_t i = 0; i < classification.scores.size(); ++i) {
      list.push_back({{"class", plan.class_name(static_cast<int>(i))},
                      {"score", rounded(classification.scores[i], kScoreSteps)}});
    }
  }
  void operator()(const DistanceResult& distance) const {
    json["distance"] = rounded(distance.distance, kScoreSteps);
    Json& list = json["differences"] = Json::array();
    for (const Difference& difference : distance.differences) {
      list.push_back({{"box", box_json(difference.box)},
                      {"distance", rounded(difference.distance, kScoreSteps)},
                      {"area_px", rounded(difference.area_px, kPixelSteps)}});
    }
  }
  void operator()(const RawResult& /*of no task that has a card*/) const {}
};

std::string_view kind_of(const std::string& postprocessor) {
  if (postprocessor == "softmax") return "classification";
  if (postprocessor == "embedding_distance" || postprocessor == "distance_map") return "distance";
  return "detection";
}

}  // namespace

Json status_json(const server::ServerIdentity& identity, const ServerView& view) {
  Json json{{"name", identity.name},
            {"version", identity.version},
            {"ready", view.ready},
            {"uptime_s", std::round(view.uptime_seconds * 1000) / 1000},
            {"requests_in_flight", view.requests_in_flight}};
  Json& lines = json["lines"] = Json::array();
  for (const LineView& line : view.lines) lines.push_back(line_json(line));
  Json& workers = json["workers"] = Json::array();
  for (const WorkerView& worker : view.workers) {
    workers.push_back({{"task", worker.task},
                       {"device", worker.device},
                       {"state", worker.state},
                       {"restarts", worker.restarts}});
  }
  return json;
}

Json line_json(const LineView& line) {
  const line::LineStats& stats = line.stats;
  return {{"name", line.name},
          {"source", line.source},
          {"images", line.images},
          {"tasks", line.tasks},
          {"deadline_us", duration_json(line.deadline)},
          {"accepted", stats.accepted},
          {"verdicts", stats.verdicts},
          {"pass", stats.pass},
          {"review", stats.review},
          {"reject", stats.reject},
          {"by_fallback", stats.by_fallback},
          {"dropped", stats.dropped},
          {"damaged", stats.damaged},
          {"late_verdicts", stats.late_verdicts},
          {"journal_failures", stats.journal_failures},
          {"frames_in_flight", stats.frames_in_flight},
          {"frames_waiting", stats.frames_waiting},
          {"latency_us", quantiles_json(stats.latency)}};
}

Json task_json(const TaskCard& card) {
  const TaskSpec& spec = card.plan.spec;
  return {{"name", spec.name},
          {"kind", kind_of(spec.postprocess.name)},
          {"model", card.plan.model.name},
          {"version", card.plan.model.version},
          {"priority", to_string(spec.priority)},
          {"images", card.roles},
          {"classes", spec.postprocess.classes},
          {"deadline_us", duration_json(spec.deadline)}};
}

Json answer_json(const TaskAnswer& answer) {
  const line::PlannedTask& plan = answer.card->plan;
  const InferTimings& timings = answer.timings;
  Json json{{"task", plan.spec.name},
            {"model", plan.model.name},
            {"version", plan.model.version},
            {"width", answer.width},
            {"height", answer.height}};
  std::visit(Finding{plan, json}, answer.result);
  json["queue_us"] = to_us(timings.dispatched - timings.submitted);
  json["compute_us"] = to_us(timings.batch.compute_end - timings.batch.compute_start);
  return json;
}

Json page_json(const VerdictFeed::Page& page) {
  Json json;
  Json& frames = json["frames"] = Json::array();
  for (const FeedEntryPtr& entry : page.entries) {
    Json frame = to_json(entry->record);
    frame["id"] = entry->id;
    frames.push_back(std::move(frame));
  }
  json["next"] = page.more ? Json(page.entries.back()->id) : Json(nullptr);
  return json;
}

}  // namespace takt::rest
