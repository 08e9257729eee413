// SPDX-License-Identifier: Apache-2.0
// Durations counted in logarithmic buckets, for percentiles without keeping every value.
// Thread-safe: no; the owner synchronises.
// Owns: its buckets, 17 KiB whatever is counted.
#pragma once

#include "core/time.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace takt::line {

// Every octave of nanoseconds has 32 buckets of equal width (the layout of HdrHistogram), so that a
// percentile is at most 1/32 too high and never too low. Negative values count as zero.
class LatencyHistogram {
 public:
  void record(Duration value) noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] Duration max() const noexcept { return max_; }
  [[nodiscard]] Duration mean() const noexcept;
  // The value that a share of all values does not exceed; zero while empty. `share` in [0, 1].
  [[nodiscard]] Duration quantile(double share) const noexcept;

 private:
  static constexpr int kSubBits = 5;
  static constexpr std::uint64_t kSub = std::uint64_t{1} << kSubBits;
  static constexpr std::size_t kBuckets = (64 - kSubBits) * kSub + kSub;
  [[nodiscard]] static std::size_t bucket(std::uint64_t value) noexcept;
  [[nodiscard]] static std::uint64_t upper_end(std::size_t bucket) noexcept;

  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
  double sum_ns_ = 0;
  Duration max_{};
};

}  // namespace takt::line
