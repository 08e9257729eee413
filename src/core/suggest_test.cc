// SPDX-License-Identifier: Apache-2.0
#include "core/suggest.h"

#include <gtest/gtest.h>

#include <vector>

namespace takt {
namespace {

TEST(Suggestion, NamesTheNearestCandidate) {
  const std::vector<std::string> names{"defects", "classes", "distance"};
  EXPECT_EQ(suggestion("defcts", names), "; did you mean 'defects'?");
  EXPECT_EQ(suggestion("zzzzzz", names), "; expected one of defects, classes, distance");
  EXPECT_EQ(suggestion("x", {}), "");
}

TEST(EditDistance, CountsASwapOfNeighboursAsOne) {
  EXPECT_EQ(edit_distance("deadline", "daedline"), 1U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

}  // namespace
}  // namespace takt
