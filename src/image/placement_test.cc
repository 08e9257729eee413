// SPDX-License-Identifier: Apache-2.0
#include "image/placement.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

namespace takt {
namespace {

TEST(Placement, WholeImageOfTheModelsSizeIsUnchanged) {
  const Placement p = place({}, 640, 480, 640, 480, Fit::letterbox);
  EXPECT_EQ(p.scale_x, 1.0F);
  EXPECT_EQ(p.scale_y, 1.0F);
  EXPECT_EQ(p.offset_x, 0.0F);
  EXPECT_EQ(p.offset_y, 0.0F);
  EXPECT_EQ(p.content_width, 640);
  EXPECT_EQ(p.content_height, 480);
}

TEST(Placement, LetterboxCentresAWideImage) {
  const Placement p = place({}, 1280, 720, 640, 640, Fit::letterbox);
  EXPECT_EQ(p.scale_x, 0.5F);
  EXPECT_EQ(p.scale_y, 0.5F);
  EXPECT_EQ(p.content_height, 360);
  EXPECT_EQ(p.content_x, 0);
  EXPECT_EQ(p.content_y, 140);
  EXPECT_EQ(p.offset_y, 140.0F);
}

TEST(Placement, LetterboxPutsTheOddPixelOfPaddingBehindTheContent) {
  const Placement p = place({}, 5, 10, 10, 10, Fit::letterbox);
  EXPECT_EQ(p.content_width, 5);
  EXPECT_EQ(p.content_x, 2);
}

TEST(Placement, LetterboxRoundsTheScaledSize) {
  // 333 * 640 / 1000 = 213.12
  EXPECT_EQ(place({}, 1000, 333, 640, 640, Fit::letterbox).content_height, 213);
  // 334 * 640 / 1000 = 213.76
  EXPECT_EQ(place({}, 1000, 334, 640, 640, Fit::letterbox).content_height, 214);
}

TEST(Placement, LetterboxKeepsAtLeastOnePixelOfASliver) {
  const Placement p = place({}, 10000, 1, 64, 64, Fit::letterbox);
  EXPECT_EQ(p.content_height, 1);
}

TEST(Placement, StretchScalesBothSidesIndependently) {
  const Placement p = place({}, 100, 50, 200, 200, Fit::stretch);
  EXPECT_EQ(p.scale_x, 2.0F);
  EXPECT_EQ(p.scale_y, 4.0F);
  EXPECT_EQ(p.content_width, 200);
  EXPECT_EQ(p.content_height, 200);
}

TEST(Placement, RegionMovesItsCornerToTheModelsOrigin) {
  const Placement p = place({30, 40, 50, 50}, 640, 640, 100, 100, Fit::stretch);
  EXPECT_EQ(p.scale_x, 2.0F);
  EXPECT_EQ(p.offset_x, -60.0F);
  EXPECT_EQ(p.offset_y, -80.0F);
}

TEST(Placement, BoxesAreClampedToTheImage) {
  const Placement p = place({}, 1280, 720, 640, 640, Fit::letterbox);
  EXPECT_EQ(to_source({-10, 0, 700, 640}, p), (Box{0, 0, 1280, 720}));
}

RC_GTEST_PROP(Placement, ABoxGoesThereAndBack, ()) {
  const int width = *rc::gen::inRange(1, 4000);
  const int height = *rc::gen::inRange(1, 4000);
  const int model_width = *rc::gen::inRange(1, 1500);
  const int model_height = *rc::gen::inRange(1, 1500);
  const Fit fit = *rc::gen::element(Fit::stretch, Fit::letterbox);
  const auto fraction = [] { return static_cast<float>(*rc::gen::inRange(0, 1000)) / 1000.0F; };
  const auto w = static_cast<float>(width);
  const auto h = static_cast<float>(height);
  const Region region{fraction() * w, fraction() * h, 1 + fraction() * w, 1 + fraction() * h};
  const Box box{fraction() * w, fraction() * h, fraction() * w, fraction() * h};
  const Placement p = place(region, width, height, model_width, model_height, fit);
  const Box model{box.x1 * p.scale_x + p.offset_x, box.y1 * p.scale_y + p.offset_y,
                  box.x2 * p.scale_x + p.offset_x, box.y2 * p.scale_y + p.offset_y};
  const Box again = to_source(model, p);
  // Single precision: the offset may be much larger than a pixel of the model.
  const float tolerance_x = 0.01F + 1.0e-6F * (std::abs(p.offset_x) + w * p.scale_x) / p.scale_x;
  const float tolerance_y = 0.01F + 1.0e-6F * (std::abs(p.offset_y) + h * p.scale_y) / p.scale_y;
  RC_ASSERT(std::abs(again.x1 - box.x1) < tolerance_x);
  RC_ASSERT(std::abs(again.x2 - box.x2) < tolerance_x);
  RC_ASSERT(std::abs(again.y1 - box.y1) < tolerance_y);
  RC_ASSERT(std::abs(again.y2 - box.y2) < tolerance_y);
}

RC_GTEST_PROP(Placement, ContentLiesInTheModelsInput, ()) {
  const int model_width = *rc::gen::inRange(1, 1500);
  const int model_height = *rc::gen::inRange(1, 1500);
  const Placement p =
      place({}, *rc::gen::inRange(1, 20000), *rc::gen::inRange(1, 20000), model_width, model_height,
            *rc::gen::element(Fit::stretch, Fit::letterbox));
  RC_ASSERT(p.content_x >= 0);
  RC_ASSERT(p.content_y >= 0);
  RC_ASSERT(p.content_width >= 1);
  RC_ASSERT(p.content_height >= 1);
  RC_ASSERT(p.content_x + p.content_width <= model_width);
  RC_ASSERT(p.content_y + p.content_height <= model_height);
}

}  // namespace
}  // namespace takt
