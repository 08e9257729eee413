// SPDX-License-Identifier: Apache-2.0
// Execution time of a model's batches by batch size: as loaded, kept current by what is executed.
// Thread-safe: no; owned by one scheduler.
// Owns: a window of the last executions for each batch size seen.
#pragma once

#include "core/inference.h"
#include "core/time.h"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace takt::scheduler {

// Quantiles of the last 256 durations. O(log 256) comparisons and one short move per sample, no
// allocation.
class SlidingQuantiles {
 public:
  static constexpr int kCapacity = 256;

  // Fills the window with the stated distribution, so that single outliers can't move it and 256
  // executions replace it.
  void fill(Duration p50, Duration p99);
  void add(Duration value);

  [[nodiscard]] int count() const noexcept { return count_; }
  [[nodiscard]] Duration p50() const noexcept;
  // The third largest of a full window, the second largest before: one or two outliers are excused.
  [[nodiscard]] Duration p99() const noexcept;
  [[nodiscard]] Duration longest() const noexcept;
  [[nodiscard]] std::vector<Duration> sorted() const;  // all of them, rising

 private:
  std::array<std::int64_t, kCapacity> by_age_{};  // nanoseconds, a ring
  std::array<std::int64_t, kCapacity> sorted_{};
  int count_ = 0;
  int next_ = 0;  // the oldest once full
};

// What is worth keeping of one batch size beyond the process: exported when a model goes, and merged
// into what is measured when it is loaded again.
struct ProfilePoint {
  int batch = 1;
  Duration p50{};
  Duration p99{};
  Duration longest{};           // of the last 256 executions; at least the p99
  std::int64_t executions = 0;  // since the model was loaded; 0: as loaded
  // The last 256 executions, rising, once there were so many; how they are spread is what a
  // simulation draws from.
  std::vector<Duration> window{};
};

// The loaded points to begin with: those measured now, except where `stored` knows a size from at
// least `executions_min` executions under load; sizes that only `stored` knows likewise. Stored
// points that make no sense (a batch below 1, p99 below p50 or not above 0) are left out. Rising
// batch sizes.
[[nodiscard]] std::vector<LatencyPoint> merge_profile(
    std::span<const LatencyPoint> measured, std::span<const ProfilePoint> stored,
    std::int64_t executions_min = SlidingQuantiles::kCapacity);

class LatencyProfile {
 public:
  static constexpr int kLearnedSizesMax =
      64;  // batch sizes that get a window of their own beside the loaded ones
  static constexpr int kSamplesBeforeUse = 16;  // of a size without a loaded or interpolated prior

  // `loaded` has rising batch sizes; empty: unknown until kSamplesBeforeUse executions of one size.
  LatencyProfile(std::span<const LatencyPoint> loaded, int batch_max);

  [[nodiscard]] bool known() const noexcept { return known_; }
  // Interpolated between batch sizes, linear per row beyond the largest; never falling with `rows`.
  // 0 if unknown.
  [[nodiscard]] Duration p50(std::int64_t rows) const;
  [[nodiscard]] Duration p99(std::int64_t rows) const;
  // Beyond the p99 by its distance from the p50: what a promise to others is kept by, because one run
  // in a hundred is longer than the p99.
  [[nodiscard]] Duration cautious(std::int64_t rows) const { return 2 * p99(rows) - p50(rows); }
  // The longest of the last 256 executions, interpolated alike; what a watchdog multiplies.
  [[nodiscard]] Duration longest(std::int64_t rows) const;

  // The least p99 time in which `rows` rows can be executed in any split into batches: from below,
  // because it uses the steepest line that lies under the profile (overhead a batch + time a row).
  // 0 if unknown.
  [[nodiscard]] Duration least_work(std::int64_t rows) const;

  // The smallest batch of up to `rows_max` rows whose time a row is at most `gain_min` (0.05: 5 %)
  // above the least of them all: a larger one gains less than that and makes everyone wait longer. Its
  // time is the p50 and what a batch takes of its lane `around` its execution. `rows_max` if unknown.
  // O(batch sizes known).
  [[nodiscard]] int rows_worth(int rows_max, double gain_min, Duration around = {}) const;

  // The line itself, in nanoseconds.
  struct Line {
    double overhead = 0;
    double per_row = 0;
  };
  [[nodiscard]] Line least_line() const noexcept { return {overhead_ns_, per_row_ns_}; }

  void record(int rows, Duration exec, TimePoint now);
  // Whether executions have changed what was loaded.
  [[nodiscard]] bool learned() const noexcept { return learned_; }
  [[nodiscard]] TimePoint last_recorded() const noexcept { return last_recorded_; }
  // Back to the loaded points: what was learned is too old to refuse requests with.
  void forget();

  [[nodiscard]] std::vector<LatencyPoint> points() const;
  [[nodiscard]] std::vector<ProfilePoint> exported() const;

 private:
  struct Knot {
    int batch = 1;
    bool loaded = false;
    LatencyPoint prior;
    Duration p50{};  // of the window, made non-decreasing over the batch sizes
    Duration p99{};
    Duration longest{};
    std::int64_t executions = 0;
    std::unique_ptr<SlidingQuantiles> window;  // made at the first execution
    [[nodiscard]] bool usable() const noexcept;
  };

  Knot* find_or_insert(int batch);
  void refresh();
  void refresh_line();
  [[nodiscard]] double interpolate(std::int64_t rows, Duration Knot::* quantile) const;

  std::vector<Knot> knots_;   // rising batch sizes
  std::vector<Knot> usable_;  // those with a value, without windows: what queries read
  int batch_max_ = 1;         // 1 for models without a batch dimension
  int learned_sizes_ = 0;
  bool known_ = false;
  bool learned_ = false;
  double overhead_ns_ = 0;  // the line under the profile
  double per_row_ns_ = 0;
  TimePoint last_recorded_{};
};

}  // namespace takt::scheduler
