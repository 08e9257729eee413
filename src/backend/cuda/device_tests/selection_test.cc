// SPDX-License-Identifier: Apache-2.0
// TopK and NonMaxSuppression beside the reference evaluator.
#include "backend/cuda/device_tests/movement_fixture.h"
#include "graph/constants.h"

#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <vector>

namespace takt::cuda {
namespace {

using graph::Constant;

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;

class GpuTopK : public StepTest {
 protected:
  void expect_top(const graph::TopK& op, const Constant& x) {
    expect_reference(selection_code, op, {x});
  }
};

TEST_F(GpuTopK, TheFirstOfEqualsComesFirstInEveryType) {
  for (const DataType type : {kF32, DataType::int8, DataType::int64, DataType::uint64,
                              DataType::boolean, DataType::uint32}) {
    const Constant x = random_numbers({type, {3, 40, 5}}, 1);  // integers have many equals
    for (const int axis : {0, 1, 2}) {
      const std::int64_t length = x.type.shape[static_cast<std::size_t>(axis)];
      expect_top({length, axis, true, true}, x);
      expect_top({(length + 1) / 2, axis, false, false}, x);
    }
  }
}

TEST_F(GpuTopK, NanIsLargerThanAllAndZerosAreEqual) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const std::vector<double> numbers{0.0,       std::nan(""), -1,           -kInfinity, -0.0, 3,
                                    kInfinity, 0.0,          std::nan(""), 3,          -0.0};
  for (const bool largest : {false, true}) {
    expect_top({11, 0, largest, true},
               graph::constant_of(kF32, {11}, std::span<const double>(numbers)));
  }
}

// What a detector does with its boxes.
TEST_F(GpuTopK, LongLanesAreCutRunByRun) {
  const Constant x = random_numbers({kF32, {3, 8400}}, 1);
  const Constant equals = random_numbers({DataType::int32, {2, 5000}}, 2);
  expect_top({300, 1, true, true}, x);
  expect_top({1024, 1, true, true}, equals);
}

TEST_F(GpuTopK, WhatIsTooManyForABlockIsMerged) {
  const Constant x = random_numbers({kF32, {2, 8400}}, 1);
  const Constant equals = random_numbers({DataType::int32, {1, 5000}}, 2);
  const Storage dense;
  for (const std::int64_t k : {1025, 3000, 5000, 8400}) {
    expect_reference(selection_code, graph::TopK{k, 1, true, true}, {x}, dense, dense);
  }
  expect_reference(selection_code, graph::TopK{5000, 1, false, true}, {equals}, dense, dense);
}

// Boxes in clusters, so that many overlap.
Constant clustered_boxes(std::int64_t images, std::int64_t count, bool centers, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> place(0, 100);
  std::uniform_real_distribution<double> jitter(-3, 3);
  std::vector<double> numbers;
  double x = 0;
  double y = 0;
  for (std::int64_t i = 0; i < images * count; ++i) {
    if (i % 7 == 0) {
      x = place(random);
      y = place(random);
    }
    const double left = x + jitter(random);
    const double top = y + jitter(random);
    const std::array<double, 4> box =
        centers ? std::array{left, top, 10 + jitter(random), 10 + jitter(random)}
                : std::array{top, left, top + 10 + jitter(random), left - 10 + jitter(random)};
    numbers.insert(numbers.end(), box.begin(), box.end());
  }
  return graph::constant_of(kF32, {images, count, 4}, std::span<const double>(numbers));
}

Constant scores_of(const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> score(0, 999);  // with equals
  std::vector<double> numbers(*element_count(shape));
  for (double& number : numbers) number = score(random) / 1000.0;
  numbers.front() = std::nan("");
  return graph::constant_of(kF32, shape, std::span<const double>(numbers));
}

class GpuSuppression : public StepTest {
 protected:
  void expect_selected(const graph::NonMaxSuppression& op, const Constant& boxes,
                       const Constant& scores) {
    for (const DataType type : {kF32, kF16}) {
      for (const TensorLayout layout : {TensorLayout::dense, TensorLayout::channels_last}) {
        expect_reference(selection_code, op, {boxes, scores}, {layout, type}, {});
        if (HasFatalFailure()) return;
      }
    }
  }
};

TEST_F(GpuSuppression, BoxesAreThoseOfTheReference) {
  for (const bool centers : {false, true}) {
    const Constant boxes = clustered_boxes(2, 300, centers, 1);
    const Constant scores = scores_of({2, 3, 300}, 2);
    expect_selected({300, 0.45F, 0.25F, true, centers}, boxes, scores);
    expect_selected({5, 0.6F, 0.0F, false, centers}, boxes, scores);
    expect_selected({400, 0.0F, 0.9F, true, centers}, boxes, scores);
    expect_selected({300, 1.0F, 2.0F, true, centers}, boxes, scores);
  }
}

TEST_F(GpuSuppression, OverlapsAtTheThresholdAreComputedInDouble) {
  const std::vector<double> numbers{0, 0, 10, 10, 0, 0, 9, 5, 0, 0, 10, 4.5, 20, 20, 20, 30};
  const Constant boxes = graph::constant_of(kF32, {1, 4, 4}, std::span<const double>(numbers));
  const std::vector<double> descending{0.9, 0.8, 0.7, 0.6};
  const Constant scores = graph::constant_of(kF32, {1, 1, 4}, std::span<const double>(descending));
  expect_reference(selection_code, graph::NonMaxSuppression{4, 0.45F, 0.25F, true, false},
                   {boxes, scores}, {}, {});
}

// More candidates than a block sorts at once: the next best follow, as often as it takes.
TEST_F(GpuSuppression, AnyNumberOfCandidatesIsTaken) {
  const Constant boxes = clustered_boxes(1, 8400, false, 3);
  const Constant scores = scores_of({1, 2, 8400}, 4);
  const Storage dense;
  for (const float threshold : {0.01F, 0.5F}) {
    for (const std::int64_t most : {50, 8400}) {
      const graph::NonMaxSuppression op{most, threshold, 0.0F, false, false};
      expect_reference(selection_code, op, {boxes, scores}, dense, dense);
    }
  }
}

TEST_F(GpuSuppression, ManyClassesWithFewBoxesAreThoseOfTheReference) {
  const Constant boxes = clustered_boxes(1, 2000, true, 5);
  const Constant scores = scores_of({1, 80, 2000}, 6);
  expect_reference(selection_code, graph::NonMaxSuppression{300, 0.45F, 0.98F, true, true},
                   {boxes, scores}, {}, {});
}

}  // namespace
}  // namespace takt::cuda
