// SPDX-License-Identifier: Apache-2.0
#include "task/outputs_fixture.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <tuple>

namespace takt {
namespace {

using fixtures::detections;
using fixtures::Outputs;
using fixtures::run;

PostprocessSpec yolo(std::size_t classes, float score_min = 0.25F) {
  PostprocessSpec spec;
  spec.name = "yolo";
  for (std::size_t i = 0; i < classes; ++i) spec.classes.push_back("class-" + std::to_string(i));
  spec.score_min = score_min;
  return spec;
}

// [anchors, values] to [values, anchors].
std::vector<float> transposed(const std::vector<float>& values, std::size_t columns) {
  const std::size_t rows = values.size() / columns;
  std::vector<float> out(values.size());
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) out[c * rows + r] = values[r * columns + c];
  }
  return out;
}

// Two classes; three anchors, of which the last is below the threshold.
const std::vector<float> kThreeAnchors{
    100, 100, 20, 10, 0.1F, 0.9F,  //
    300, 200, 40, 60, 0.6F, 0.2F,  //
    500, 500, 10, 10, 0.2F, 0.1F,
};

void expect_the_two(const std::vector<Detection>& found) {
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].class_index, 1);
  EXPECT_FLOAT_EQ(found[0].score, 0.9F);
  EXPECT_EQ(found[0].box, (Box{90, 95, 110, 105}));
  EXPECT_EQ(found[1].class_index, 0);
  EXPECT_FLOAT_EQ(found[1].score, 0.6F);
  EXPECT_EQ(found[1].box, (Box{280, 170, 320, 230}));
}

TEST(Yolo, ReadsV8HeadsByTheirShape) {
  Outputs outputs;
  outputs.add("output0", {6, 3}, transposed(kThreeAnchors, 6));
  expect_the_two(detections(run(yolo(2), outputs)));
}

TEST(Yolo, ReadsTransposedV8HeadsByTheirShape) {
  Outputs outputs;
  outputs.add("output0", {3, 6}, kThreeAnchors);
  expect_the_two(detections(run(yolo(2), outputs)));
}

TEST(Yolo, MultipliesTheObjectnessOfV5Heads) {
  Outputs outputs;
  outputs.add("output", {3, 7}, {100, 100, 20, 10, 0.5F,  0.1F, 0.9F,  //
                                 300, 200, 40, 60, 0.25F, 0.6F, 0.2F,  //
                                 500, 500, 10, 10, 0.9F,  0.5F, 0.1F});
  const auto found = detections(run(yolo(2), outputs));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_FLOAT_EQ(found[0].score, 0.45F);
  EXPECT_EQ(found[0].class_index, 0);  // 0.9 * 0.5 = 0.5 * 0.9: the lower class comes first
  EXPECT_EQ(found[1].class_index, 1);
  EXPECT_FLOAT_EQ(found[1].score, 0.45F);
}

// The second anchor's two labels overlap fully: suppression is class-wise, so both stay.
TEST(Yolo, MultiLabelKeepsEveryClassAboveTheThreshold) {
  PostprocessSpec spec = yolo(2, 0.15F);
  spec.multi_label = true;
  for (const bool anchors_first : {false, true}) {
    Outputs outputs;
    if (anchors_first) {
      outputs.add("output0", {3, 6}, kThreeAnchors);
    } else {
      outputs.add("output0", {6, 3}, transposed(kThreeAnchors, 6));
    }
    const auto found = detections(run(spec, outputs));
    ASSERT_EQ(found.size(), 4U);
    EXPECT_FLOAT_EQ(found[0].score, 0.9F);
    EXPECT_FLOAT_EQ(found[1].score, 0.6F);
    EXPECT_EQ(found[2].class_index + found[3].class_index, 1) << "one more of each class";
    EXPECT_FLOAT_EQ(found[2].score, 0.2F);
    EXPECT_FLOAT_EQ(found[3].score, 0.2F);
  }
}

TEST(Yolo, ReadsHalfPrecision) {
  // 1.0, 2.0, 0.5 and so on, exact in binary16.
  const std::vector<std::uint16_t> halves{0x5640, 0x5640, 0x4D00, 0x4900, 0x2E66, 0x3B33};
  Outputs outputs;
  outputs.add("output0", DataType::fp16, {1, 6}, halves);
  const auto found = detections(run(yolo(2), outputs));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].box, (Box{90, 95, 110, 105}));
  EXPECT_NEAR(found[0].score, 0.9F, 1e-3F);
}

