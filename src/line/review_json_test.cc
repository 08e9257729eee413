// SPDX-License-Identifier: Apache-2.0
#include "line/review_json.h"

#include "line/record_fixture.h"
#include "line/record_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace takt::line {
namespace {

using nlohmann::json;

TEST(ReviewJson, ADecisionIsReadWithAllItSays) {
  const auto decision = decision_from_json(R"({"decision": "reject", "by": "anna", "note": "n",
      "labels": [{"class": "open", "box": [1, 2.5, 3, 4]}], "replace": true})");
  ASSERT_TRUE(decision) << decision.error().message;
  EXPECT_EQ(decision->decision, Verdict::reject);
  EXPECT_EQ(decision->by, "anna");
  EXPECT_EQ(decision->note, "n");
  EXPECT_EQ(*decision->labels, (std::vector<ReviewLabel>{{"open", {1, 2.5F, 3, 4}}}));
  EXPECT_TRUE(decision->replace);
}

TEST(ReviewJson, WhatADecisionLeavesOutIsNotThere) {
  const auto decision = decision_from_json(R"({"decision": "pass", "by": "anna"})");
  ASSERT_TRUE(decision);
  EXPECT_EQ(decision->decision, Verdict::pass);
  EXPECT_TRUE(decision->note.empty());
  EXPECT_FALSE(decision->labels);
  EXPECT_FALSE(decision->replace);
  const auto empty = decision_from_json(R"({"decision": "reject", "by": "anna", "labels": []})");
  ASSERT_TRUE(empty && empty->labels) << "none of them is right";
  EXPECT_TRUE(empty->labels->empty());
}

TEST(ReviewJson, WhatIsNoDecisionIsRefusedWithItsKey) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "expected a JSON object"},
      {"[]", "expected a JSON object"},
      {"{\"decision\": \"pass\"", "expected a JSON object"},
      {std::string(100'000, '['), "expected a JSON object"},
      {"{\"decision\": \"pass\", \"by\": \"\xff\"}", "expected a JSON object"},
      {R"({"by": "a"})", "decision: "},
      {R"({"decision": "review", "by": "a"})", "decision: "},
      {R"({"decision": 1, "by": "a"})", "decision: "},
      {R"({"decision": "pass"})", "by: "},
      {R"({"decision": "pass", "by": null})", "by: "},
      {R"({"decision": "pass", "by": "a", "note": 1})", "note: "},
      {R"({"decision": "pass", "by": "a", "replace": 1})", "replace: "},
      {R"({"decision": "pass", "by": "a", "lables": []})", "unknown key 'lables'"},
      {R"({"decision": "reject", "by": "a", "labels": {}})", "labels: "},
      {R"({"decision": "reject", "by": "a", "labels": null})", "labels: "},
      {R"({"decision": "reject", "by": "a", "labels": [1]})", "labels[0]: "},
      {R"({"decision": "reject", "by": "a", "labels": [{"box": [1, 2, 3, 4]}]})",
       "labels[0].class: "},
      {R"({"decision": "reject", "by": "a", "labels": [{"class": "x"}]})", "labels[0].box: "},
      {R"({"decision": "reject", "by": "a", "labels": [{"class": "x", "box": [1, 2, 3]}]})",
       "labels[0].box: "},
      {R"({"decision": "reject", "by": "a", "labels": [{"class": "x", "box": [1, 2, 3, "4"]}]})",
       "labels[0].box: "},
      {R"({"decision": "reject", "by": "a", "labels": [{"class": "x", "box": [1, 2, 3, 4], "score": 1}]})",
       "labels[0]: unknown key 'score'"},
  };
  for (const auto& [text, message] : cases) {
    const auto decision = decision_from_json(text);
    ASSERT_FALSE(decision) << text;
    EXPECT_EQ(decision.error().code, ReviewCode::invalid);
    EXPECT_THAT(decision.error().message, ::testing::StartsWith(message));
  }
}

TEST(ReviewJson, AnItemIsItsRecordWithPicturesAndReview) {
  ReviewPage page;
  page.next = 5;
  ReviewItem item{.id = 5,
                  .record = sample_record("pcb", 1),
                  .pictures = {{"board", 64, 48, 99}},
                  .review = {}};
  page.items.push_back(item);
  item.review = Review{
      .id = 2, .decided_us = 7, .by = "anna", .note = "", .labels = {{{"open", {1, 2.5F, 3, 4}}}}};
  page.items.push_back(item);
  json expected = to_json(item.record);
  expected["id"] = 5;
  expected["pictures"] = {{{"role", "board"}, {"width", 64}, {"height", 48}, {"png_bytes", 99}}};
  const json out = to_json(page);
  EXPECT_EQ(out.at("next"), 5);
  EXPECT_EQ(out.at("items").at(0), expected);
  expected["review"] = json::parse(R"({"id": 2, "decided_us": 7, "decision": "reject", "by": "anna",
      "note": "", "earlier": 0, "labels": [{"class": "open", "box": [1, 2.5, 3, 4]}]})");
  EXPECT_EQ(out.at("items").at(1), expected);
  EXPECT_FALSE(to_json(ReviewPage{}).contains("next"));
}

}  // namespace
}  // namespace takt::line
