// SPDX-License-Identifier: Apache-2.0
#include "line/record_json.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <stdexcept>

namespace takt::line {
namespace {

using nlohmann::json;

// Rounded so that a line of JSON shows 0.9812 and not 0.98119998.
double rounded(float value, double steps) {
  return std::round(static_cast<double>(value) * steps) / steps;
}

json box_json(const Box& box) {
  constexpr double kSteps = 100;
  return {rounded(box.x1, kSteps), rounded(box.y1, kSteps), rounded(box.x2, kSteps),
          rounded(box.y2, kSteps)};
}

Box box_from(const json& corners) {
  return {corners.at(0), corners.at(1), corners.at(2), corners.at(3)};
}

// The library converts floats without a look at their range.
const json& whole(const json& in) {
  if (in.is_number_integer()) return in;
  throw json::type_error::create(302, "type must be a whole number", &in);
}

// Throws std::range_error for what doesn't fit.
Duration duration_from(const json& in) {
  constexpr std::int64_t kMaxUs =
      std::chrono::floor<std::chrono::microseconds>(Duration::max()).count();
  const auto us = whole(in).get<std::int64_t>();
  if (us < -kMaxUs || us > kMaxUs) {
    throw std::range_error(std::to_string(us) + " us; expected a time below 292 years");
  }
  return std::chrono::microseconds(us);
}

json stand_in_json(const StandIn& stand_in) {
  json out{{"task", stand_in.task},
           {"model", stand_in.model},
           {"version", stand_in.version},
           {"cause_kind", to_string(stand_in.cause.kind)},
           {"cause", stand_in.cause.message}};
  if (stand_in.error) {
    out["error_kind"] = to_string(stand_in.error->kind);
    out["error"] = stand_in.error->message;
  }
  return out;
}

json task_json(const TaskReport& task) {
  json out{{"task", task.task},
           {"model", task.model},
           {"version", task.version},
           {"total_us", to_us(task.finished - task.submitted)},
           {"compute_us", to_us(task.compute)},
           {"requests", task.requests}};
  if (task.error) {
    out["error_kind"] = to_string(task.error->kind);
    out["error"] = task.error->message;
  }
  if (task.stand_in) out["fallback"] = stand_in_json(*task.stand_in);
  return out;
}

ErrorKind error_kind_from(const std::string& name) {
  for (int i = 0; i < kErrorKindCount; ++i) {
    if (to_string(static_cast<ErrorKind>(i)) == name) return static_cast<ErrorKind>(i);
  }
  return ErrorKind::internal;
}

StandIn stand_in_from(const json& in) {
  StandIn stand_in;
  stand_in.task = in.at("task");
  stand_in.model = in.at("model");
  stand_in.version = whole(in.at("version"));
  stand_in.cause = {error_kind_from(in.at("cause_kind")), in.at("cause")};
  if (in.contains("error")) {
    stand_in.error = Error{error_kind_from(in.at("error_kind")), in.at("error")};
  }
  return stand_in;
}

TaskReport task_from(const json& in) {
  TaskReport task;
  task.task = in.at("task");
  task.model = in.at("model");
  task.version = whole(in.at("version"));
  task.finished = TimePoint(duration_from(in.at("total_us")));
  task.compute = duration_from(in.at("compute_us"));
  task.requests = whole(in.at("requests"));
  if (in.contains("error"))
    task.error = Error{error_kind_from(in.at("error_kind")), in.at("error")};
  if (in.contains("fallback")) task.stand_in = stand_in_from(in.at("fallback"));
  return task;
}

json detections_json(const std::vector<NamedDetection>& detections) {
  constexpr double kSteps = 1e4;
  json out = json::array();
  for (const NamedDetection& detection : detections) {
    out.push_back({{"class", detection.class_name},
                   {"score", rounded(detection.score, kSteps)},
                   {"box", box_json(detection.box)},
                   {"task", detection.task}});
  }
  return out;
}

}  // namespace

json to_json(const VerdictRecord& record) {
  json out{{"line", record.line},
           {"seq", record.seq.value},
           {"frame", record.frame},
           {"part_id", record.part_id},
           {"trigger_seq", record.trigger_seq},
           {"recipe", record.recipe},
           {"captured_us", record.captured_wall_us},
           {"verdict", to_string(record.verdict)},
           {"reasons", record.reasons},
           {"route", record.route},
           {"by_fallback", record.by_fallback},
           {"detections", detections_json(record.detections)},
           {"tasks", json::array()},
           {"latency_us", to_us(record.latency)},
           {"lateness_us", to_us(record.lateness)}};
  for (const TaskReport& task : record.tasks) out["tasks"].push_back(task_json(task));
  if (record.distance) out["distance"] = rounded(*record.distance, 1e4);
  if (record.truth_known) {
    out["known_defects"] = json::array();
    for (const KnownDefect& defect : record.known_defects) {
      out["known_defects"].push_back({{"class", defect.class_name}, {"box", box_json(defect.box)}});
    }
  }
  return out;
}

Result<VerdictRecord> record_from_json(const json& in) {
  try {
    VerdictRecord record;
    record.line = in.at("line");
    record.seq = FrameSeq{whole(in.at("seq"))};
    record.frame = in.at("frame");
    record.part_id = in.at("part_id");
    record.trigger_seq = whole(in.at("trigger_seq"));
    record.recipe = in.at("recipe");
    record.captured_wall_us = whole(in.at("captured_us"));
    const Result<Verdict> verdict = parse_verdict(in.at("verdict").get<std::string>());
    if (!verdict) return std::unexpected(verdict.error());
    record.verdict = *verdict;
    record.reasons = in.at("reasons");
    record.route = in.at("route");
    record.by_fallback = in.at("by_fallback");
    for (const json& detection : in.at("detections")) {
      record.detections.push_back({detection.at("class"), detection.at("score"),
                                   box_from(detection.at("box")), detection.at("task")});
    }
    for (const json& task : in.at("tasks")) record.tasks.push_back(task_from(task));
    if (in.contains("distance")) record.distance = in.at("distance").get<float>();
    record.latency = duration_from(in.at("latency_us"));
    record.lateness = duration_from(in.at("lateness_us"));
    record.truth_known = in.contains("known_defects");
    if (record.truth_known) {
      for (const json& defect : in.at("known_defects")) {
        record.known_defects.push_back({defect.at("class"), box_from(defect.at("box"))});
      }
    }
    return record;
  } catch (const json::exception& error) {
    return fail(ErrorKind::invalid_input, std::string("not a verdict record: ") + error.what());
  } catch (const std::range_error& error) {
    return fail(ErrorKind::invalid_input, std::string("not a verdict record: ") + error.what());
  }
}

}  // namespace takt::line
