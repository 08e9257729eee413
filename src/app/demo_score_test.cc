// SPDX-License-Identifier: Apache-2.0
#include "app/demo_score.h"

#include <gtest/gtest.h>

namespace takt::app {
namespace {

line::VerdictRecord board(Verdict verdict, std::vector<line::KnownDefect> defects,
                          std::vector<line::NamedDetection> detections) {
  line::VerdictRecord record;
  record.truth_known = true;
  record.verdict = verdict;
  record.known_defects = std::move(defects);
  record.detections = std::move(detections);
  return record;
}

TEST(DemoScore, CountsWhatWasFoundNamedWrongAndImagined) {
  DemoScore scorer(0.5F);
  scorer.on_verdict(board(Verdict::reject, {{"open", {0, 0, 10, 10}}, {"short", {50, 50, 60, 60}}},
                          {{"open", 0.9F, {0, 0, 10, 9}, "defects"},
                           {"spur", 0.8F, {50, 50, 60, 60}, "defects"},
                           {"open", 0.7F, {200, 200, 210, 210}, "defects"},
                           {"open", 0.3F, {300, 300, 310, 310}, "defects"}}));
  const Score score = scorer.score();
  EXPECT_EQ(score.defects, 2U);
  EXPECT_EQ(score.defects_found, 1U);
  EXPECT_EQ(score.defects_wrong_class, 1U);
  EXPECT_EQ(score.false_alarms, 1U) << "below the threshold does not count";
}

TEST(DemoScore, OneDefectIsFoundOnce) {
  DemoScore scorer(0.5F);
  scorer.on_verdict(board(
      Verdict::reject, {{"open", {0, 0, 10, 10}}},
      {{"open", 0.9F, {0, 0, 10, 10}, "defects"}, {"open", 0.8F, {0, 0, 10, 10}, "defects"}}));
  EXPECT_EQ(scorer.score().defects_found, 1U);
  EXPECT_EQ(scorer.score().false_alarms, 1U);
}

TEST(DemoScore, EscapesAndOverkillAreCountedByBoard) {
  DemoScore scorer;
  scorer.on_verdict(board(Verdict::pass, {{"open", {0, 0, 10, 10}}}, {}));
  scorer.on_verdict(board(Verdict::reject, {}, {}));
  scorer.on_verdict(board(Verdict::pass, {}, {}));
  EXPECT_EQ(scorer.score().escapes, 1U);
  EXPECT_EQ(scorer.score().overkill, 1U);
}

TEST(DemoScore, BoardsThatNoModelJudgedAndUnknownTruthsAreLeftOut) {
  DemoScore scorer;
  line::VerdictRecord fallback = board(Verdict::review, {{"open", {0, 0, 10, 10}}}, {});
  fallback.by_fallback = true;
  scorer.on_verdict(fallback);
  scorer.on_verdict(line::VerdictRecord{});
  EXPECT_EQ(scorer.score().boards, 1U);
  EXPECT_EQ(scorer.score().boards_judged, 0U);
  EXPECT_EQ(scorer.score().defects, 0U);
}

}  // namespace
}  // namespace takt::app
