// SPDX-License-Identifier: Apache-2.0
#include "line/latency_histogram.h"

#include <algorithm>
#include <cmath>

namespace takt::line {

std::size_t LatencyHistogram::bucket(std::uint64_t value) noexcept {
  if (value < kSub) return value;
  const int octave = static_cast<int>(std::bit_width(value)) - 1 - kSubBits;
  return static_cast<std::size_t>(octave + 1) * kSub + ((value >> octave) - kSub);
}

std::uint64_t LatencyHistogram::upper_end(std::size_t bucket) noexcept {
  if (bucket < kSub) return bucket;
  const std::uint64_t octave = bucket / kSub - 1;
  const std::uint64_t first = (kSub + bucket % kSub) << octave;
  return first + ((std::uint64_t{1} << octave) - 1);
}

void LatencyHistogram::record(Duration value) noexcept {
  const Duration counted = std::max(value, Duration::zero());
  ++counts_[bucket(static_cast<std::uint64_t>(counted.count()))];
  ++count_;
  sum_ns_ += static_cast<double>(counted.count());
  max_ = std::max(max_, counted);
}

Duration LatencyHistogram::mean() const noexcept {
  if (count_ == 0) return {};
  return Duration(static_cast<std::int64_t>(sum_ns_ / static_cast<double>(count_)));
}

Duration LatencyHistogram::quantile(double share) const noexcept {
  if (count_ == 0) return {};
  const double rank = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(count_));
  const auto wanted = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(rank));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= wanted) return std::min(max_, Duration(static_cast<std::int64_t>(upper_end(i))));
  }
  return max_;
}

}  // namespace takt::line
