// SPDX-License-Identifier: Apache-2.0
#include "line/decision.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

namespace takt::line {
namespace {

const std::vector<std::string> kClasses{"open", "short", "false-alarm"};
const std::vector<std::string> kTasks{"defects", "difference", "kinds"};
const std::vector<Verdict> kVerdicts{Verdict::pass, Verdict::review, Verdict::reject};

float any_share() {
  return static_cast<float>(*rc::gen::inRange(0, 101)) / 100.0F;
}

Box any_box() {
  const auto x = static_cast<float>(*rc::gen::inRange(0, 60));
  const auto y = static_cast<float>(*rc::gen::inRange(0, 60));
  return {x, y, x + static_cast<float>(*rc::gen::inRange(1, 20)),
          y + static_cast<float>(*rc::gen::inRange(1, 20))};
}

CountRange any_count() {
  CountRange range;
  if (*rc::gen::arbitrary<bool>()) range.min = *rc::gen::inRange(0, 3);
  if (*rc::gen::arbitrary<bool>()) range.max = range.min.value_or(0) + *rc::gen::inRange(0, 3);
  return range;
}

Condition any_condition() {
  switch (*rc::gen::inRange(0, 7)) {
    case 0:
      return DetectionsSeen{.task = *rc::gen::element<std::string>("", "defects"),
                            .classes = {*rc::gen::elementOf(kClasses)},
                            .score_min = any_share(),
                            .count = any_count()};
    case 1:
      return ClassifiedAs{.task = "kinds",
                          .classes = {*rc::gen::elementOf(kClasses)},
                          .score_min = any_share(),
                          .count = any_count()};
    case 2:
      return DistanceSeen{.task = "difference", .distance_min = 3 * any_share()};
    case 3:
      return PlacesDisagree{
          .differences = "difference",
          .detections = "defects",
          .side = *rc::gen::element(PlacesDisagree::Side::undetected,
                                    PlacesDisagree::Side::unmatched, PlacesDisagree::Side::either),
          .score_min = any_share()};
    case 4:
      return ClassesDisagree{.task = "kinds", .score_min = any_share()};
    case 5:
      return TaskMissed{.task = *rc::gen::elementOf(kTasks)};
    default:
      return FrameDamaged{};
  }
}

std::vector<Rule> any_rules() {
  std::vector<Rule> rules;
  const int count = *rc::gen::inRange(0, 5);
  for (int i = 0; i < count; ++i) {
    Rule rule{"r" + std::to_string(i), {any_condition()}, *rc::gen::elementOf(kVerdicts), ""};
    if (*rc::gen::arbitrary<bool>()) rule.when.push_back(any_condition());
    rules.push_back(std::move(rule));
  }
  return rules;
}

DecisionSpec any_spec() {
  DecisionSpec spec;
  spec.rules = any_rules();
  spec.verdict_default = *rc::gen::elementOf(kVerdicts);
  return spec;
}

TaskFinding any_finding(const std::string& task) {
  TaskFinding finding;
  finding.task = task;
  finding.fallback = *rc::gen::elementOf(kVerdicts);
  finding.state = *rc::gen::weightedElement<TaskState>({{6, TaskState::answered},
                                                        {1, TaskState::late},
                                                        {1, TaskState::failed},
                                                        {1, TaskState::not_run}});
  if (finding.state != TaskState::answered) finding.error = Error{ErrorKind::internal, "x"};
  return finding;
}

FrameFindings any_findings() {
  FrameFindings findings;
  TaskFinding defects = any_finding("defects");
  TaskFinding difference = any_finding("difference");
  TaskFinding kinds = any_finding("kinds");
  kinds.from_task = "defects";
  if (defects.state == TaskState::answered) {
    const int count = *rc::gen::inRange(0, 6);
    for (int i = 0; i < count; ++i) {
      defects.detections.push_back({*rc::gen::elementOf(kClasses), any_share(), any_box()});
      kinds.classes.push_back(
          {*rc::gen::elementOf(kClasses), any_share(), static_cast<std::size_t>(i)});
    }
  }
  if (difference.state == TaskState::answered) {
    DistanceResult result;
    const int count = *rc::gen::inRange(0, 4);
    for (int i = 0; i < count; ++i) {
      const Box box = any_box();
      result.differences.push_back({box, 3 * any_share(), box.area()});
      result.distance = std::max(result.distance, result.differences.back().distance);
    }
    difference.distance = result;
  }
  if (*rc::gen::inRange(0, 8) == 0) findings.damage = Error{ErrorKind::invalid_input, "unreadable"};
  findings.tasks = {defects, difference, kinds};
  return findings;
}

bool same(const Decision& a, const Decision& b) {
  return a.verdict == b.verdict && a.reasons == b.reasons && a.route == b.route &&
         a.by_fallback == b.by_fallback;
}

// The same findings with everything in another order, indices of crops following.
FrameFindings shuffled(FrameFindings findings) {
  TaskFinding& defects = findings.tasks[0];
  std::vector<std::size_t> order(defects.detections.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[*rc::gen::inRange<std::size_t>(0, i)]);
  }
  const std::vector<SeenDetection> before = defects.detections;
  for (std::size_t to = 0; to < order.size(); ++to) defects.detections[to] = before[order[to]];
  TaskFinding& kinds = findings.tasks[2];
  for (SeenClass& seen : kinds.classes) {
    const auto at = std::ranges::find(order, *seen.detection);
    seen.detection = static_cast<std::size_t>(at - order.begin());
  }
  std::ranges::reverse(kinds.classes);
  if (findings.tasks[1].distance) std::ranges::reverse(findings.tasks[1].distance->differences);
  return findings;
}

RC_GTEST_PROP(DecisionProperty, TheSameFindingsGiveTheSameDecision, ()) {
  const DecisionSpec spec = any_spec();
  const FrameFindings findings = any_findings();
  RC_ASSERT(same(decide(spec, findings), decide(spec, findings)));
}

RC_GTEST_PROP(DecisionProperty, TheOrderOfFindingsIsIrrelevant, ()) {
  const DecisionSpec spec = any_spec();
  const FrameFindings findings = any_findings();
  RC_ASSERT(same(decide(spec, findings), decide(spec, shuffled(findings))));
}

RC_GTEST_PROP(DecisionProperty, ARejectRuleThatHoldsAlwaysRejects, ()) {
  DecisionSpec spec = any_spec();
  const FrameFindings findings = any_findings();
  const Rule added{"added", {any_condition()}, Verdict::reject, ""};
  DecisionSpec alone;
  alone.rules = {added};
  alone.verdict_default = Verdict::pass;
  const std::vector<std::string> reasons = decide(alone, findings).reasons;
  const bool holds = std::ranges::any_of(
      reasons, [](const std::string& reason) { return reason.starts_with("rule:added"); });
  RC_CLASSIFY(holds);
  const Verdict before = decide(spec, findings).verdict;
  const std::size_t at = *rc::gen::inRange<std::size_t>(0, spec.rules.size() + 1);
  spec.rules.insert(spec.rules.begin() + static_cast<std::ptrdiff_t>(at), added);
  const Verdict after = decide(spec, findings).verdict;
  RC_ASSERT(after == (holds ? Verdict::reject : before));
}

RC_GTEST_PROP(DecisionProperty, AMissingTaskNeverGivesAPassThatItsFallbackForbids, ()) {
  const DecisionSpec spec = any_spec();
  FrameFindings findings = any_findings();
  const std::size_t at = *rc::gen::inRange<std::size_t>(0, findings.tasks.size());
  findings.tasks[at].state = TaskState::late;
  findings.tasks[at].fallback = Verdict::review;
  const Decision decision = decide(spec, findings);
  RC_ASSERT(decision.verdict != Verdict::pass);
  RC_ASSERT(decision.by_fallback);
}

RC_GTEST_PROP(DecisionProperty, WhatIsNotPassedHasAReason, ()) {
  const Decision decision = decide(any_spec(), any_findings());
  RC_ASSERT(decision.verdict == Verdict::pass || !decision.reasons.empty());
}

}  // namespace
}  // namespace takt::line
