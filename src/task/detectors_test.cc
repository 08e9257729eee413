// SPDX-License-Identifier: Apache-2.0
// boxes_labels_scores (torchvision, Detectron2) and detr.
#include "task/outputs_fixture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace takt {
namespace {

using fixtures::detections;
using fixtures::load_error;
using fixtures::Outputs;
using fixtures::run;
using fixtures::run_error;

PostprocessSpec finished(std::vector<std::string> classes, std::string layout = "auto") {
  PostprocessSpec spec;
  spec.name = "boxes_labels_scores";
  spec.classes = std::move(classes);
  spec.layout = std::move(layout);
  return spec;
}

Outputs torchvision(const std::vector<std::int64_t>& labels = {2, 1, 1}) {
  Outputs outputs;
  outputs.add("boxes", {3, 4}, {1, 2, 3, 4, 10, 20, 30, 40, 5, 5, 6, 6});
  outputs.add("labels", DataType::int64, {3}, labels);
  outputs.add("scores", {3}, {0.6F, 0.9F, 0.1F});
  return outputs;
}

TEST(BoxesLabelsScores, BestFirstAndAboveTheThreshold) {
  const auto found = detections(run(finished({"background", "open", "short"}), torchvision()));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].class_index, 1);
  EXPECT_FLOAT_EQ(found[0].score, 0.9F);
  EXPECT_EQ(found[0].box, (Box{10, 20, 30, 40}));
  EXPECT_EQ(found[1].class_index, 2);
}

TEST(BoxesLabelsScores, TorchvisionsLabelOneIsTheFirstClass) {
  const auto found = detections(run(finished({"open", "short"}, "torchvision"), torchvision()));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].class_index, 0);
  EXPECT_EQ(found[1].class_index, 1);
}

TEST(BoxesLabelsScores, BackgroundIsNoDetection) {
  for (const auto& spec : {finished({"background", "open"}), finished({"open"}, "torchvision")}) {
    EXPECT_EQ(detections(run(spec, torchvision({0, 1, 1}))).size(), 1U);
  }
}

TEST(BoxesLabelsScores, DetectronCountsFromZero) {
  Outputs outputs;
  outputs.add("pred_boxes", {1, 4}, {1, 2, 3, 4});
  outputs.add("scores", {1}, {0.9F});
  outputs.add("pred_classes", DataType::int64, {1}, std::vector<std::int64_t>{0});
  outputs.add("image_size", DataType::int64, {2}, std::vector<std::int64_t>{640, 640});
  const auto found = detections(run(finished({"open"}), outputs));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].class_index, 0);
}

TEST(BoxesLabelsScores, WhatLabelZeroMeansMustBeSaid) {
  EXPECT_EQ(
      load_error(finished({"open", "short"}), torchvision().signature),
      "boxes_labels_scores: does label 0 of output 'labels' mean background or 'open'? Set "
      "layout: torchvision (background) or detectron2 (the first class), or begin classes with "
      "'background'");
}

TEST(BoxesLabelsScores, UnnamedOutputsAreFoundByTypeAndShape) {
  // torch.onnx gives numbers for names; one dimension more than labels and scores are the boxes.
  const Signature signature{{},
                            {{"3211", DataType::fp32, {-1}},
                             {"3198", DataType::fp32, {-1, 4}},
                             {"3209", DataType::int64, {-1}}},
                            0};
  EXPECT_EQ(load_error(finished({"open"}, "torchvision"), signature), "accepted");
}

TEST(BoxesLabelsScores, ModelWithoutBoxesIsRefused) {
  const Signature signature{{}, {{"logits", DataType::fp32, {7}}}, 1};
  EXPECT_EQ(load_error(finished({"open"}, "torchvision"), signature),
            "boxes_labels_scores: the model has output 'logits' FP32 [7]; none can be the boxes; "
            "expected boxes FP32 [N,4], labels INT64 [N] and scores FP32 [N]: name the outputs so "
            "when exporting the model");
}

TEST(BoxesLabelsScores, NoDetectionsAtAll) {
  Outputs outputs;
  outputs.add("boxes", {0, 4}, {});
  outputs.add("labels", DataType::int64, {0}, std::vector<std::int64_t>{});
  outputs.add("scores", {0}, {});
  EXPECT_TRUE(detections(run(finished({"open"}, "torchvision"), outputs)).empty());
}

