// SPDX-License-Identifier: Apache-2.0
#include "line/decision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::line {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TaskFinding detector(std::vector<SeenDetection> detections) {
  TaskFinding finding;
  finding.task = "defects";
  finding.detections = std::move(detections);
  return finding;
}

TaskFinding matcher(std::vector<Difference> differences) {
  TaskFinding finding;
  finding.task = "difference";
  finding.distance = DistanceResult{0, std::move(differences)};
  for (const Difference& difference : finding.distance->differences) {
    finding.distance->distance = std::max(finding.distance->distance, difference.distance);
  }
  return finding;
}

TaskFinding classifier(std::vector<SeenClass> classes) {
  TaskFinding finding;
  finding.task = "kinds";
  finding.from_task = "defects";
  finding.classes = std::move(classes);
  return finding;
}

TaskFinding missing(const std::string& task, TaskState state, Verdict fallback,
                    ErrorKind kind = ErrorKind::deadline_exceeded) {
  TaskFinding finding;
  finding.task = task;
  finding.state = state;
  finding.fallback = fallback;
  finding.error = Error{kind, "scripted"};
  return finding;
}

FrameFindings of(std::vector<TaskFinding> tasks) {
  FrameFindings findings;
  findings.tasks = std::move(tasks);
  return findings;
}

DecisionSpec pass_unless(Condition condition, Verdict then = Verdict::reject) {
  DecisionSpec spec;
  spec.verdict_default = Verdict::pass;
  spec.rules = {{"r", {std::move(condition)}, then, ""}};
  return spec;
}

Verdict judged(const DecisionSpec& spec, std::vector<TaskFinding> tasks) {
  return decide(spec, of(std::move(tasks))).verdict;
}

const Box kHere{10, 10, 30, 30};
const Box kThere{100, 100, 120, 120};

TEST(Decision, WithoutAnExplicitPassAPartGoesToAPerson) {
  const Decision decision = decide({}, of({detector({})}));
  EXPECT_EQ(decision.verdict, Verdict::review);
  EXPECT_THAT(decision.reasons, ElementsAre("no rule"));
  EXPECT_FALSE(decision.by_fallback);
}

TEST(Decision, AnExplicitPassNeedsNoReason) {
  DecisionSpec spec;
  spec.verdict_default = Verdict::pass;
  const Decision decision = decide(spec, of({detector({})}));
  EXPECT_EQ(decision.verdict, Verdict::pass);
  EXPECT_THAT(decision.reasons, IsEmpty());
}

TEST(Decision, AReasonNamesRuleClassesCountAndLargestScore) {
  const DecisionSpec spec = pass_unless(DetectionsSeen{.classes = {"open"}, .score_min = 0.5F});
  const Decision decision = decide(
      spec,
      of({detector({{"open", 0.62F, kHere}, {"open", 0.97F, kThere}, {"open", 0.2F, kHere}})}));
  EXPECT_EQ(decision.verdict, Verdict::reject);
  EXPECT_THAT(decision.reasons, ElementsAre("rule:r open x2 max 0.97"));
}

TEST(Decision, OnlyDeclaredClassesScoresAndAreasCount) {
  const DecisionSpec spec = pass_unless(
      DetectionsSeen{.classes = {"open", "short"}, .score_min = 0.5F, .area_min_px = 400});
  EXPECT_EQ(judged(spec, {detector({{"open", 0.5F, kHere}})}), Verdict::reject);
  EXPECT_EQ(judged(spec, {detector({{"spur", 0.9F, kHere}})}), Verdict::pass);
  EXPECT_EQ(judged(spec, {detector({{"open", 0.49F, kHere}})}), Verdict::pass);
  EXPECT_EQ(judged(spec, {detector({{"open", 0.9F, {0, 0, 19, 20}}})}), Verdict::pass);
}

TEST(Decision, DetectionsOfAnotherTaskDoNotCount) {
  const DecisionSpec spec = pass_unless(DetectionsSeen{.task = "other"});
  EXPECT_EQ(judged(spec, {detector({{"open", 0.9F, kHere}})}), Verdict::pass);
}

TEST(Decision, CountsHaveALowerAndAnUpperEnd) {
  const auto seen = [](int n) {
    return std::vector{
        detector(std::vector(static_cast<std::size_t>(n), SeenDetection{"pad", 0.9F, kHere}))};
  };
  const DecisionSpec at_least = pass_unless(DetectionsSeen{.count = {.min = 2, .max = {}}});
  EXPECT_EQ(judged(at_least, seen(1)), Verdict::pass);
  EXPECT_EQ(judged(at_least, seen(2)), Verdict::reject);
  const DecisionSpec at_most = pass_unless(DetectionsSeen{.count = {.min = {}, .max = 1}});
  EXPECT_EQ(judged(at_most, seen(0)), Verdict::reject);
  EXPECT_EQ(judged(at_most, seen(1)), Verdict::reject);
  EXPECT_EQ(judged(at_most, seen(2)), Verdict::pass);
}

