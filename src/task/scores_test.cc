// SPDX-License-Identifier: Apache-2.0
// softmax, embedding_distance, distance_map and raw.
#include "task/outputs_fixture.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace takt {
namespace {

using fixtures::load_error;
using fixtures::Outputs;
using fixtures::run;
using fixtures::run_error;

PostprocessSpec named(const std::string& name) {
  PostprocessSpec spec;
  spec.name = name;
  return spec;
}

PostprocessSpec classifier(std::vector<std::string> classes) {
  auto spec = named("softmax");
  spec.classes = std::move(classes);
  return spec;
}

TEST(Softmax, LogitsBecomeProbabilities) {
  Outputs outputs;
  outputs.add("logits", {3}, {std::log(1.0F), std::log(7.0F), std::log(2.0F)});
  const auto result = std::get<Classification>(run(classifier({"a", "b", "c"}), outputs).value());
  EXPECT_EQ(result.class_index, 1);
  EXPECT_NEAR(result.score, 0.7F, 1e-6F);
  ASSERT_EQ(result.scores.size(), 3U);
  EXPECT_NEAR(result.scores[2], 0.2F, 1e-6F);
}

TEST(Softmax, LargeLogitsDontOverflow) {
  Outputs outputs;
  outputs.add("logits", {2}, {3e38F, -3e38F});
  const auto result = std::get<Classification>(run(classifier({"a", "b"}), outputs).value());
  EXPECT_EQ(result.score, 1.0F);
  EXPECT_EQ(result.scores[1], 0.0F);
}

TEST(Softmax, ProbabilitiesStayAsTheyAre) {
  Outputs outputs;
  outputs.add("probabilities", {2}, {0.25F, 0.75F});
  auto spec = classifier({"a", "b"});
  EXPECT_EQ(std::get<Classification>(run(spec, outputs).value()).score, 0.75F);
  spec.layout = "logits";
  EXPECT_NEAR(std::get<Classification>(run(spec, outputs).value()).score, 0.6225F, 1e-4F);
}

TEST(Softmax, DimensionsOfOneDontCount) {
  const Signature signature{{}, {{"logits", DataType::fp32, {-1, 2, 1, 1}}}, 0};
  EXPECT_EQ(load_error(classifier({"a", "b"}), signature), "accepted");
}

TEST(Softmax, WrongNumberOfClassesIsNamedAtLoad) {
  const Signature signature{{}, {{"logits", DataType::fp32, {7}}}, 1};
  EXPECT_EQ(
      load_error(classifier({"a", "b"}), signature),
      "softmax: the model has output 'logits' FP32 [7]; expected one float output of [2], one "
      "value a class; check the number of classes");
}

TEST(Softmax, NanIsCorrupt) {
  Outputs outputs;
  outputs.add("logits", {2}, {0, std::numeric_limits<float>::quiet_NaN()});
  EXPECT_NE(run_error(classifier({"a", "b"}), outputs).find("NaN"), std::string::npos);
}

TEST(EmbeddingDistance, EuclideanByDefault) {
  Outputs outputs;
  outputs.add("a", {2}, {0, 0}).add("b", {2}, {3, 4});
  auto spec = named("embedding_distance");
  spec.distance_max = 5;
  const auto equal = std::get<DistanceResult>(run(spec, outputs).value());
  EXPECT_FLOAT_EQ(equal.distance, 5);
  EXPECT_TRUE(equal.differences.empty());
  spec.distance_max = 4.9F;
  const auto above = std::get<DistanceResult>(run(spec, outputs).value());
  ASSERT_EQ(above.differences.size(), 1U);
  EXPECT_EQ(above.differences[0].box, (Box{0, 0, 640, 640}));
}

TEST(EmbeddingDistance, CosineByLayout) {
  Outputs outputs;
  outputs.add("a", {2}, {1, 0}).add("b", {2}, {0, 5});
  auto spec = named("embedding_distance");
  spec.layout = "cosine";
  EXPECT_FLOAT_EQ(std::get<DistanceResult>(run(spec, outputs).value()).distance, 1);
}

TEST(EmbeddingDistance, CosineOfNothingIsOne) {
  Outputs outputs;
  outputs.add("a", {2}, {0, 0}).add("b", {2}, {0, 5});
  auto spec = named("embedding_distance");
  spec.layout = "cosine";
  EXPECT_FLOAT_EQ(std::get<DistanceResult>(run(spec, outputs).value()).distance, 1);
}

TEST(EmbeddingDistance, OneDistanceIsTakenAsItIs) {
  Outputs outputs;
  outputs.add("distance", {1}, {0.75F});
  const auto result = std::get<DistanceResult>(run(named("embedding_distance"), outputs).value());
  EXPECT_FLOAT_EQ(result.distance, 0.75F);
}

TEST(EmbeddingDistance, EmbeddingsOfDifferentLengthAreRefusedAtLoad) {
  const Signature signature{{}, {{"a", DataType::fp32, {128}}, {"b", DataType::fp32, {64}}}, 1};
  EXPECT_NE(
      load_error(named("embedding_distance"), signature).find("two embeddings of the same shape"),
      std::string::npos);
}

TEST(EmbeddingDistance, OverflowIsCorrupt) {
  Outputs outputs;
  outputs.add("a", {1}, {3e38F}).add("b", {1}, {-3e38F});
  EXPECT_NE(run_error(named("embedding_distance"), outputs).find("isn't finite"),
            std::string::npos);
}

Outputs map(std::int64_t height, std::int64_t width, const std::vector<float>& cells) {
  Outputs outputs;
  outputs.add("distance", {1, height, width}, cells);
  return outputs;
}

TEST(DistanceMap, NeighboursOverACornerAreOneDifference) {
  const auto outputs = map(4, 4,
                           {0, 0, 0, 0,  //
                            0, 2, 0, 0,  //
                            0, 0, 3, 0,  //
                            9, 0, 0, 0});
  const auto result = std::get<DistanceResult>(
      run(named("distance_map"), outputs, fixtures::unchanged(40, 40)).value());
  EXPECT_FLOAT_EQ(result.distance, 9);
  ASSERT_EQ(result.differences.size(), 2U);
  EXPECT_EQ(result.differences[0].box, (Box{0, 30, 10, 40}));
  EXPECT_EQ(result.differences[1].box, (Box{10, 10, 30, 30}));
  EXPECT_FLOAT_EQ(result.differences[1].distance, 3);
  EXPECT_FLOAT_EQ(result.differences[1].area_px, 200);
}

TEST(DistanceMap, ExactlyTheThresholdIsNoDifference) {
  const auto result =
      std::get<DistanceResult>(run(named("distance_map"), map(1, 2, {1, 1})).value());
  EXPECT_TRUE(result.differences.empty());
  EXPECT_FLOAT_EQ(result.distance, 1);
}

TEST(DistanceMap, AreaIsInPixelsOfTheImage) {
  const auto result = std::get<DistanceResult>(run(named("distance_map"), map(2, 2, {5, 0, 0, 0}),
                                                   place({}, 200, 200, 100, 100, Fit::stretch))
                                                   .value());
  ASSERT_EQ(result.differences.size(), 1U);
  EXPECT_EQ(result.differences[0].box, (Box{0, 0, 100, 100}));
  EXPECT_FLOAT_EQ(result.differences[0].area_px, 10000);
}

TEST(DistanceMap, PaddingIsNotLookedAt) {
  // 40x20 into 40x40: rows 0 and 3 of the map show padding.
  const auto outputs = map(4, 1, {8, 0, 2, 9});
  const auto result = std::get<DistanceResult>(
      run(named("distance_map"), outputs, place({}, 40, 20, 40, 40, Fit::letterbox)).value());
  EXPECT_FLOAT_EQ(result.distance, 2);
  ASSERT_EQ(result.differences.size(), 1U);
  EXPECT_EQ(result.differences[0].box, (Box{0, 10, 40, 20}));
}

TEST(DistanceMap, OnlyTheLargestDistancesAreListed) {
  auto spec = named("distance_map");
  spec.detections_max = 2;
  const auto result = std::get<DistanceResult>(
      run(spec, map(1, 7, {2, 0, 5, 0, 3, 0, 4}), fixtures::unchanged(7, 1)).value());
  ASSERT_EQ(result.differences.size(), 2U);
  EXPECT_FLOAT_EQ(result.differences[0].distance, 5);
  EXPECT_FLOAT_EQ(result.differences[1].distance, 4);
}

RC_GTEST_PROP(DistanceMap, DifferencesCoverExactlyTheCellsAboveTheThreshold, ()) {
  const int width = *rc::gen::inRange(1, 24);
  const int height = *rc::gen::inRange(1, 24);
  std::minstd_rand random(*rc::gen::arbitrary<unsigned>());
  std::vector<float> cells(static_cast<std::size_t>(width * height));
  for (float& cell : cells) cell = static_cast<float>(random() % 100) / 40;
  auto spec = named("distance_map");
  spec.detections_max = 1000;
  const auto result = std::get<DistanceResult>(
      run(spec, map(height, width, cells), fixtures::unchanged(width, height)).value());
  const auto above = std::count_if(cells.begin(), cells.end(), [](float cell) { return cell > 1; });
  float area = 0;
  for (const Difference& difference : result.differences) {
    area += difference.area_px;
    RC_ASSERT(difference.area_px <= difference.box.area() + 1e-3F);
    RC_ASSERT(difference.distance > 1);
  }
  RC_ASSERT(std::abs(area - static_cast<float>(above)) < 1e-2F);
  RC_ASSERT(result.distance == *std::max_element(cells.begin(), cells.end()));
}

TEST(DistanceMap, RefusesAnotherRankAtLoad) {
  const Signature signature{{}, {{"out", DataType::fp32, {7}}}, 1};
  EXPECT_NE(load_error(named("distance_map"), signature).find("use embedding_distance"),
            std::string::npos);
}

TEST(DistanceMap, NanIsCorrupt) {
  EXPECT_NE(run_error(named("distance_map"), map(1, 1, {std::numeric_limits<float>::quiet_NaN()}))
                .find("NaN"),
            std::string::npos);
}

TEST(DistanceMap, NeedsThePlacementsModelSize) {
  const auto result = run(named("distance_map"), map(1, 1, {0}), Placement{});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::invalid_input);
}

TEST(Raw, GivesEveryTensorWithItsShape) {
  Outputs outputs;
  outputs.add("a", {2}, {1, 2}).add("b", DataType::int64, {1}, std::vector<std::int64_t>{7});
  const auto result = std::get<RawResult>(run(named("raw"), outputs).value());
  ASSERT_EQ(result.specs.size(), 2U);
  EXPECT_EQ(result.specs[1].name, "b");
  EXPECT_EQ(result.specs[1].shape, (Shape{1, 1}));
  EXPECT_EQ(result.tensors[0].size(), 8U);
}

TEST(Raw, MissingOutputIsCorrupt) {
  Outputs outputs;
  outputs.add("a", {2}, {1, 2});
  outputs.views.clear();
  EXPECT_EQ(run_error(named("raw"), outputs), "the model gave 0 outputs, expected 1");
}

}  // namespace
}  // namespace takt