TEST(Yolo, BoxesGoBackThroughTheLetterbox) {
  Outputs outputs;
  outputs.add("output0", {5, 1}, {320, 320, 64, 32, 0.9F});
  const Placement half = place({}, 1280, 720, 640, 640, Fit::letterbox);
  const auto found = detections(run(yolo(1), outputs, half));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].box, (Box{576, 328, 704, 392}));
}

TEST(Yolo, BoxesAreClampedToTheImageAndThoseOutsideGo) {
  Outputs outputs;
  outputs.add("output0", {2, 5}, {0, 300, 40, 40, 0.9F, 320, 60, 40, 40, 0.8F});
  const Placement half = place({}, 1280, 720, 640, 640, Fit::letterbox);  // content from y = 140
  const auto found = detections(run(yolo(1), outputs, half));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].box.x1, 0.0F);
}

TEST(Yolo, SuppressesOverlapsClassByClass) {
  Outputs outputs;
  outputs.add("output0", {3, 6},
              {100, 100, 20, 20, 0.9F, 0, 101, 100, 20, 20, 0.8F, 0, 100, 100, 20, 20, 0, 0.7F});
  EXPECT_EQ(detections(run(yolo(2), outputs)).size(), 2U);
  auto agnostic = yolo(2);
  agnostic.class_agnostic = true;
  EXPECT_EQ(detections(run(agnostic, outputs)).size(), 1U);
}

TEST(Yolo, DetectionsAreLimitedToTheBest) {
  std::vector<float> anchors;
  for (int i = 0; i < 10; ++i) {
    const auto at = static_cast<float>(50 * i + 20);
    anchors.insert(anchors.end(), {at, 100, 10, 10, 0.3F + 0.05F * static_cast<float>(i)});
  }
  Outputs outputs;
  outputs.add("output0", {10, 5}, anchors);
  auto spec = yolo(1);
  spec.detections_max = 3;
  const auto found = detections(run(spec, outputs));
  ASSERT_EQ(found.size(), 3U);
  EXPECT_FLOAT_EQ(found[2].score, 0.65F);
}

// Regression: 0.5 x 0.25 is 0.25 x 0.5, so two anchors score the same although their factors differ.
TEST(Yolo, EqualScoresOfTwoAnchorsAreOrderedByClassWhateverTheirOrder) {
  const std::vector<float> of_class_2{100, 100, 20, 10, 0.5F, 0, 0, 0.25F};
  const std::vector<float> of_class_1{300, 200, 40, 60, 0.25F, 0, 0.5F, 0};
  for (const bool swapped : {false, true}) {
    std::vector<float> anchors = swapped ? of_class_1 : of_class_2;
    const std::vector<float>& second = swapped ? of_class_2 : of_class_1;
    anchors.insert(anchors.end(), second.begin(), second.end());
    Outputs outputs;
    outputs.add("output", {2, 8}, anchors);
    const auto found = detections(run(yolo(3, 0.1F), outputs));
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].score, found[1].score);
    EXPECT_EQ(found[0].class_index, 1);
    EXPECT_EQ(found[1].class_index, 2);
  }
}

TEST(Yolo, OfEqualClassScoresOfAnAnchorTheFirstClassCounts) {
  const std::vector<float> anchor{100, 100, 20, 10, 0.3F, 0.8F, 0.8F};
  for (const bool anchors_first : {false, true}) {
    Outputs outputs;
    if (anchors_first) {
      outputs.add("output0", {1, 7}, anchor);
    } else {
      outputs.add("output0", {7, 1}, anchor);
    }
    const auto found = detections(run(yolo(3), outputs));
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].class_index, 1);
  }
}

// The second box is narrower than the distance of two floats at its place.
TEST(Yolo, BoxesWithoutAnAreaAreDropped) {
  Outputs outputs;
  outputs.add("output0", {3, 5},
              {100, 100, 0, 10, 0.9F, 217.77F, 422, 1e-6F, 10, 0.8F, 300, 300, 10, 10, 0.7F});
  const auto found = detections(run(yolo(1), outputs));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].score, 0.7F);
}

struct AnchorCase {
  std::string layout;
  bool objectness;
  bool anchors_first;
};

