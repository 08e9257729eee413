// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/tuning.h"

#include "backend/cuda/compile/views.h"
#include "graph/operators.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace takt::cuda {
namespace {

using testing::ElementsAre;

TuningOptions options_for(int concurrent, bool may_tune = true) {
  TuningOptions options;
  options.concurrent = concurrent;
  options.may_tune = may_tune;
  return options;
}

// A product of two matrices.
Step product() {
  const auto view = [](int buffer, const Shape& shape) {
    return View{buffer, 0, DataType::fp16, shape, dense_strides(shape)};
  };
  Step step{"product", StepKind::contraction, {view(0, {4, 8}), view(1, {8, 16})}, {}, {}};
  step.ops.push_back({graph::MatMul{}, {0, 1}, {{DataType::fp32, {4, 16}}}});
  step.outputs.push_back({2, view(2, {4, 16})});
  return step;
}

TEST(Tuning, WaysThatWereLookedForAsLongOrLongerAreTaken) {
  EXPECT_THAT(accepted_conditions(options_for(2)),
              ElementsAre(TuningConditions{Effort::max, 2}, TuningConditions{Effort::normal, 2}));
}

// Better than to refuse the model: first the own number of runs, then more of them, then fewer.
TEST(Tuning, WhereNothingMayBeTunedAnyWayIsTaken) {
  EXPECT_THAT(accepted_conditions(options_for(2, false)),
              ElementsAre(TuningConditions{Effort::max, 2}, TuningConditions{Effort::normal, 2},
                          TuningConditions{Effort::fast, 2}, TuningConditions{Effort::max, 4},
                          TuningConditions{Effort::normal, 4}, TuningConditions{Effort::fast, 4},
                          TuningConditions{Effort::max, 3}, TuningConditions{Effort::normal, 3},
                          TuningConditions{Effort::fast, 3}, TuningConditions{Effort::max, 1},
                          TuningConditions{Effort::normal, 1}, TuningConditions{Effort::fast, 1}));
}

TEST(Tuning, MoreInstancesThanFillADeviceAreTheSameAsThose) {
  EXPECT_EQ(conditions_of(options_for(64)), conditions_of(options_for(kRunsBesideMax)));
  EXPECT_EQ(conditions_of(options_for(0)), conditions_of(options_for(1)));
  EXPECT_NE(conditions_of(options_for(2)), conditions_of(options_for(1)));
}

TEST(Tuning, PiecesAreNamedByHowTheyWereFoundOut) {
  const Step step = product();
  std::set<std::string> keys;
  for (const Effort effort : {Effort::fast, Effort::normal, Effort::max}) {
    for (int runs = 1; runs <= kRunsBesideMax; ++runs) {
      for (const bool tf32 : {false, true}) keys.insert(piece_key(step, {effort, runs}, tf32));
    }
  }
  EXPECT_EQ(keys.size(), std::size_t{3 * kRunsBesideMax * 2});
  Step elsewhere = step;
  elsewhere.name = "another";
  for (View& view : elsewhere.inputs) view.buffer += 7;
  EXPECT_EQ(piece_key(elsewhere, {}, false), piece_key(step, {}, false));
  Step larger = step;
  larger.inputs[0].shape[0] = 5;
  EXPECT_NE(piece_key(larger, {}, false), piece_key(step, {}, false));
}

}  // namespace
}  // namespace takt::cuda
