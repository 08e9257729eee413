// SPDX-License-Identifier: Apache-2.0
#include "backend/batch_check.h"

#include <gtest/gtest.h>

namespace takt {
namespace {

// What a batch is refused for is in the conformance suite; here is what a plan is refused for.
Signature signature_with(TensorSpec input) {
  return {{std::move(input)}, {{"out", DataType::fp32, {5}}}, 4};
}

void expect_refused(const Result<BatchRules>& rules, std::string_view text) {
  ASSERT_FALSE(rules.has_value());
  EXPECT_EQ(rules.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(rules.error().message.find(text), std::string::npos) << rules.error().message;
}

TEST(BatchRules, KnowTheBytesOfARowWhereTheSizeIsFixed) {
  const auto rules = make_batch_rules({{{"x", DataType::fp32, {2, -1}}},
                                       {{"a", DataType::int64, {3}}, {"b", DataType::fp32, {-1}}},
                                       1},
                                      {});
  ASSERT_TRUE(rules.has_value());
  EXPECT_EQ(rules->input_row_bytes[0], std::nullopt);
  EXPECT_EQ(rules->output_row_bytes[0], 24U);
  EXPECT_EQ(rules->output_row_bytes[1], std::nullopt);
}

TEST(BatchRules, SuggestTheInputThatAPlanMeant) {
  const std::vector<InputPlan> plans{{"imagse", ImagePreprocess{}}};
  expect_refused(make_batch_rules(signature_with({"images", DataType::fp32, {1, 8, 8}}), plans),
                 "no input 'imagse'; did you mean 'images'?");
}

TEST(BatchRules, RefuseStrings) {
  expect_refused(make_batch_rules(signature_with({"words", DataType::bytes, {1}}), {}),
                 "'words' holds strings");
}

}  // namespace
}  // namespace takt
