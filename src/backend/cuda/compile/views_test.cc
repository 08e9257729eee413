// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/views.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using ::testing::ElementsAre;
using Strides = std::vector<std::int64_t>;
using Offsets = std::vector<std::int64_t>;

View view_of(Shape shape, Strides strides) {
  return {0, 0, DataType::fp32, std::move(shape), std::move(strides)};
}

View dense(const Shape& shape) {
  return view_of(shape, dense_strides(shape));
}

// Where the elements lie, row by row.
Offsets offsets_of(const View& view) {
  Offsets offsets{view.offset};
  for (std::size_t d = 0; d < view.shape.size(); ++d) {
    Offsets next;
    for (const std::int64_t offset : offsets) {
      for (std::int64_t i = 0; i < view.shape[d]; ++i) next.push_back(offset + i * view.strides[d]);
    }
    offsets = std::move(next);
  }
  return offsets;
}

TEST(Views, ReshapesWhatLiesInOrder) {
  const std::optional<View> flat = reshaped(dense({2, 3, 4}), {6, 1, 4});
  ASSERT_TRUE(flat);
  EXPECT_EQ(offsets_of(*flat), offsets_of(dense({24})));
  // Every second row of a matrix: the rows can be told apart again, and not be walked in one go.
  const View rows = view_of({4, 3}, {6, 1});
  EXPECT_TRUE(reshaped(rows, {2, 2, 3}));
  EXPECT_FALSE(reshaped(rows, {12}));
  EXPECT_FALSE(reshaped(view_of({2, 3}, {1, 2}), {6})) << "columns one after the other";
}

TEST(Views, ReshapesScalarsEmptyTensorsAndBroadcasts) {
  EXPECT_EQ(reshaped(dense({}), {1, 1})->shape, (Shape{1, 1}));
  EXPECT_EQ(reshaped(dense({1, 1}), {})->shape, Shape{});
  EXPECT_EQ(reshaped(view_of({0, 3}, {1, 7}), {3, 0, 2})->shape, (Shape{3, 0, 2}));
  const std::optional<View> spread = reshaped(view_of({4, 6}, {0, 0}), {2, 12});
  ASSERT_TRUE(spread);
  EXPECT_THAT(spread->strides, ElementsAre(0, 0));
}

TEST(Views, SlicesForwardsOnly) {
  const View view = dense({4, 5});
  const std::optional<View> part = sliced(view, {{1, 4}, {2, -1}, {2, 1}});
  ASSERT_TRUE(part) << "of one element any step is one";
  EXPECT_THAT(offsets_of(*part), ElementsAre(9, 19));
  EXPECT_FALSE(sliced(view, {{3, 0}, {-1, 1}, {4, 5}}));
  EXPECT_EQ(sliced(view, {{4, 0}, {1, 1}, {0, 5}})->offset, 0) << "of nothing begins nowhere";
}

TEST(Views, BroadcastsAsNumpyDoes) {
  EXPECT_THAT(broadcast(dense({3, 1}), {2, 3, 4}).strides, ElementsAre(0, 1, 0));
  EXPECT_THAT(broadcast(dense({}), {2, 3}).strides, ElementsAre(0, 0));
}

TEST(Views, OrderIsThatOfTheStridesAndOtherwiseOfTheDimensions) {
  EXPECT_EQ(order_of(dense({2, 3, 4})), row_order(3));
  EXPECT_EQ(channels_last(4), (DimensionOrder{0, 2, 3, 1}));
  EXPECT_EQ(channels_last(2), row_order(2));
  const Shape image{2, 3, 4, 5};
  EXPECT_EQ(order_of(view_of(image, ordered_strides(image, channels_last(4)))), channels_last(4));
}

TEST(Views, GapsAreNotDense) {
  EXPECT_TRUE(is_dense(dense({2, 3})));
  EXPECT_TRUE(is_dense(view_of({1, 3}, {77, 1}))) << "a dimension of size 1 has any stride";
  EXPECT_FALSE(is_dense(view_of({2, 3}, {4, 1})));
  EXPECT_FALSE(is_dense(view_of({2, 3}, {1, 2})));
}

// However small the case is otherwise.
std::int64_t number(std::int64_t least, std::int64_t end) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(least, end));
}

// Of up to four dimensions of a few sizes, whose strides need not fit them.
View some_view() {
  View view = view_of({}, {});
  view.offset = number(0, 10);
  for (std::int64_t rank = number(0, 5); rank > 0; --rank) {
    view.shape.push_back(number(1, 5));
    view.strides.push_back(number(0, 9));
  }
  return view;
}