TEST(BoxesLabelsScores, CorruptOutputs) {
  const auto spec = finished({"open", "short"}, "torchvision");
  EXPECT_NE(run_error(spec, torchvision({3, 1, 1})).find("label 3, but there are 2 classes"),
            std::string::npos);
  EXPECT_NE(run_error(spec, torchvision({-1, 1, 1})).find("label -1"), std::string::npos);

  auto fewer = torchvision();
  fewer.views[1].shape = {1, 2};
  fewer.views[1].bytes = fewer.views[1].bytes.first(16);
  EXPECT_NE(run_error(spec, fewer).find("with 2 labels and 3 scores"), std::string::npos);

  Outputs inverted;
  inverted.add("boxes", {1, 4}, {10, 10, 5, 20});
  inverted.add("labels", DataType::int64, {1}, std::vector<std::int64_t>{1});
  inverted.add("scores", {1}, {0.9F});
  EXPECT_NE(run_error(spec, inverted).find("negative size"), std::string::npos);

  Outputs nan;
  nan.add("boxes", {1, 4}, {10, 10, std::numeric_limits<float>::quiet_NaN(), 20});
  nan.add("labels", DataType::int64, {1}, std::vector<std::int64_t>{1});
  nan.add("scores", {1}, {0.9F});
  EXPECT_NE(run_error(spec, nan).find("NaN"), std::string::npos);
}

PostprocessSpec detr(std::vector<std::string> classes) {
  PostprocessSpec spec;
  spec.name = "detr";
  spec.classes = std::move(classes);
  return spec;
}

TEST(Detr, SoftmaxLeavesItsShareToNoObject) {
  Outputs outputs;
  outputs.add("logits", {2, 3}, {std::log(6.0F), std::log(1.0F), std::log(3.0F), 0, 0, 9});
  outputs.add("pred_boxes", {2, 4}, {0.5F, 0.5F, 0.25F, 0.5F, 0.1F, 0.1F, 0.1F, 0.1F});
  const auto found =
      detections(run(detr({"open", "short"}), outputs, fixtures::unchanged(800, 400)));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].class_index, 0);
  EXPECT_NEAR(found[0].score, 0.6F, 1e-5F);
  EXPECT_EQ(found[0].box, (Box{300, 100, 500, 300}));
}

TEST(Detr, SigmoidWhereNoObjectHasNoColumn) {
  Outputs outputs;
  outputs.add("logits", {1, 2}, {-3, 2});
  outputs.add("boxes", {1, 4}, {0.5F, 0.5F, 0.5F, 0.5F});
  const auto found = detections(run(detr({"open", "short"}), outputs));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].class_index, 1);
  EXPECT_NEAR(found[0].score, 1 / (1 + std::exp(-2.0F)), 1e-6F);
}

TEST(Detr, ThreeClassesLookLikeBoxesSoNamesDecide) {
  Outputs outputs;
  outputs.add("pred_logits", {1, 4}, {9, 0, 0, 0});
  outputs.add("pred_boxes", {1, 4}, {0.5F, 0.5F, 0.5F, 0.5F});
  EXPECT_EQ(detections(run(detr({"a", "b", "c"}), outputs)).size(), 1U);
  auto unnamed = outputs.signature;
  unnamed.outputs[0].name = "1";
  unnamed.outputs[1].name = "2";
  EXPECT_NE(load_error(detr({"a", "b", "c"}), unnamed).find("name the outputs"), std::string::npos);
}

TEST(Detr, BoxesGoBackThroughTheLetterboxOfAnOddSize) {
  // 5x10 into 10x10: three pixels of padding on the right, two on the left.
  Outputs outputs;
  outputs.add("logits", {1, 2}, {9, 0});
  outputs.add("boxes", {1, 4}, {0.45F, 0.5F, 0.5F, 1.0F});
  const auto found =
      detections(run(detr({"open"}), outputs, place({}, 5, 10, 10, 10, Fit::letterbox)));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_NEAR(found[0].box.x1, 0, 1e-5F);
  EXPECT_NEAR(found[0].box.x2, 5, 1e-5F);
}

TEST(Detr, WrongNumberOfClassesIsNamedAtLoad) {
  const Signature signature{
      {}, {{"logits", DataType::fp32, {100, 92}}, {"boxes", DataType::fp32, {100, 4}}}, 1};
  EXPECT_NE(
      load_error(detr({"a", "b"}), signature).find("with 2 classes expected one of logits [Q,3]"),
      std::string::npos);
}

TEST(Detr, CorruptOutputs) {
  Outputs negative;
  negative.add("logits", {1, 2}, {9, 0});
  negative.add("boxes", {1, 4}, {0.5F, 0.5F, -0.5F, 1.0F});
  EXPECT_NE(run_error(detr({"open"}), negative).find("negative size"), std::string::npos);
  Outputs fewer;
  fewer.add("logits", {2, 2}, {9, 0, 9, 0});
  fewer.add("boxes", {2, 4}, {0.5F, 0.5F, 0.5F, 1.0F, 0, 0, 0, 0});
  fewer.views[1].shape = {1, 1, 4};
  fewer.views[1].bytes = fewer.views[1].bytes.first(16);
  EXPECT_NE(run_error(detr({"open"}), fewer).find("expected [Q,1] or [Q,2] with [Q,4]"),
            std::string::npos);
}

}  // namespace
}  // namespace takt
