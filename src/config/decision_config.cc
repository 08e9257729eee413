// SPDX-License-Identifier: Apache-2.0
#include "config/decision_config.h"

#include <algorithm>
#include <array>
#include <utility>

namespace takt::config {
namespace {

using namespace line;

constexpr double kPixelsMax = 1e9;
constexpr int kCountMax = 1'000'000;

// A word that stands for a value of an enumeration.
template <typename T, std::size_t N>
void choice(Reader& reader, std::string_view key,
            const std::array<std::pair<std::string_view, T>, N>& words, T& target) {
  std::string word;
  reader.text(key, word);
  if (word.empty()) return;
  const auto found = std::ranges::find(words, word, &std::pair<std::string_view, T>::first);
  if (found != words.end()) {
    target = found->second;
    return;
  }
  std::string expected;
  for (const auto& [name, value] : words) {
    expected += (expected.empty() ? "" : ", ") + std::string(name);
  }
  reader.problem(key, "'" + word + "' is unknown; expected one of " + expected);
}

void read_count(Reader& reader, std::string_view key_min, std::string_view key_max,
                CountRange& range) {
  int value = 0;
  if (reader.has(key_min)) {
    reader.integer(key_min, value, 0, kCountMax);
    range.min = value;
  }
  if (reader.has(key_max)) {
    reader.integer(key_max, value, 0, kCountMax);
    range.max = value;
  }
  if (range.min && range.max && *range.min > *range.max) {
    reader.problem(key_max, "is below " + std::string(key_min));
  }
}

Condition read_detections(Reader& reader) {
  constexpr std::array<std::pair<std::string_view, RegionMatch>, 2> kMatches{
      {{"touching", RegionMatch::touching}, {"inside", RegionMatch::inside}}};
  DetectionsSeen seen;
  reader.text("task", seen.task);
  reader.texts("classes", seen.classes);
  reader.number("score_min", seen.score_min, 0, 1);
  reader.number("area_min_px", seen.area_min_px, 0, kPixelsMax);
  reader.text("region", seen.region);
  choice(reader, "region_match", kMatches, seen.region_match);
  read_count(reader, "count_min", "count_max", seen.count);
  return seen;
}

Condition read_classified(Reader& reader) {
  ClassifiedAs seen;
  reader.text("task", seen.task);
  reader.require("classes", "a list of class names");
  reader.texts("classes", seen.classes);
  reader.number("score_min", seen.score_min, 0, 1);
  read_count(reader, "count_min", "count_max", seen.count);
  return seen;
}

Condition read_distance(Reader& reader) {
  DistanceSeen seen;
  reader.text("task", seen.task);
  if (reader.has("distance_min")) {
    reader.number("distance_min", seen.distance_min.emplace(), 0, kPixelsMax);
  }
  reader.number("area_min_px", seen.area_min_px, 0, kPixelsMax);
  reader.text("region", seen.region);
  if (reader.has("differences_min") || reader.has("differences_max")) {
    read_count(reader, "differences_min", "differences_max", seen.differences.emplace());
  }
  return seen;
}

Condition read_places_disagree(Reader& reader) {
  using Side = PlacesDisagree::Side;
  constexpr std::array<std::pair<std::string_view, Side>, 3> kSides{
      {{"undetected", Side::undetected}, {"unmatched", Side::unmatched}, {"either", Side::either}}};
  PlacesDisagree seen;
  reader.require("differences", "the name of the task that measures differences");
  reader.text("differences", seen.differences);
  reader.require("detections", "the name of the task that detects");
  reader.text("detections", seen.detections);
  choice(reader, "side", kSides, seen.side);
  reader.number("area_min_px", seen.area_min_px, 0, kPixelsMax);
  reader.number("score_min", seen.score_min, 0, 1);
  reader.number("margin_px", seen.margin_px, 0, kPixelsMax);
  return seen;
}

Condition read_classes_disagree(Reader& reader) {
  using Side = ClassesDisagree::Side;
  constexpr std::array<std::pair<std::string_view, Side>, 3> kSides{
      {{"false_alarm", Side::false_alarm},
       {"other_class", Side::other_class},
       {"either", Side::either}}};
  ClassesDisagree seen;
  reader.require("task", "the name of the task that classifies crops");
  reader.text("task", seen.task);
  choice(reader, "side", kSides, seen.side);
  reader.text("false_alarm_class", seen.false_alarm_class);
  reader.number("score_min", seen.score_min, 0, 1);
  reader.number("detection_score_min", seen.detection_score_min, 0, 1);
  return seen;
}

Condition read_task_missed(Reader& reader) {
  using How = TaskMissed::How;
  constexpr std::array<std::pair<std::string_view, How>, 3> kHows{
      {{"late", How::late}, {"failed", How::failed}, {"either", How::either}}};
  TaskMissed missed;
  reader.text("task", missed.task);
  choice(reader, "how", kHows, missed.how);
  return missed;
}

// Each key of the mapping is one condition.
void read_conditions(Reader& reader, std::vector<Condition>& conditions) {
  using Read = Condition (*)(Reader&);
  constexpr std::array<std::pair<std::string_view, Read>, 6> kReaders{
      {{"detections", &read_detections},
       {"classified", &read_classified},
       {"distance", &read_distance},
       {"places_disagree", &read_places_disagree},
       {"classes_disagree", &read_classes_disagree},
       {"task_missed", &read_task_missed}}};
  for (const auto& [key, read] : kReaders) {
    reader.mapping(key, [&, read = read](Reader& child) { conditions.push_back(read(child)); });
  }
  bool damaged = false;
  reader.boolean("damaged", damaged);
  if (damaged) conditions.emplace_back(FrameDamaged{});
}

Rule read_rule(Reader& reader) {
  Rule rule;
  reader.require("name", "a short name, which stands in the reasons of verdicts");
  reader.text("name", rule.name);
  reader.require("when", "the conditions, such as {detections: {task: defects, score_min: 0.5}}");
  if (reader.is_list("when")) {
    reader.list("when", [&](Reader& child) { read_conditions(child, rule.when); });
  } else {
    reader.mapping("when", [&](Reader& child) { read_conditions(child, rule.when); });
  }
  if (reader.has("when") && rule.when.empty()) reader.problem("when", "holds no condition");
  reader.require("then", "pass, review or reject");
  reader.word<Verdict>("then", rule.then, &parse_verdict);
  reader.text("route", rule.route);
  return rule;
}

void read_region(const std::string& name, Reader& reader, DecisionSpec& spec) {
  std::vector<float> corners;
  if (reader.has("rectangle")) {
    reader.numbers("rectangle", corners);
    if (corners.size() != 4 || corners[0] >= corners[2] || corners[1] >= corners[3]) {
      return reader.problem("rectangle",
                            "expected [x1, y1, x2, y2] in pixels with x1 < x2, y1 < y2");
    }
    spec.regions[name] = rectangle({corners[0], corners[1], corners[2], corners[3]});
    return;
  }
  reader.require("polygon", "[x1, y1, x2, y2, x3, y3, ...] in pixels, or a rectangle");
  reader.numbers("polygon", corners);
  if (corners.size() < 6 || corners.size() % 2 != 0) {
    return reader.problem("polygon", "expected at least three corners, [x1, y1, x2, y2, x3, y3]");
  }
  for (std::size_t i = 0; i < corners.size(); i += 2) {
    spec.regions[name].push_back({corners[i], corners[i + 1]});
  }
}

void read_precedence(Reader& reader, DecisionSpec& spec) {
  std::vector<std::string> words;
  reader.texts("precedence", words);
  if (words.empty()) return;
  std::vector<Verdict> order;
  for (const std::string& word : words) {
    if (const Result<Verdict> verdict = parse_verdict(word)) order.push_back(*verdict);
  }
  std::vector<Verdict> sorted = order;
  std::ranges::sort(sorted);
  const bool all_once = sorted == std::vector{Verdict::pass, Verdict::review, Verdict::reject};
  if (!all_once) {
    return reader.problem("precedence",
                          "expected each verdict once, such as [reject, review, pass]");
  }
  std::ranges::copy(order, spec.precedence.begin());
}

}  // namespace

DecisionSpec read_decision(Reader& reader) {
  DecisionSpec spec;
  reader.word<Verdict>("default", spec.verdict_default, &parse_verdict);
  reader.word<Verdict>("fallback", spec.fallback, &parse_verdict);
  reader.list("rules", [&](Reader& child) { spec.rules.push_back(read_rule(child)); });
  reader.mapping("routes", [&](Reader& child) {
    for (const Verdict verdict : {Verdict::pass, Verdict::review, Verdict::reject}) {
      std::string route;
      child.text(to_string(verdict), route);
      if (!route.empty()) spec.routes[verdict] = route;
    }
  });
  reader.entries("regions",
                 [&](const std::string& name, Reader& child) { read_region(name, child, spec); });
  read_precedence(reader, spec);
  return spec;
}

}  // namespace takt::config
