// SPDX-License-Identifier: Apache-2.0
#include "app/model_loading.h"

#include <gtest/gtest.h>

namespace takt::app {
namespace {

const Signature kTwoInputs{
    .inputs = {{.name = "board", .type = DataType::fp32, .shape = {1, 8, 8}},
               {.name = "golden", .type = DataType::fp32, .shape = {1, 8, 8}}},
    .outputs = {},
    .batch_max = 4};

TaskSpec task_with(std::vector<TaskInput> inputs) {
  TaskSpec task;
  task.model = "matcher";
  task.inputs = std::move(inputs);
  return task;
}

TEST(InputPlans, FollowTheModelsInputsByName) {
  const auto plans = input_plans(
      task_with({{.tensor = "golden", .images = {"g"}}, {.tensor = "board", .images = {"b"}}}),
      kTwoInputs);
  ASSERT_TRUE(plans) << plans.error().message;
  EXPECT_EQ(plans->at(0).name, "golden");
  EXPECT_TRUE(plans->at(1).image.has_value());
}

TEST(InputPlans, AnInputThatNobodyFeedsIsNamed) {
  const auto plans = input_plans(task_with({{.tensor = "", .images = {"b"}}}), kTwoInputs);
  ASSERT_FALSE(plans);
  EXPECT_NE(plans.error().message.find("feeds 1 of the 2 inputs"), std::string::npos);
}

TEST(InputPlans, AnInputThatTheModelDoesNotHaveIsToldTheNearestOne) {
  const auto plans = input_plans(
      task_with({{.tensor = "board", .images = {"b"}}, {.tensor = "goldn", .images = {"g"}}}),
      kTwoInputs);
  ASSERT_FALSE(plans);
  EXPECT_NE(plans.error().message.find("did you mean 'golden'?"), std::string::npos);
}

TEST(InputPlans, ImagesThatDontFillTheChannelsAreRefusedBeforeTheFirstFrame) {
  const Signature stack{.inputs = {{.name = "images", .type = DataType::fp32, .shape = {2, 8, 8}}},
                        .outputs = {},
                        .batch_max = 4};
  EXPECT_TRUE(input_plans(task_with({{.tensor = "", .images = {"board", "golden"}}}), stack));
  const auto plans = input_plans(task_with({{.tensor = "", .images = {"board"}}}), stack);
  ASSERT_FALSE(plans);
  EXPECT_NE(plans.error().message.find("has 2 channels, which takes 2 images of color gray8"),
            std::string::npos)
      << plans.error().message;
}

}  // namespace
}  // namespace takt::app