TEST(Decision, AMissingComponentIsARule) {
  const DecisionSpec spec =
      pass_unless(DetectionsSeen{.classes = {"capacitor"}, .count = {.min = {}, .max = 0}});
  const Decision decision = decide(spec, of({detector({{"resistor", 0.9F, kHere}})}));
  EXPECT_EQ(decision.verdict, Verdict::reject);
  EXPECT_THAT(decision.reasons, ElementsAre("rule:r capacitor x0"));
}

TEST(Decision, AbsenceIsNotConcludedFromATaskThatDidNotAnswer) {
  const DecisionSpec spec =
      pass_unless(DetectionsSeen{.task = "defects", .count = {.min = {}, .max = 0}});
  const Decision decision =
      decide(spec, of({missing("defects", TaskState::late, Verdict::review)}));
  EXPECT_EQ(decision.verdict, Verdict::review);
  EXPECT_THAT(decision.reasons, ElementsAre("task:defects late"));
}

TEST(Decision, ARegionLimitsARuleToAPlace) {
  DecisionSpec spec = pass_unless(DetectionsSeen{.region = "connector"});
  spec.regions["connector"] = rectangle({0, 0, 50, 50});
  EXPECT_EQ(judged(spec, {detector({{"open", 0.9F, kHere}})}), Verdict::reject);
  EXPECT_EQ(judged(spec, {detector({{"open", 0.9F, kThere}})}), Verdict::pass);
  EXPECT_EQ(judged(spec, {detector({{"open", 0.9F, {40, 40, 60, 60}}})}), Verdict::reject);
  std::get<DetectionsSeen>(spec.rules[0].when[0]).region_match = RegionMatch::inside;
  EXPECT_EQ(judged(spec, {detector({{"open", 0.9F, {40, 40, 60, 60}}})}), Verdict::pass);
}

TEST(Decision, AClassificationCountsByTaskClassAndScore) {
  const DecisionSpec spec =
      pass_unless(ClassifiedAs{.task = "kinds", .classes = {"open"}, .score_min = 0.8F});
  const Decision decision = decide(spec, of({classifier({{"open", 0.81F, {}}})}));
  EXPECT_EQ(decision.verdict, Verdict::reject);
  EXPECT_THAT(decision.reasons, ElementsAre("rule:r kinds=open x1 max 0.81"));
  EXPECT_EQ(judged(spec, {classifier({{"open", 0.79F, {}}})}), Verdict::pass);
  EXPECT_EQ(judged(spec, {classifier({{"short", 0.99F, {}}})}), Verdict::pass);
}

TEST(Decision, AMatcherSpeaksByDistanceOrByTheNumberOfDifferences) {
  const DecisionSpec distance =
      pass_unless(DistanceSeen{.task = "difference", .distance_min = 2.0F});
  EXPECT_EQ(judged(distance, {matcher({{kHere, 1.99F, 400}})}), Verdict::pass);
  const Decision decision = decide(distance, of({matcher({{kHere, 2.31F, 400}})}));
  EXPECT_THAT(decision.reasons, ElementsAre("rule:r distance 2.31"));

  const DecisionSpec differences =
      pass_unless(DistanceSeen{.area_min_px = 100, .differences = CountRange{.min = 2, .max = {}}});
  EXPECT_EQ(judged(differences, {matcher({{kHere, 3, 400}, {kThere, 3, 99}})}), Verdict::pass);
  EXPECT_EQ(judged(differences, {matcher({{kHere, 3, 400}, {kThere, 3, 100}})}), Verdict::reject);
}

TEST(Decision, ADifferenceThatTheDetectorDoesNotSeeIsADisagreement) {
  const DecisionSpec spec = pass_unless(
      PlacesDisagree{.differences = "difference", .detections = "defects", .area_min_px = 128},
      Verdict::review);
  const Decision unseen =
      decide(spec, of({detector({{"open", 0.9F, kThere}}), matcher({{kHere, 1.5F, 400}})}));
  EXPECT_EQ(unseen.verdict, Verdict::review);
  EXPECT_THAT(unseen.reasons, ElementsAre("rule:r difference x1 max 1.50 undetected by defects"));
  EXPECT_EQ(judged(spec, {detector({{"open", 0.9F, kHere}}), matcher({{kHere, 1.5F, 400}})}),
            Verdict::pass);
  EXPECT_EQ(judged(spec, {detector({}), matcher({{kHere, 1.5F, 127}})}), Verdict::pass);
}

