// SPDX-License-Identifier: Apache-2.0
#include "task/nms.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace takt::postprocess {
namespace {

bool same(const std::vector<Detection>& a, const std::vector<Detection>& b) {
  return std::ranges::equal(a, b, [](const Detection& x, const Detection& y) {
    return x.class_index == y.class_index && x.score == y.score && x.box == y.box;
  });
}

// Boxes on a coarse grid with coarse scores, so that overlaps and ties are common.
std::vector<Detection> any_candidates() {
  const int count = *rc::gen::inRange(0, 120);
  std::vector<Detection> candidates;
  for (int i = 0; i < count; ++i) {
    const auto x = static_cast<float>(*rc::gen::inRange(0, 40));
    const auto y = static_cast<float>(*rc::gen::inRange(0, 40));
    const auto w = static_cast<float>(*rc::gen::inRange(0, 20));
    const auto h = static_cast<float>(*rc::gen::inRange(0, 20));
    const auto score = static_cast<float>(*rc::gen::inRange(1, 20)) / 20;
    candidates.push_back({*rc::gen::inRange(0, 3), score, {x, y, x + w, y + h}});
  }
  return candidates;
}

NmsOptions any_options() {
  NmsOptions options;
  options.iou_max = static_cast<float>(*rc::gen::inRange(0, 11)) / 10;
  options.class_agnostic = *rc::gen::arbitrary<bool>();
  options.kept_max = *rc::gen::inRange(1, 200);
  return options;
}

bool compete(const Detection& a, const Detection& b, const NmsOptions& options) {
  return (options.class_agnostic || a.class_index == b.class_index) &&
         iou(a.box, b.box) > options.iou_max + 1e-5F;
}

RC_GTEST_PROP(Nms, NoTwoKeptBoxesOfAClassOverlapByMoreThanTheLimit, ()) {
  auto kept = any_candidates();
  const auto options = any_options();
  suppress(kept, options);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) RC_ASSERT(!compete(kept[i], kept[j], options));
  }
}

RC_GTEST_PROP(Nms, TheHighestScoreIsAlwaysKept, ()) {
  auto kept = any_candidates();
  RC_PRE(!kept.empty());
  const float highest = std::ranges::max_element(kept, {}, &Detection::score)->score;
  suppress(kept, any_options());
  RC_ASSERT(kept.front().score == highest);
}

RC_GTEST_PROP(Nms, EveryDroppedBoxLosesToAKeptOne, ()) {
  const auto candidates = any_candidates();
  auto options = any_options();
  options.kept_max = 1000;
  auto kept = candidates;
  suppress(kept, options);
  for (const Detection& candidate : candidates) {
    const bool explained = std::ranges::any_of(kept, [&](const Detection& winner) {
      const bool rival = options.class_agnostic || winner.class_index == candidate.class_index;
      return winner.score >= candidate.score && rival &&
             (winner.box == candidate.box ||
              iou(winner.box, candidate.box) > options.iou_max - 1e-5F);
    });
    RC_ASSERT(explained);
  }
}

RC_GTEST_PROP(Nms, ASecondTimeChangesNothing, ()) {
  auto once = any_candidates();
  const auto options = any_options();
  suppress(once, options);
  auto twice = once;
  suppress(twice, options);
  RC_ASSERT(same(once, twice));
}

RC_GTEST_PROP(Nms, TheOrderOfCandidatesDoesNotMatter, ()) {
  auto a = any_candidates();
  auto b = a;
  std::shuffle(b.begin(), b.end(), std::minstd_rand(*rc::gen::arbitrary<unsigned>()));
  const auto options = any_options();
  suppress(a, options);
  suppress(b, options);
  RC_ASSERT(same(a, b));
}

TEST(Nms, BoxesOfDifferentClassesDontCompeteUnlessAsked) {
  const std::vector<Detection> both{{0, 0.9F, {0, 0, 10, 10}}, {1, 0.8F, {0, 0, 10, 10}}};
  auto by_class = both;
  suppress(by_class, {0.5F, false, 10});
  EXPECT_EQ(by_class.size(), 2U);
  auto agnostic = both;
  suppress(agnostic, {0.5F, true, 10});
  ASSERT_EQ(agnostic.size(), 1U);
  EXPECT_EQ(agnostic[0].class_index, 0);
}

TEST(Nms, EqualScoresAreOrderedByClassAndThenByBox) {
  const std::vector<Detection> ordered{{0, 0.5F, {60, 0, 70, 10}},
                                       {1, 0.5F, {20, 0, 30, 10}},
                                       {1, 0.5F, {40, 0, 50, 10}},
                                       {1, 0.5F, {40, 20, 50, 30}},
                                       {2, 0.5F, {0, 0, 10, 10}}};
  std::vector<Detection> reversed(ordered.rbegin(), ordered.rend());
  suppress(reversed, {0.5F, false, 10});
  EXPECT_TRUE(same(reversed, ordered));
}

TEST(Nms, OverlapExactlyAtTheLimitIsKept) {
  // Intersection 50, union 150: 1/3.
  const std::vector<Detection> both{{0, 0.9F, {0, 0, 10, 10}}, {0, 0.8F, {0, 5, 10, 15}}};
  auto at_limit = both;
  suppress(at_limit, {1.0F / 3 + 1e-6F, false, 10});
  EXPECT_EQ(at_limit.size(), 2U);
  auto below = both;
  suppress(below, {0.33F, false, 10});
  EXPECT_EQ(below.size(), 1U);
}

TEST(Nms, ADroppedBoxDropsNoOther) {
  // The middle box loses to the first; the last overlaps only the middle one.
  std::vector<Detection> chain{
      {0, 0.9F, {0, 0, 10, 10}}, {0, 0.8F, {4, 0, 14, 10}}, {0, 0.7F, {8, 0, 18, 10}}};
  suppress(chain, {0.3F, false, 10});
  ASSERT_EQ(chain.size(), 2U);
  EXPECT_EQ(chain[1].score, 0.7F);
}

TEST(Nms, KeepsNoMoreThanAsked) {
  std::vector<Detection> apart;
  for (int i = 0; i < 20; ++i) {
    const auto x = static_cast<float>(20 * i);
    apart.push_back({0, static_cast<float>(i) / 20, {x, 0, x + 10, 10}});
  }
  suppress(apart, {0.5F, false, 3});
  ASSERT_EQ(apart.size(), 3U);
  EXPECT_EQ(apart[0].score, 0.95F);
  EXPECT_EQ(apart[2].score, 0.85F);
}

TEST(Nms, CandidatesAreBounded) {
  std::vector<Detection> many(kCandidatesMax + 1000, Detection{0, 0.5F, {0, 0, 10, 10}});
  many.back() = {0, 0.4F, {100, 100, 110, 110}};
  suppress(many, {0.5F, false, 300});
  EXPECT_EQ(many.size(), 1U);
}

}  // namespace
}  // namespace takt::postprocess
