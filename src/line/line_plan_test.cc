// SPDX-License-Identifier: Apache-2.0
#include "line/line_plan.h"

#include "line/line_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::line {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class LinePlanTest : public ::testing::Test {
 protected:
  std::string refused() {
    const Result<LinePlan> plan = make_plan(config_, tasks_, client_);
    return plan ? "accepted" : plan.error().message;
  }

  ScriptedClient client_;
  LineConfig config_ = board_line();
  std::vector<TaskSpec> tasks_ = board_tasks();
};

TEST_F(LinePlanTest, ResolvesTasksAgainstTheModelsThatServe) {
  const Result<LinePlan> plan = make_plan(config_, tasks_, client_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_THAT(plan->names(), ElementsAre("defects", "difference", "kinds"));
  EXPECT_EQ(plan->tasks[0].model.version, 3);
  EXPECT_EQ(plan->tasks[2].model_width, 32);
  EXPECT_EQ(plan->tasks[2].parent, 0U);
  EXPECT_THAT(plan->tasks[0].children, ElementsAre(2U));
  EXPECT_THAT(plan->tasks[1].roles, ElementsAre(ElementsAre("board"), ElementsAre("golden")));
}

TEST_F(LinePlanTest, AModelThatPutsChannelsLastHasItsSizeInFront) {
  client_.add(
      "nhwc",
      {{{"image", DataType::fp32, {48, 96, 3}}}, {{"probabilities", DataType::fp32, {3}}}, 8});
  tasks_[2].model = "nhwc";
  tasks_[2].preprocess.channels_last = true;
  const Result<LinePlan> plan = make_plan(config_, tasks_, client_);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->tasks[2].model_width, 96);
  EXPECT_EQ(plan->tasks[2].model_height, 48);
}

TEST_F(LinePlanTest, AnUnknownTaskIsNamedWithItsPlaceAndASuggestion) {
  config_.tasks[1] = "diference";
  EXPECT_THAT(refused(), AllOf(StartsWith("lines.pcb.tasks[1]: "), HasSubstr("'difference'")));
}

TEST_F(LinePlanTest, ATaskIsListedOnce) {
  config_.tasks.emplace_back("kinds");
  EXPECT_THAT(refused(), AllOf(StartsWith("lines.pcb.tasks[3]: "), HasSubstr("twice")));
}

TEST_F(LinePlanTest, AModelThatDoesNotServeIsNamedWithItsTask) {
  tasks_[0].model = "nobody";
  EXPECT_THAT(refused(), AllOf(StartsWith("tasks.defects: "), HasSubstr("nobody")));
}

TEST_F(LinePlanTest, EveryInputOfAModelIsFedOnce) {
  tasks_[1].inputs = {{"board", {"board"}}};
  EXPECT_THAT(refused(), AllOf(StartsWith("tasks.difference: inputs"), HasSubstr("'golden'")));
  tasks_[1].inputs = {{"board", {"board"}}, {"board", {"golden"}}};
  EXPECT_THAT(refused(), HasSubstr("fed twice"));
  tasks_[1].inputs = {{"bord", {"board"}}, {"golden", {"golden"}}};
  EXPECT_THAT(refused(), HasSubstr("did you mean 'board'?"));
  tasks_[1].inputs = {{"", {"board"}}, {"", {"golden"}}, {"", {"board"}}};
  EXPECT_THAT(refused(), HasSubstr("more entries than the model has inputs (2)"));
}

TEST_F(LinePlanTest, AModelWithoutAFixedSizeIsRefused) {
  client_.add(
      "any-size",
      {{{"image", DataType::fp32, {3, -1, -1}}}, {{"probabilities", DataType::fp32, {3}}}, 8});
  tasks_[2].model = "any-size";
  EXPECT_THAT(refused(), AllOf(StartsWith("tasks.kinds: "), HasSubstr("[3,-1,-1]")));
  client_.add("vector", {{{"image", DataType::fp32, {128}}}, {{"p", DataType::fp32, {3}}}, 8});
  tasks_[2].model = "vector";
  EXPECT_THAT(refused(), AllOf(StartsWith("tasks.kinds: "), HasSubstr("[128]")));
}