TEST(Decision, ADetectionThatTheMatcherDoesNotSeeIsTheReverse) {
  const DecisionSpec spec = pass_unless(PlacesDisagree{.differences = "difference",
                                                       .detections = "defects",
                                                       .side = PlacesDisagree::Side::unmatched,
                                                       .score_min = 0.3F});
  EXPECT_EQ(judged(spec, {detector({{"open", 0.9F, kHere}}), matcher({})}), Verdict::reject);
  EXPECT_EQ(judged(spec, {detector({{"open", 0.2F, kHere}}), matcher({})}), Verdict::pass);
  EXPECT_EQ(judged(spec, {detector({}), matcher({{kHere, 2, 400}})}), Verdict::pass);
}

TEST(Decision, AWeakDetectionDoesNotExplainADifference) {
  const DecisionSpec spec = pass_unless(
      PlacesDisagree{.differences = "difference", .detections = "defects", .score_min = 0.3F});
  EXPECT_EQ(judged(spec, {detector({{"open", 0.1F, kHere}}), matcher({{kHere, 2, 400}})}),
            Verdict::reject);
}

TEST(Decision, AMarginLetsPlacesNextToEachOtherCorrespond) {
  DecisionSpec spec =
      pass_unless(PlacesDisagree{.differences = "difference", .detections = "defects"});
  const std::vector<TaskFinding> tasks{detector({{"open", 0.9F, {35, 10, 45, 30}}}),
                                       matcher({{kHere, 2, 400}})};
  EXPECT_EQ(judged(spec, tasks), Verdict::reject);
  std::get<PlacesDisagree>(spec.rules[0].when[0]).margin_px = 3;
  EXPECT_EQ(judged(spec, tasks), Verdict::pass);
}

TEST(Decision, NoDisagreementWithATaskThatDidNotAnswer) {
  const DecisionSpec spec =
      pass_unless(PlacesDisagree{.differences = "difference", .detections = "defects"});
  const Decision decision = decide(
      spec, of({missing("defects", TaskState::late, Verdict::review), matcher({{kHere, 2, 400}})}));
  EXPECT_THAT(decision.reasons, ElementsAre("task:defects late"));
}

TEST(Decision, AClassifierContradictsItsDetector) {
  const TaskFinding seen = detector({{"open", 0.9F, kHere}, {"short", 0.6F, kThere}});
  const TaskFinding agrees = classifier({{"open", 0.9F, 0}, {"short", 0.9F, 1}});
  const TaskFinding other = classifier({{"open", 0.9F, 0}, {"spur", 0.8F, 1}});
  const TaskFinding false_alarm = classifier({{"false-alarm", 0.7F, 0}, {"short", 0.9F, 1}});
  using Side = ClassesDisagree::Side;
  const auto verdict = [&](Side side, const TaskFinding& classes) {
    return judged(pass_unless(ClassesDisagree{.task = "kinds", .side = side}), {seen, classes});
  };
  EXPECT_EQ(verdict(Side::either, agrees), Verdict::pass);
  EXPECT_EQ(verdict(Side::either, other), Verdict::reject);
  EXPECT_EQ(verdict(Side::either, false_alarm), Verdict::reject);
  EXPECT_EQ(verdict(Side::false_alarm, other), Verdict::pass);
  EXPECT_EQ(verdict(Side::false_alarm, false_alarm), Verdict::reject);
  EXPECT_EQ(verdict(Side::other_class, other), Verdict::reject);
  EXPECT_EQ(verdict(Side::other_class, false_alarm), Verdict::pass);
  const Decision decision =
      decide(pass_unless(ClassesDisagree{.task = "kinds"}), of({seen, other}));
  EXPECT_THAT(decision.reasons, ElementsAre("rule:r kinds short->spur x1 max 0.80"));
}

TEST(Decision, AnUnsureContradictionDoesNotCount) {
  const DecisionSpec spec =
      pass_unless(ClassesDisagree{.task = "kinds", .score_min = 0.8F, .detection_score_min = 0.5F});
  EXPECT_EQ(judged(spec, {detector({{"open", 0.9F, kHere}}), classifier({{"spur", 0.79F, 0}})}),
            Verdict::pass);
  EXPECT_EQ(judged(spec, {detector({{"open", 0.4F, kHere}}), classifier({{"spur", 0.9F, 0}})}),
            Verdict::pass);
  EXPECT_EQ(judged(spec, {detector({{"open", 0.5F, kHere}}), classifier({{"spur", 0.8F, 0}})}),
            Verdict::reject);
}

