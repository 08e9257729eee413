// SPDX-License-Identifier: Apache-2.0
#include "backend/batch_check.h"

#include <gtest/gtest.h>

#include <array>

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

TEST(BatchRules, StringsHaveNoFixedSize) {
  const auto rules =
      make_batch_rules({{{"in", DataType::bytes, {2}}}, {{"out", DataType::bytes, {2}}}, 4}, {});
  ASSERT_TRUE(rules.has_value()) << rules.error().message;
  EXPECT_EQ(rules->input_row_bytes[0], std::nullopt);
  EXPECT_EQ(rules->output_row_bytes[0], std::nullopt);
}

// A request with rows of two strings each; `text` is the tensor's bytes.
std::string refusal_of_strings(std::string_view text, std::int64_t rows = 1) {
  const auto rules =
      make_batch_rules({{{"in", DataType::bytes, {2}}}, {{"out", DataType::bytes, {-1}}}, 4}, {});
  const std::vector<InputData> inputs{
      TensorView{DataType::bytes, {rows, 2}, std::as_bytes(std::span(text))}};
  alignas(8) std::array<std::byte, 9> room{};
  std::array<OutputBuffer, 1> outputs{{{.room = std::span(room).subspan(1)}}};
  const std::array batch{Sample{inputs, outputs, rows}};
  const Result<std::int64_t> checked = check_batch(rules.value(), batch);
  if (checked) return "accepted";
  EXPECT_EQ(checked.error().kind, ErrorKind::invalid_input);
  return checked.error().message;
}

TEST(BatchCheck, AStringTensorHasAsManyStringsAsItsShapeSays) {
  EXPECT_EQ(refusal_of_strings({"\1\0\0\0a\0\0\0\0", 9}), "accepted")
      << "and its room needs no alignment";
  EXPECT_EQ(refusal_of_strings({"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16}, 2), "accepted");
  EXPECT_EQ(refusal_of_strings({"\1\0\0\0a\0\0\0\0", 9}, 2),
            "input 'in': expected 4 strings, got 2");
  EXPECT_EQ(refusal_of_strings({"\1\0\0\0a", 5}), "input 'in': expected 2 strings, got 1");
  EXPECT_TRUE(refusal_of_strings({"\1\0\0\0a\2\0\0\0b", 10})
                  .starts_with("input 'in': expected 2 strings, got 1 and then bytes"));
  EXPECT_EQ(refusal_of_strings("", 0), "rows must be at least 1");
}

}  // namespace
}  // namespace takt
