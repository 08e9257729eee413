// SPDX-License-Identifier: Apache-2.0
#include "task/task.h"

#include <gtest/gtest.h>

#include <limits>

namespace takt {
namespace {

TEST(Verdict, NamesGoThereAndBack) {
  for (const Verdict verdict : {Verdict::pass, Verdict::review, Verdict::reject}) {
    EXPECT_EQ(parse_verdict(to_string(verdict)), verdict);
  }
}

TEST(Verdict, RejectWinsOverReviewWinsOverPass) {
  EXPECT_LT(Verdict::pass, Verdict::review);
  EXPECT_LT(Verdict::review, Verdict::reject);
}

TEST(Verdict, UnknownNameListsTheThree) {
  const auto parsed = parse_verdict("ok");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().kind, ErrorKind::invalid_input);
  EXPECT_EQ(parsed.error().message, "unknown verdict 'ok'; expected one of pass, review, reject");
}

TEST(CropWindow, IsSquareAroundTheBox) {
  CropSpec spec;
  spec.context = 1.5F;
  spec.side_min_px = 48;
  EXPECT_EQ(crop_window({100, 100, 140, 120}, spec), (Region{90, 80, 60, 60}));
}

TEST(CropWindow, SmallBoxGetsTheSmallestWindow) {
  CropSpec spec;
  spec.side_min_px = 48;
  EXPECT_EQ(crop_window({100, 100, 104, 102}, spec), (Region{78, 77, 48, 48}));
}

TEST(CropWindow, MayReachOutsideTheImage) {
  EXPECT_EQ(crop_window({0, 0, 10, 10}, CropSpec{}), (Region{-19, -19, 48, 48}));
}

TEST(MakePostprocessor, UnknownNameIsSuggested) {
  PostprocessSpec spec;
  spec.name = "yol";
  const auto made = make_postprocessor(spec, {});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message, "no post-processor 'yol'; did you mean 'yolo'?");
}

TEST(MakePostprocessor, NumbersOutOfRangeAreNamed) {
  const Signature signature{{}, {{"out", DataType::fp32, {4}}}, 1};
  PostprocessSpec spec;
  spec.iou_max = 1.5F;
  EXPECT_EQ(make_postprocessor(spec, signature).error().message,
            "raw: iou_max is 1.500000, expected 0 to 1");
  spec = {};
  spec.score_min = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(make_postprocessor(spec, signature));
  spec = {};
  spec.detections_max = 0;
  EXPECT_FALSE(make_postprocessor(spec, signature));
  spec = {};
  spec.distance_max = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(make_postprocessor(spec, signature));
}

TEST(MakePostprocessor, EveryNameIsKnown) {
  EXPECT_EQ(postprocessor_names(),
            (std::vector<std::string>{"yolo", "boxes_labels_scores", "detr", "softmax",
                                      "embedding_distance", "distance_map", "raw"}));
}

TEST(MakePostprocessor, UnknownLayoutListsTheKnownOnes) {
  PostprocessSpec spec;
  spec.name = "softmax";
  spec.layout = "logit";
  const Signature signature{{}, {{"out", DataType::fp32, {4}}}, 1};
  EXPECT_EQ(make_postprocessor(spec, signature).error().message,
            "softmax: unknown layout 'logit'; did you mean 'logits'?");
}

class CheckFallback : public ::testing::Test {
 protected:
  CheckFallback() {
    task.name = "defects";
    task.model = "large";
    task.fallback_task = "small";
    task.postprocess = {.name = "yolo", .classes = {"open", "short"}};
    fallback = task;
    fallback.name = "small";
    fallback.model = "small";
    fallback.fallback_task.clear();
  }
  std::string refused() {
    const Result<void> checked = check_fallback(task, fallback);
    return checked ? "accepted" : checked.error().message;
  }
  TaskSpec task;
  TaskSpec fallback;
};

TEST_F(CheckFallback, AnyModelThatGivesTheSameKindOfResultMayStandIn) {
  EXPECT_EQ(refused(), "accepted");
  fallback.postprocess.name = "detr";
  fallback.postprocess.classes = {"short", "open"};
  EXPECT_EQ(refused(), "accepted");
}

TEST_F(CheckFallback, WhatGivesSomethingElseIsRefused) {
  fallback.postprocess.name = "softmax";
  EXPECT_EQ(refused(), "'softmax' gives a class, but 'yolo' gives detections");
  fallback.postprocess = {.name = "yolo", .classes = {"open"}};
  EXPECT_NE(refused().find("other classes"), std::string::npos);
}

TEST_F(CheckFallback, AChainIsRefusedWithItsPath) {
  fallback.fallback_task = "defects";
  EXPECT_NE(refused().find("defects -> small -> defects"), std::string::npos) << refused();
}

TEST_F(CheckFallback, TheSameModelAndCropsOfItsOwnAreRefused) {
  fallback.model = task.model;
  EXPECT_NE(refused().find("same model 'large'"), std::string::npos);
  fallback.version = 2;
  EXPECT_EQ(refused(), "accepted") << "an older version may work where the newest fails";
  fallback.crop.emplace();
  EXPECT_NE(refused().find("crops"), std::string::npos);
}

}  // namespace
}  // namespace takt