TEST(Decision, AllConditionsOfARuleMustHold) {
  DecisionSpec spec = pass_unless(DetectionsSeen{.classes = {"open"}});
  spec.rules[0].when.emplace_back(DistanceSeen{.distance_min = 2.0F});
  EXPECT_EQ(judged(spec, {detector({{"open", 0.9F, kHere}}), matcher({{kHere, 1, 400}})}),
            Verdict::pass);
  const Decision both =
      decide(spec, of({detector({{"open", 0.9F, kHere}}), matcher({{kHere, 2, 400}})}));
  EXPECT_EQ(both.verdict, Verdict::reject);
  EXPECT_THAT(both.reasons, ElementsAre("rule:r open x1 max 0.90 distance 2.00"));
}

TEST(Decision, AllRulesThatHoldSpeakAndTheDecidingComesFirst) {
  DecisionSpec spec;
  spec.verdict_default = Verdict::pass;
  spec.rules = {{"weak", {DetectionsSeen{}}, Verdict::review, "table"},
                {"strong", {DetectionsSeen{.score_min = 0.5F}}, Verdict::reject, "bin"}};
  const Decision decision = decide(spec, of({detector({{"open", 0.9F, kHere}})}));
  EXPECT_EQ(decision.verdict, Verdict::reject);
  EXPECT_EQ(decision.route, "bin");
  EXPECT_THAT(decision.reasons,
              ElementsAre("rule:strong open x1 max 0.90", "rule:weak open x1 max 0.90"));
}

TEST(Decision, ALineMayStateAnotherPrecedence) {
  DecisionSpec spec;
  spec.precedence = {Verdict::review, Verdict::reject, Verdict::pass};
  spec.rules = {{"a", {DetectionsSeen{}}, Verdict::reject, ""},
                {"b", {DetectionsSeen{}}, Verdict::review, ""}};
  EXPECT_EQ(judged(spec, {detector({{"open", 0.9F, kHere}})}), Verdict::review);
}

TEST(Decision, ATaskThatDidNotAnswerContributesItsOwnFallback) {
  DecisionSpec spec;
  spec.verdict_default = Verdict::pass;
  const Decision failed = decide(
      spec, of({missing("defects", TaskState::failed, Verdict::reject, ErrorKind::out_of_memory)}));
  EXPECT_EQ(failed.verdict, Verdict::reject);
  EXPECT_TRUE(failed.by_fallback);
  EXPECT_THAT(failed.reasons, ElementsAre("task:defects failed out_of_memory"));

  const Decision auxiliary =
      decide(spec, of({detector({}), missing("extra", TaskState::late, Verdict::pass)}));
  EXPECT_EQ(auxiliary.verdict, Verdict::pass);
  EXPECT_TRUE(auxiliary.by_fallback);
  EXPECT_THAT(auxiliary.reasons, ElementsAre("task:extra late"));
}

TEST(Decision, AFallbackDoesNotHideAReject) {
  const DecisionSpec spec = pass_unless(DetectionsSeen{});
  const Decision decision =
      decide(spec, of({detector({{"open", 0.9F, kHere}}),
                       missing("difference", TaskState::late, Verdict::review)}));
  EXPECT_EQ(decision.verdict, Verdict::reject);
  EXPECT_TRUE(decision.by_fallback);
}

TEST(Decision, ARuleMayTightenWhatHappensWhenATaskIsMissing) {
  const DecisionSpec spec =
      pass_unless(TaskMissed{.task = "defects", .how = TaskMissed::How::failed}, Verdict::reject);
  EXPECT_EQ(judged(spec, {missing("defects", TaskState::failed, Verdict::review)}),
            Verdict::reject);
  EXPECT_EQ(judged(spec, {missing("defects", TaskState::late, Verdict::review)}), Verdict::review);
  EXPECT_EQ(judged(spec, {missing("other", TaskState::failed, Verdict::review)}), Verdict::review);
  const DecisionSpec any = pass_unless(TaskMissed{}, Verdict::reject);
  EXPECT_EQ(judged(any, {missing("other", TaskState::late, Verdict::review)}), Verdict::reject);
}