// The decoding once more, slowly, without threshold tricks. Of an anchor's equal class scores the
// first counts; equal detections are ordered as nms.h says; boxes without an area are dropped.
std::vector<Detection> reference(const std::vector<float>& anchors, std::size_t classes,
                                 bool objectness, float score_min, float iou_max) {
  const std::size_t first = objectness ? 5 : 4;
  std::vector<Detection> candidates;
  for (std::size_t a = 0; a < anchors.size() / (first + classes); ++a) {
    const float* v = anchors.data() + a * (first + classes);
    int best = 0;
    for (int c = 1; c < static_cast<int>(classes); ++c) {
      if (v[first + static_cast<std::size_t>(c)] > v[first + static_cast<std::size_t>(best)])
        best = c;
    }
    const float score = (objectness ? v[4] : 1.0F) * v[first + static_cast<std::size_t>(best)];
    if (score < score_min) continue;
    candidates.push_back(
        {best, score, {v[0] - v[2] / 2, v[1] - v[3] / 2, v[0] + v[2] / 2, v[1] + v[3] / 2}});
  }
  std::ranges::sort(candidates, [](const Detection& a, const Detection& b) {
    const auto order = [](const Detection& d) {
      return std::tuple(-d.score, d.class_index, d.box.x1, d.box.y1, d.box.x2, d.box.y2);
    };
    return order(a) < order(b);
  });
  std::vector<Detection> kept;
  for (const Detection& candidate : candidates) {
    const bool loses = std::any_of(kept.begin(), kept.end(), [&](const Detection& winner) {
      return winner.class_index == candidate.class_index &&
             iou(winner.box, candidate.box) > iou_max;
    });
    if (!loses) kept.push_back(candidate);
  }
  std::erase_if(kept, [](const Detection& d) { return d.box.area() <= 0; });
  return kept;
}

RC_GTEST_PROP(Yolo, EqualsASlowReferenceOnRandomTensors, ()) {
  const auto layout =
      *rc::gen::element(AnchorCase{"v8", false, false}, AnchorCase{"v8_transposed", false, true},
                        AnchorCase{"v5", true, true});
  const auto classes = static_cast<std::size_t>(*rc::gen::inRange(1, 9));
  const auto anchors = static_cast<std::size_t>(*rc::gen::inRange(1, 300));
  std::minstd_rand random(*rc::gen::arbitrary<unsigned>());
  std::uniform_real_distribution<float> fraction(0, 1);
  const std::size_t columns = classes + (layout.objectness ? 5 : 4);
  std::vector<float> values;
  for (std::size_t a = 0; a < anchors; ++a) {
    for (std::size_t v = 0; v < columns; ++v) {
      const float scale = v < 2 ? 600.0F : v < 4 ? 100.0F : 1.0F;
      values.push_back((v < 2 ? 20.0F : 0.0F) + scale * fraction(random));
    }
  }
  auto spec = yolo(classes, 0.5F);
  spec.layout = layout.layout;
  spec.detections_max = 1000;
  Outputs outputs;
  const auto a = static_cast<std::int64_t>(anchors);
  const auto c = static_cast<std::int64_t>(columns);
  if (layout.anchors_first) {
    outputs.add("output0", {a, c}, values);
  } else {
    outputs.add("output0", {c, a}, transposed(values, columns));
  }
  const auto found = run(spec, outputs, fixtures::unchanged(4000, 4000));
  RC_ASSERT(found.has_value());
  const auto& detected = std::get<std::vector<Detection>>(*found);
  const auto expected = reference(values, classes, layout.objectness, 0.5F, spec.iou_max);
  RC_ASSERT(detected.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    RC_ASSERT(detected[i].class_index == expected[i].class_index);
    RC_ASSERT(detected[i].score == expected[i].score);
    RC_ASSERT(std::abs(detected[i].box.x2 - expected[i].box.x2) < 1e-3F);
  }
}

RC_GTEST_PROP(Yolo, TheOrderOfAnchorsDoesNotMatter, ()) {
  std::minstd_rand random(*rc::gen::arbitrary<unsigned>());
  std::uniform_real_distribution<float> fraction(0, 1);
  std::vector<std::array<float, 6>> anchors(static_cast<std::size_t>(*rc::gen::inRange(1, 200)));
  for (auto& anchor : anchors) {
    anchor = {fraction(random) * 600,    fraction(random) * 600, 5 + fraction(random) * 90,
              5 + fraction(random) * 90, fraction(random),       fraction(random)};
  }
  const auto read = [&] {
    std::vector<float> flat;
    for (const auto& anchor : anchors) flat.insert(flat.end(), anchor.begin(), anchor.end());
    Outputs outputs;
    outputs.add("output0", {static_cast<std::int64_t>(anchors.size()), 6}, flat);
    auto spec = yolo(2);
    spec.layout = "v8_transposed";
    return std::get<std::vector<Detection>>(run(spec, outputs).value());
  };
  const auto before = read();
  std::shuffle(anchors.begin(), anchors.end(), random);
  const auto after = read();
  RC_ASSERT(before.size() == after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    RC_ASSERT(before[i].score == after[i].score);
    RC_ASSERT(before[i].box == after[i].box);
  }
}

