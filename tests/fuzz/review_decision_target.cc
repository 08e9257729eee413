// SPDX-License-Identifier: Apache-2.0
// What a person decides at the review desk, as a client sends it, and the records of journal and store.
#include "line/record_json.h"
#include "line/review_check.h"
#include "line/review_json.h"
#include "target.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdint>
#include <string_view>

namespace takt::fuzz {
namespace {

using nlohmann::json;

enum class Part : std::uint8_t { decision, record, count };
constexpr int kLabelsMax = 4;
constexpr line::PictureSize kPicture{640, 480};

void check_label(const line::ReviewLabel& label) {
  require(!label.class_name.empty() && label.class_name.size() <= line::kClassBytesMax,
          "classes have names");
  const Box& box = label.box;
  require(std::isfinite(box.x1) && std::isfinite(box.y1) && std::isfinite(box.x2) &&
              std::isfinite(box.y2),
          "edges are numbers");
  require(box.x1 < box.x2 && box.y1 < box.y2, "boxes have an area");
}

void run_decision(std::string_view text) {
  const auto decision = line::decision_from_json(text);
  if (!decision) {
    require(decision.error().code == line::ReviewCode::invalid, "a bad decision is invalid");
    require(!decision.error().message.empty(), "errors have words");
    static_cast<void>(json(decision.error().message).dump());  // throws for what isn't UTF-8
    return;
  }
  require(decision->decision != Verdict::review, "a person decides");
  if (!line::check(*decision, kLabelsMax)) return;
  require(!decision->by.empty() && decision->by.size() <= line::kReviewerBytesMax, "who decides");
  require(decision->note.size() <= line::kNoteBytesMax, "notes are bounded");
  line::Review review;
  review.by = decision->by;
  review.decision = decision->decision;
  review.note = decision->note;
  review.labels = decision->labels;
  static_cast<void>(line::to_json(review).dump());
  if (!decision->labels) return;
  require(decision->labels->size() <= kLabelsMax, "labels are bounded");
  for (const line::ReviewLabel& label : *decision->labels) check_label(label);
  static_cast<void>(line::check_inside(*decision->labels, kPicture));
}

void run_record(std::string_view text) {
  const json parsed = json::parse(text, nullptr, false);
  if (parsed.is_discarded()) return;
  const Result<line::VerdictRecord> record = line::record_from_json(parsed);
  if (!record) {
    require(record.error().kind == ErrorKind::invalid_input, "a bad record is invalid input");
    return;
  }
  const json written = line::to_json(*record);
  const Result<line::VerdictRecord> again = line::record_from_json(json::parse(written.dump()));
  // What is infinite as a float is null in JSON; no model reports it.
  if (!again) return require(written.dump().find("null") != std::string::npos, "a record is read");
  require(line::to_json(*again).dump() == written.dump(), "a record survives the way to disk");
}

void run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const auto part = static_cast<Part>(input.take<std::uint8_t>() % static_cast<int>(Part::count));
  const std::string_view text(reinterpret_cast<const char*>(input.rest().data()),
                              input.rest().size());
  if (part == Part::decision) return run_decision(text);
  run_record(text);
}

Seed seed(const std::string& name, Part part, std::string_view text) {
  return {name, Script().put(part).put_bytes(std::as_bytes(std::span(text))).bytes()};
}

std::vector<Seed> seeds() {
  return {
      seed("pass", Part::decision, R"({"decision":"pass","by":"Ada"})"),
      seed(
          "reject", Part::decision,
          R"({"decision":"reject","by":"Ada \u00e9","note":"two\nlines","replace":true,)"
          R"("labels":[{"class":"open","box":[1,2.5,30,4e1]},{"class":"short","box":[0,0,1,1]}]})"),
      seed("no-label", Part::decision, R"({"decision":"reject","by":"b","labels":[]})"),
      seed("mistyped", Part::decision, R"({"decision":"reject","by":"b","lables":[]})"),
      seed("record", Part::record,
           R"({"line":"pcb","seq":3,"frame":"f","part_id":"p","trigger_seq":3,"recipe":"r",)"
           R"("captured_us":1700000000000000,"verdict":"reject","reasons":["rule:x"],)"
           R"("route":"bin","by_fallback":false,"detections":[{"class":"open","score":0.97,)"
           R"("box":[10,20.5,30,40.25],"task":"d"}],"distance":1.75,"tasks":[{"task":"d",)"
           R"("model":"m","version":3,"total_us":12000,"compute_us":9000,"requests":1,)"
           R"("error":"late","error_kind":"deadline_exceeded","fallback":{"task":"s",)"
           R"("model":"m2","version":2,"cause":"c","cause_kind":"worker_lost"}}],)"
           R"("latency_us":15000,"lateness_us":-200,"known_defects":[{"class":"open",)"
           R"("box":[9,20,31,41]}]})"),
  };
}

}  // namespace

Target review_decision() {
  return {"review_decision", &run, &seeds};
}

}  // namespace takt::fuzz
