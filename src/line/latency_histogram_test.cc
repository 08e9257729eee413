// SPDX-License-Identifier: Apache-2.0
#include "line/latency_histogram.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace takt::line {
namespace {

TEST(LatencyHistogram, IsZeroWhileEmpty) {
  const LatencyHistogram histogram;
  EXPECT_EQ(histogram.quantile(0.99), Duration::zero());
  EXPECT_EQ(histogram.mean(), Duration::zero());
  EXPECT_EQ(histogram.max(), Duration::zero());
}

TEST(LatencyHistogram, CountsANegativeDurationAsZero) {
  LatencyHistogram histogram;
  histogram.record(Duration(-5));
  EXPECT_EQ(histogram.count(), 1U);
  EXPECT_EQ(histogram.quantile(1), Duration::zero());
}

TEST(LatencyHistogram, HoldsTheLongestDuration) {
  LatencyHistogram histogram;
  histogram.record(Duration::max());
  EXPECT_EQ(histogram.quantile(0.5), Duration::max());
}

TEST(LatencyHistogram, AQuantileOfOneIsTheExactLargestValue) {
  LatencyHistogram histogram;
  histogram.record(Duration(1'234'567));
  histogram.record(Duration(7));
  EXPECT_EQ(histogram.quantile(1), Duration(1'234'567));
  EXPECT_EQ(histogram.mean(), Duration(617'287));
}

RC_GTEST_PROP(LatencyHistogram, AQuantileIsAtMostAThirtySecondTooHighAndNeverTooLow, ()) {
  const auto values = *rc::gen::nonEmpty(
      rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(0, 1LL << 40)));
  const double share = *rc::gen::inRange(0, 101) / 100.0;
  LatencyHistogram histogram;
  for (const std::int64_t value : values) histogram.record(Duration(value));
  std::vector<std::int64_t> sorted = values;
  std::ranges::sort(sorted);
  const auto rank = std::max(1.0, std::ceil(share * static_cast<double>(sorted.size())));
  const std::int64_t exact = sorted[static_cast<std::size_t>(rank) - 1];
  const std::int64_t counted = histogram.quantile(share).count();
  RC_ASSERT(counted >= exact);
  RC_ASSERT(counted <= exact + exact / 32);
}

}  // namespace
}  // namespace takt::line