TEST(YoloAtLoad, WrongNumberOfClassesNamesShapeAndExpectation) {
  const Signature signature{{}, {{"output0", DataType::fp32, {84, 8400}}}, 1};
  EXPECT_EQ(
      fixtures::load_error(yolo(79), signature),
      "yolo: the model has output 'output0' FP32 [84,8400]; with 79 classes expected "
      "[83,anchors] (layout v8), [anchors,83] (v8_transposed) or [anchors,84] (v5); check the "
      "number of classes");
}

TEST(YoloAtLoad, AmbiguousShapeAsksForTheLayout) {
  // 10 values an anchor or 10 anchors, both ways.
  const Signature signature{{}, {{"output0", DataType::fp32, {10, 10}}}, 1};
  EXPECT_EQ(
      fixtures::load_error(yolo(6), signature),
      "yolo: the model has output 'output0' FP32 [10,10], which can be read as v8 ('output0') "
      "or v8_transposed ('output0'); set layout to one of v8, v8_transposed, v5");
  auto settled = yolo(6);
  settled.layout = "v8";
  EXPECT_EQ(fixtures::load_error(settled, signature), "accepted");
}

TEST(YoloAtLoad, AKnownDimensionBeatsAnUnknownOne) {
  const Signature dynamic{{}, {{"output0", DataType::fp32, {-1, -1, 85}}}, 0};
  EXPECT_EQ(fixtures::load_error(yolo(80), dynamic), "accepted");
  const Signature unknown{{}, {{"output0", DataType::fp32, {-1, -1}}}, 1};
  EXPECT_NE(fixtures::load_error(yolo(80), unknown).find("set layout"), std::string::npos);
}

TEST(YoloAtLoad, OtherOutputsAreIgnored) {
  const Signature signature{{},
                            {{"p3", DataType::fp32, {3, 80, 80, 85}},
                             {"output", DataType::fp32, {25200, 85}},
                             {"count", DataType::int64, {1}}},
                            1};
  EXPECT_EQ(fixtures::load_error(yolo(80), signature), "accepted");
}

TEST(YoloAtLoad, ClassesAreNeeded) {
  const Signature signature{{}, {{"output0", DataType::fp32, {84, 8400}}}, 1};
  EXPECT_EQ(fixtures::load_error(yolo(0), signature),
            "yolo: classes is empty; list the model's class names in order");
}

TEST(YoloCorruptOutput, NanAndInfinityAnywhere) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (std::size_t at = 0; at < kThreeAnchors.size(); ++at) {
      auto values = kThreeAnchors;
      values[at] = bad;
      Outputs outputs;
      outputs.add("output0", {3, 6}, values);
      EXPECT_EQ(fixtures::run_error(yolo(2), outputs),
                "model output 'output0': holds NaN or infinite values");
    }
  }
}

TEST(YoloCorruptOutput, NegativeSize) {
  Outputs outputs;
  outputs.add("output0", {1, 5}, {100, 100, -3, 10, 0.9F});
  EXPECT_NE(fixtures::run_error(yolo(1), outputs).find("a box of negative size"),
            std::string::npos);
}

TEST(YoloCorruptOutput, LogitsInsteadOfScores) {
  Outputs outputs;
  outputs.add("output0", {5, 1}, {100, 100, 3, 10, 4.5F});
  EXPECT_NE(fixtures::run_error(yolo(1), outputs).find("without its sigmoid"), std::string::npos);
}

TEST(YoloCorruptOutput, AnotherShapeThanTheSignaturePromised) {
  Outputs outputs;
  outputs.add("output0", {6, 3}, kThreeAnchors);
  outputs.views[0].shape = {1, 9, 2};
  EXPECT_NE(fixtures::run_error(yolo(2), outputs).find("shape [1,9,2]"), std::string::npos);
  outputs.views[0].shape = {1, 6, 4};
  EXPECT_NE(fixtures::run_error(yolo(2), outputs).find("72 bytes for FP32 [1,6,4]"),
            std::string::npos);
  outputs.views.clear();
  EXPECT_NE(fixtures::run_error(yolo(2), outputs).find("missing"), std::string::npos);
}

TEST(Yolo, NoAnchorsAreNoDetections) {
  Outputs outputs;
  outputs.add("output0", {6, 0}, {});
  auto spec = yolo(2);
  EXPECT_TRUE(detections(run(spec, outputs)).empty());
}

}  // namespace
}  // namespace takt
