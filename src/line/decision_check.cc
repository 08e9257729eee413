// SPDX-License-Identifier: Apache-2.0
#include "core/suggest.h"
#include "line/decision.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

namespace takt::line {
namespace {

std::string region_names(const DecisionSpec& spec, const std::string& name) {
  std::vector<std::string> names;
  names.reserve(spec.regions.size());
  for (const auto& [known, polygon] : spec.regions) names.push_back(known);
  return names.empty() ? "; the decision declares no regions" : suggestion(name, names);
}

// Finds what is wrong with one condition; the empty string when nothing is.
class Checker {
 public:
  Checker(const DecisionSpec& spec, std::span<const std::string> tasks)
      : spec_(spec), tasks_(tasks) {}

  std::string operator()(const DetectionsSeen& condition) const {
    return first({any_task(condition.task), region(condition.region),
                  share("score_min", condition.score_min),
                  not_negative("area_min_px", condition.area_min_px), count(condition.count)});
  }
  std::string operator()(const ClassifiedAs& condition) const {
    return first({any_task(condition.task), share("score_min", condition.score_min),
                  count(condition.count)});
  }
  std::string operator()(const DistanceSeen& condition) const {
    return first({any_task(condition.task), region(condition.region),
                  not_negative("distance_min", condition.distance_min.value_or(0)),
                  not_negative("area_min_px", condition.area_min_px),
                  count(condition.differences.value_or(CountRange{}))});
  }
  std::string operator()(const PlacesDisagree& condition) const {
    return first({task(condition.differences), task(condition.detections),
                  share("score_min", condition.score_min),
                  not_negative("area_min_px", condition.area_min_px),
                  not_negative("margin_px", condition.margin_px)});
  }
  std::string operator()(const ClassesDisagree& condition) const {
    return first({task(condition.task), share("score_min", condition.score_min),
                  share("detection_score_min", condition.detection_score_min)});
  }
  std::string operator()(const TaskMissed& condition) const { return any_task(condition.task); }
  std::string operator()(const FrameDamaged& /*condition*/) const { return {}; }

 private:
  static std::string first(std::initializer_list<std::string> problems) {
    for (const std::string& problem : problems) {
      if (!problem.empty()) return problem;
    }
    return {};
  }
  [[nodiscard]] std::string task(const std::string& name) const {
    if (std::ranges::find(tasks_, name) != tasks_.end()) return {};
    return "no task '" + name + "' in this line" + suggestion(name, tasks_);
  }
  [[nodiscard]] std::string any_task(const std::string& name) const {
    return name.empty() ? std::string{} : task(name);
  }
  [[nodiscard]] std::string region(const std::string& name) const {
    if (name.empty() || spec_.regions.contains(name)) return {};
    return "no region '" + name + "'" + region_names(spec_, name);
  }
  // Written so that NaN is refused as well.
  static std::string share(std::string_view field, float value) {
    if (value >= 0 && value <= 1) return {};
    return std::string(field) + " must be between 0 and 1, not " + std::to_string(value);
  }
  static std::string not_negative(std::string_view field, float value) {
    if (value >= 0) return {};
    return std::string(field) + " must be 0 or more, not " + std::to_string(value);
  }
  static std::string count(const CountRange& range) {
    const int min = range.min.value_or(0);
    if (min < 0) return "the smallest count must be 0 or more";
    if (range.max && *range.max < min) return "the largest count is below the smallest";
    return {};
  }

  const DecisionSpec& spec_;
  const std::span<const std::string> tasks_;
};

Result<void> check_rule(const Rule& rule, const DecisionSpec& spec,
                        std::span<const std::string> tasks) {
  const std::string place = "rule '" + rule.name + "': ";
  if (rule.when.empty()) {
    return fail(ErrorKind::invalid_input,
                place +
                    "no condition, so it never holds; for parts without a finding, say "
                    "default: " +
                    std::string(to_string(rule.then)));
  }
  for (const Condition& condition : rule.when) {
    const std::string problem = std::visit(Checker(spec, tasks), condition);
    if (!problem.empty()) return fail(ErrorKind::invalid_input, place + problem);
  }
  return {};
}

}  // namespace

Result<void> check(const DecisionSpec& spec, std::span<const std::string> tasks) {
  if (std::set<Verdict>(spec.precedence.begin(), spec.precedence.end()).size() != 3) {
    return fail(ErrorKind::invalid_input, "precedence must name pass, review and reject once each");
  }
  for (const auto& [name, polygon] : spec.regions) {
    if (polygon.size() >= 3) continue;
    return fail(ErrorKind::invalid_input, "region '" + name + "' has " +
                                              std::to_string(polygon.size()) +
                                              " corners; a polygon needs three or more");
  }
  std::set<std::string> names;
  for (const Rule& rule : spec.rules) {
    if (!names.insert(rule.name).second) {
      return fail(ErrorKind::invalid_input,
                  "two rules are named '" + rule.name + "'; reasons must tell them apart");
    }
    if (auto checked = check_rule(rule, spec, tasks); !checked) return checked;
  }
  return {};
}

}  // namespace takt::line
