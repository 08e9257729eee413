// SPDX-License-Identifier: Apache-2.0
#include "line/region.h"

#include <gtest/gtest.h>

namespace takt::line {
namespace {

// A U: the notch between x 20 and 30 is open to the top.
const Polygon kU{{0, 0}, {20, 0}, {20, 40}, {30, 40}, {30, 0}, {50, 0}, {50, 60}, {0, 60}};

TEST(Region, ABoxOnTheEdgeOfARectangleIsInside) {
  EXPECT_TRUE(inside({10, 10, 20, 20}, rectangle({10, 10, 40, 40})));
  EXPECT_TRUE(inside({10, 10, 40, 40}, rectangle({10, 10, 40, 40})));
  EXPECT_FALSE(inside({9.5F, 10, 20, 20}, rectangle({10, 10, 40, 40})));
}

TEST(Region, ABoxThatReachesOutTouchesButIsNotInside) {
  EXPECT_TRUE(touching({0, 0, 15, 15}, rectangle({10, 10, 40, 40})));
  EXPECT_FALSE(inside({0, 0, 15, 15}, rectangle({10, 10, 40, 40})));
  EXPECT_FALSE(touching({0, 0, 9, 9}, rectangle({10, 10, 40, 40})));
}

TEST(Region, ABoxAroundAPolygonTouchesIt) {
  EXPECT_TRUE(touching({0, 0, 100, 100}, rectangle({40, 40, 50, 50})));
  EXPECT_FALSE(inside({0, 0, 100, 100}, rectangle({40, 40, 50, 50})));
}

TEST(Region, APolygonAroundABoxTouchesIt) {
  EXPECT_TRUE(touching({40, 40, 50, 50}, rectangle({0, 0, 100, 100})));
}

TEST(Region, TheNotchOfAConcavePolygonIsOutside) {
  EXPECT_FALSE(contains(kU, {25, 10}));
  EXPECT_FALSE(touching({22, 5, 28, 30}, kU));
  // All four corners lie in the arms, but the notch cuts the box.
  EXPECT_FALSE(inside({5, 5, 45, 30}, kU));
  EXPECT_TRUE(inside({5, 42, 45, 55}, kU));
}

TEST(Region, ASlantedEdgeIsFollowedExactly) {
  const Polygon triangle{{0, 0}, {100, 0}, {0, 100}};
  EXPECT_TRUE(contains(triangle, {50, 50}));
  EXPECT_FALSE(contains(triangle, {51, 50}));
  EXPECT_TRUE(inside({0, 0, 50, 50}, triangle));
  EXPECT_FALSE(inside({0, 0, 51, 50}, triangle));
  EXPECT_FALSE(touching({60, 60, 70, 70}, triangle));
}

}  // namespace
}  // namespace takt::line
