// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/lanes.h"

#include "backend/cuda/compile/views.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace takt::cuda {
namespace {

View image(int buffer, std::int64_t channels, std::int64_t begin, std::int64_t size) {
  const Shape shape{2, channels, 4, 4};
  const View whole{buffer, 0, DataType::fp16, shape, ordered_strides(shape, channels_last(4))};
  return part(whole, 1, begin, size);
}

std::set<std::int64_t> elements(const View& view) {
  std::set<std::int64_t> offsets{view.offset};
  for (std::size_t d = 0; d < view.shape.size(); ++d) {
    std::set<std::int64_t> more;
    for (const std::int64_t offset : offsets) {
      for (std::int64_t i = 0; i < view.shape[d]; ++i) more.insert(offset + i * view.strides[d]);
    }
    offsets = std::move(more);
  }
  return offsets;
}

RC_GTEST_PROP(Lanes, ViewsThatShareElementsAreNeverTakenForApart, ()) {
  const auto random_part = [] {
    View view = image(0, 12, 0, 12);
    for (int axis = 0; axis < 4; ++axis) {
      const std::int64_t whole = view.shape[static_cast<std::size_t>(axis)];
      const auto begin = *rc::gen::inRange<std::int64_t>(0, whole);
      view = part(view, axis, begin, *rc::gen::inRange<std::int64_t>(1, whole - begin + 1));
    }
    return view;
  };
  const View a = random_part();
  const View b = random_part();
  const std::set<std::int64_t> of_a = elements(a);
  const std::set<std::int64_t> of_b = elements(b);
  const bool share = std::ranges::any_of(of_a, [&](std::int64_t e) { return of_b.contains(e); });
  if (share) RC_ASSERT(may_overlap(a, b));
}

TEST(Lanes, ChannelSlicesOfOneTensorAreApart) {
  EXPECT_FALSE(may_overlap(image(0, 12, 0, 4), image(0, 12, 4, 8)));
  EXPECT_TRUE(may_overlap(image(0, 12, 0, 5), image(0, 12, 4, 8)));
}

// What a plan orders: a step behind those before it on its lane and behind those that it waits for.
std::vector<std::set<int>> ordered_before(const LanePlan& plan) {
  std::vector<std::set<int>> before(plan.lane.size());
  for (std::size_t step = 0; step < plan.lane.size(); ++step) {
    const auto add = [&](int other) {
      before[step].insert(other);
      before[step].merge(std::set(before[static_cast<std::size_t>(other)]));
    };
    for (std::size_t other = step; other-- > 0;) {
      if (plan.lane[other] == plan.lane[step]) {
        add(static_cast<int>(other));
        break;
      }
    }
    for (const int other : plan.waits[step]) add(other);
  }
  return before;
}

RC_GTEST_PROP(Lanes, EveryDependencyIsKept, ()) {
  const int count = *rc::gen::inRange(1, 30);
  std::vector<std::vector<int>> needs(static_cast<std::size_t>(count));
  for (int step = 1; step < count; ++step) {
    for (int other = 0; other < step; ++other) {
      if (*rc::gen::inRange(0, 4) == 0) needs[static_cast<std::size_t>(step)].push_back(other);
    }
  }
  const LanePlan plan = plan_lanes(needs, *rc::gen::inRange(1, 5));
  const std::vector<std::set<int>> before = ordered_before(plan);
  for (std::size_t step = 0; step < needs.size(); ++step) {
    RC_ASSERT(plan.lane[step] < plan.lanes);
    for (const int needed : needs[step]) RC_ASSERT(before[step].contains(needed));
    for (const int waited : plan.waits[step]) {
      RC_ASSERT(plan.signals[static_cast<std::size_t>(waited)]);
    }
  }
}

Step step_of(std::vector<View> inputs, View output) {
  return {"", StepKind::pointwise, std::move(inputs), {}, {{0, std::move(output)}}};
}

TEST(Lanes, BranchesRunBesideEachOther) {
  Program program;
  for (int i = 0; i < 4; ++i) {
    program.buffers.push_back(
        {BufferKind::arena, 1024, 1024 * static_cast<std::size_t>(i), {}, {}});
  }
  // 0 -> (1, 2) -> halves of 3
  program.steps = {step_of({}, image(0, 4, 0, 4)), step_of({image(0, 4, 0, 4)}, image(3, 8, 0, 4)),
                   step_of({image(0, 4, 0, 4)}, image(3, 8, 4, 4)),
                   step_of({image(3, 8, 0, 8)}, image(1, 8, 0, 8))};
  const auto needs = dependencies(program);
  EXPECT_THAT(needs, testing::ElementsAre(testing::IsEmpty(), testing::ElementsAre(0),
                                          testing::ElementsAre(0), testing::ElementsAre(1, 2)));
  const LanePlan plan = plan_lanes(needs, 2);
  EXPECT_NE(plan.lane[1], plan.lane[2]);
}

TEST(Lanes, MemoryThatIsUsedAgainMakesStepsWait) {
  Program program;
  program.buffers = {{BufferKind::input, 1024, 0, {}, {}},
                     {BufferKind::arena, 1024, 0, {}, {}},
                     {BufferKind::arena, 1024, 512, {}, {}},
                     {BufferKind::output, 1024, 0, {}, {}}};
  program.steps = {step_of({image(0, 4, 0, 4)}, image(1, 4, 0, 4)),
                   step_of({image(1, 4, 0, 4)}, image(3, 4, 0, 4)),
                   step_of({image(0, 4, 0, 4)}, image(2, 4, 0, 4))};  // where the first one wrote
  EXPECT_THAT(dependencies(program)[2], testing::ElementsAre(0, 1));
}

}  // namespace
}  // namespace takt::cuda
