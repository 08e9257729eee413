// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/index_space.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

namespace takt::cuda {
namespace {

using ::testing::ElementsAre;

TEST(IndexSpace, OfDenseTensorsIsOneRow) {
  const IndexSpace space = compacted({{2, 3, 4}, {{12, 4, 1}, {12, 4, 1}}});
  EXPECT_THAT(space.shape, ElementsAre(24));
  EXPECT_THAT(space.strides[0], ElementsAre(1));
}

// NHWC: [N,C,H,W] is written channel by channel, and a bias is read along with it.
TEST(IndexSpace, IsOrderedAsTheOutputLies) {
  const IndexSpace space = compacted({{1, 8, 5, 5}, {{0, 1, 0, 0}, {200, 1, 40, 8}}});
  EXPECT_THAT(space.shape, ElementsAre(25, 8));
  EXPECT_THAT(space.strides[0], ElementsAre(0, 1));
  EXPECT_THAT(space.strides[1], ElementsAre(8, 1));
}

TEST(IndexSpace, KeepsWhatASliceCuts) {
  const IndexSpace space = compacted({{2, 6, 4}, {{24, 4, 1}, {48, 8, 1}}});
  EXPECT_THAT(space.shape, ElementsAre(12, 4));
  EXPECT_THAT(space.strides[1], ElementsAre(8, 1));
}

TEST(IndexSpace, OfAScalarHasOneElement) {
  const IndexSpace space = compacted({{1, 1}, {{0, 0}, {1, 1}}});
  EXPECT_THAT(space.shape, ElementsAre(1));
}

// Where each tensor is touched together.
std::multiset<std::vector<std::int64_t>> touched(const IndexSpace& space) {
  std::multiset<std::vector<std::int64_t>> places;
  std::vector<std::int64_t> index(space.shape.size());
  for (;;) {
    std::vector<std::int64_t> offsets;
    for (const auto& strides : space.strides) {
      std::int64_t offset = 0;
      for (std::size_t i = 0; i < index.size(); ++i) offset += index[i] * strides[i];
      offsets.push_back(offset);
    }
    places.insert(offsets);
    std::size_t dim = index.size();
    for (; dim > 0; --dim) {
      if (++index[dim - 1] < space.shape[dim - 1]) break;
      index[dim - 1] = 0;
    }
    if (dim == 0) return places;
  }
}

RC_GTEST_PROP(IndexSpaceProperty, CompactionTouchesTheSameElementsTogether, ()) {
  const auto rank = *rc::gen::inRange<std::size_t>(0, 5);
  const auto numbers = [rank](std::int64_t least, std::int64_t end) {
    return *rc::gen::container<std::vector<std::int64_t>>(rank, rc::gen::inRange(least, end));
  };
  const IndexSpace space{numbers(1, 4), {numbers(0, 7), numbers(0, 7), numbers(1, 30)}};
  RC_ASSERT(touched(space) == touched(compacted(space)));
}

}  // namespace
}  // namespace takt::cuda