// Of a dense tensor a transposed slice, perhaps broadcast: what lower() asks about.
View some_view_of_a_tensor() {
  View view = some_view();
  view.strides = dense_strides(view.shape);
  for (std::size_t d = 0; d < view.shape.size(); ++d) {
    const auto axis = static_cast<int>(d);
    const std::int64_t begin = number(0, view.shape[d]);
    if (*rc::gen::arbitrary<bool>()) view = part(view, axis, begin, view.shape[d] - begin);
    if (number(0, 6) == 0) view.strides[d] = 0;
  }
  DimensionOrder permutation = row_order(view.shape.size());
  for (std::size_t i = permutation.size(); i > 1; --i) {
    const auto other = static_cast<std::size_t>(number(0, static_cast<std::int64_t>(i)));
    std::swap(permutation[i - 1], permutation[other]);
  }
  return transposed(view, permutation);
}

// Another shape of as many elements.
Shape some_shape_of(std::int64_t elements) {
  Shape shape;
  while (elements > 1) {
    std::vector<std::int64_t> factors;
    for (std::int64_t f = 2; f <= elements; ++f) {
      if (elements % f == 0) factors.push_back(f);
    }
    const auto count = static_cast<std::int64_t>(factors.size());
    shape.push_back(factors[static_cast<std::size_t>(number(0, count))]);
    elements /= shape.back();
    if (number(0, 3) == 0) shape.push_back(1);
  }
  return shape;
}

// The strides of a shape that reaches the same elements in the same order, found one dimension after the other.
bool strides_say(const Offsets& offsets, const Shape& shape) {
  View view = view_of(shape, Strides(shape.size(), 0));
  view.offset = offsets.front();
  std::size_t step = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    if (shape[d] > 1) view.strides[d] = offsets[step] - offsets.front();
    step *= static_cast<std::size_t>(shape[d]);
  }
  return offsets_of(view) == offsets;
}

RC_GTEST_PROP(ViewsProperty, ReshapesWheneverStridesCanSayIt, ()) {
  const View view = *rc::gen::arbitrary<bool>() ? some_view() : some_view_of_a_tensor();
  const Offsets offsets = offsets_of(view);
  const Shape shape = some_shape_of(static_cast<std::int64_t>(offsets.size()));
  const std::optional<View> result = reshaped(view, shape);
  RC_TAG(result.has_value());
  RC_ASSERT(result.has_value() == strides_say(offsets, shape));
  if (!result) return;
  RC_ASSERT(result->shape == shape);
  RC_ASSERT(offsets_of(*result) == offsets);
}

RC_GTEST_PROP(ViewsProperty, TransposingBackGivesTheSameView, ()) {
  const View view = some_view();
  DimensionOrder permutation = row_order(view.shape.size());
  std::ranges::rotate(permutation,
                      permutation.begin() + static_cast<std::ptrdiff_t>(permutation.size() / 2));
  RC_ASSERT(transposed_back(transposed(view, permutation), permutation) == view);
}

RC_GTEST_PROP(ViewsProperty, WhatIsCalledInjectiveWritesNoPlaceTwice, ()) {
  const View view = *rc::gen::arbitrary<bool>() ? some_view() : some_view_of_a_tensor();
  const Offsets offsets = offsets_of(view);
  const bool is_distinct = std::set(offsets.begin(), offsets.end()).size() == offsets.size();
  RC_ASSERT(!is_injective(view) || is_distinct);
  RC_ASSERT(extent_elements(view) == std::ranges::max(offsets) - view.offset + 1);
}

RC_GTEST_PROP(ViewsProperty, SlicesAndPartsReachTheirElements, ()) {
  const View view = dense(some_view().shape);
  graph::Slice slice{{}, {}, {}};
  for (const std::int64_t size : view.shape) {
    const std::int64_t step = number(1, 4);
    slice.starts.push_back(number(0, size));
    slice.steps.push_back(step);
    slice.sizes.push_back((size - slice.starts.back() + step - 1) / step);
  }
  Offsets expected{0};
  for (std::size_t d = 0; d < view.shape.size(); ++d) {
    Offsets next;
    for (const std::int64_t offset : expected) {
      for (std::int64_t i = slice.starts[d]; i < view.shape[d]; i += slice.steps[d]) {
        next.push_back(offset + i * view.strides[d]);
      }
    }
    expected = std::move(next);
  }
  const std::optional<View> result = sliced(view, slice);
  RC_ASSERT(result.has_value());
  RC_ASSERT(offsets_of(*result) == expected);
}

}  // namespace
}  // namespace takt::cuda