TEST_F(LinePlanTest, PostProcessingThatDoesNotFitTheModelIsRefused) {
  tasks_[2].postprocess.name = "boxes_labels_scores";
  EXPECT_THAT(refused(), StartsWith("tasks.kinds: "));
}

TEST_F(LinePlanTest, ACascadeNeedsItsSourceInTheSameLine) {
  config_.tasks = {"difference", "kinds"};
  config_.decision.rules.clear();
  EXPECT_THAT(refused(), AllOf(StartsWith("tasks.kinds.crop.from: "), HasSubstr("'defects'")));
}

TEST_F(LinePlanTest, ACascadeDoesNotGoRoundInACircle) {
  tasks_[0].crop = CropSpec{.from_task = "kinds"};
  EXPECT_THAT(refused(), HasSubstr("circle"));
}

TEST_F(LinePlanTest, ADecisionThatNamesWhatIsNotThereIsRefused) {
  config_.decision.rules[0].when = {DetectionsSeen{.task = "defcts"}};
  EXPECT_THAT(refused(), AllOf(StartsWith("lines.pcb.decision: rule 'defect': "),
                               HasSubstr("did you mean 'defects'?")));
}

TEST_F(LinePlanTest, LimitsOfZeroAreRefused) {
  const auto refused_after = [this](auto change) {
    config_ = board_line();
    change(config_);
    return refused();
  };
  EXPECT_THAT(refused_after([](LineConfig& c) { c.frames_in_flight_max = 0; }),
              StartsWith("lines.pcb: frames_in_flight_max"));
  EXPECT_THAT(refused_after([](LineConfig& c) { c.ring.capacity = 0; }), HasSubstr("ring"));
  EXPECT_THAT(refused_after([](LineConfig& c) { c.sink_queue_max = 0; }), HasSubstr("sink_queue"));
  EXPECT_THAT(refused_after([](LineConfig& c) { c.deadline = Duration{}; }), HasSubstr("deadline"));
  EXPECT_THAT(refused_after([](LineConfig& c) { c.patience = Duration{}; }), HasSubstr("patience"));
  EXPECT_THAT(refused_after([](LineConfig& c) { c.tasks.clear(); }), HasSubstr("tasks"));
}

TEST_F(LinePlanTest, AFallbackIsPlannedBesideItsTask) {
  tasks_ = board_tasks_with_fallbacks();
  const Result<LinePlan> plan = make_plan(config_, tasks_, client_);
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_TRUE(plan->tasks[0].fallback);
  EXPECT_EQ(plan->tasks[0].fallback->model.name, "detector-small");
  EXPECT_EQ(plan->tasks[2].fallback->model_width, 48) << "its model may have another size";
  EXPECT_THAT(plan->names(), ElementsAre("defects", "difference", "kinds"));
}

TEST_F(LinePlanTest, AFallbackThatIsNotThereOrGivesSomethingElseIsRefused) {
  tasks_ = board_tasks_with_fallbacks();
  tasks_[0].fallback_task = "defects-smal";
  EXPECT_THAT(refused(), AllOf(StartsWith("tasks.defects.fallback: "),
                               HasSubstr("did you mean 'defects-small'?")));
  tasks_[0].fallback_task = "difference";
  EXPECT_THAT(refused(), AllOf(StartsWith("tasks.defects.fallback: "), HasSubstr("distance")));
  tasks_ = board_tasks_with_fallbacks();
  tasks_[3].model = "nobody";
  EXPECT_THAT(refused(), AllOf(StartsWith("tasks.defects-small: "), HasSubstr("nobody")));
}

}  // namespace
}  // namespace takt::line