TEST(Decision, ADroppedFrameSaysOnlyThatItWasDropped) {
  DecisionSpec spec;
  spec.verdict_default = Verdict::pass;
  FrameFindings findings = of({missing("defects", TaskState::not_run, Verdict::review),
                               missing("kinds", TaskState::not_run, Verdict::review)});
  findings.dropped = true;
  const Decision decision = decide(spec, findings);
  EXPECT_EQ(decision.verdict, Verdict::review);
  EXPECT_TRUE(decision.by_fallback);
  EXPECT_THAT(decision.reasons, ElementsAre("dropped"));
}

TEST(Decision, ADroppedFrameIsRejectedWhereATaskFallsBackToReject) {
  FrameFindings findings = of({missing("defects", TaskState::not_run, Verdict::reject)});
  findings.dropped = true;
  const Decision decision = decide({}, findings);
  EXPECT_EQ(decision.verdict, Verdict::reject);
  EXPECT_THAT(decision.reasons, ElementsAre("dropped"));
}

TEST(Decision, ADamagedFrameGoesToAPersonUnlessARuleSaysMore) {
  DecisionSpec spec;
  spec.verdict_default = Verdict::pass;
  FrameFindings findings;
  findings.damage = Error{ErrorKind::invalid_input, "golden image missing"};
  EXPECT_EQ(decide(spec, findings).verdict, Verdict::review);
  EXPECT_THAT(decide(spec, findings).reasons, ElementsAre("damaged: golden image missing"));
  spec.rules = {{"unreadable", {FrameDamaged{}}, Verdict::reject, ""}};
  EXPECT_EQ(decide(spec, findings).verdict, Verdict::reject);
}

TEST(Decision, TheVerdictsRouteServesWhereTheDecidingRuleNamesNone) {
  DecisionSpec spec = pass_unless(DetectionsSeen{});
  spec.routes = {{Verdict::pass, "next"}, {Verdict::reject, "repair"}};
  EXPECT_EQ(decide(spec, of({detector({})})).route, "next");
  EXPECT_EQ(decide(spec, of({detector({{"open", 0.9F, kHere}})})).route, "repair");
  spec.rules[0].route = "bin-2";
  EXPECT_EQ(decide(spec, of({detector({{"open", 0.9F, kHere}})})).route, "bin-2");
}

TEST(DecisionCheck, AMistypedTaskIsNamedWithItsRuleAndASuggestion) {
  const std::vector<std::string> tasks{"defects", "difference"};
  const Result<void> checked = check(pass_unless(DetectionsSeen{.task = "defcts"}), tasks);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().kind, ErrorKind::invalid_input);
  EXPECT_THAT(checked.error().message, HasSubstr("rule 'r'"));
  EXPECT_THAT(checked.error().message, HasSubstr("did you mean 'defects'?"));
}

TEST(DecisionCheck, WhatCanNotHoldOrCanNotBeToldApartIsRefused) {
  const std::vector<std::string> tasks{"defects"};
  const auto refused = [&](const DecisionSpec& spec, const std::string& words) {
    const Result<void> checked = check(spec, tasks);
    return !checked && checked.error().message.find(words) != std::string::npos;
  };
  EXPECT_TRUE(refused(pass_unless(DetectionsSeen{.region = "x"}), "no region 'x'"));
  EXPECT_TRUE(refused(pass_unless(DetectionsSeen{.score_min = 1.5F}), "score_min"));
  EXPECT_TRUE(refused(pass_unless(DetectionsSeen{.count = {.min = 3, .max = 2}}), "largest count"));
  EXPECT_TRUE(refused(pass_unless(PlacesDisagree{.differences = "x"}), "no task 'x'"));
  EXPECT_TRUE(refused(pass_unless(ClassesDisagree{}), "no task ''"));
  DecisionSpec empty_rule;
  empty_rule.rules = {{"nothing", {}, Verdict::pass, ""}};
  EXPECT_TRUE(refused(empty_rule, "rule 'nothing': no condition"));
  DecisionSpec twice = pass_unless(DetectionsSeen{});
  twice.rules.push_back(twice.rules[0]);
  EXPECT_TRUE(refused(twice, "two rules"));
  DecisionSpec order;
  order.precedence = {Verdict::reject, Verdict::reject, Verdict::pass};
  EXPECT_TRUE(refused(order, "precedence"));
  DecisionSpec region;
  region.regions["line"] = {{0, 0}, {1, 1}};
  EXPECT_TRUE(refused(region, "region 'line'"));
  EXPECT_TRUE(check(pass_unless(DetectionsSeen{.task = "defects"}), tasks).has_value());
}

}  // namespace
}  // namespace takt::line
