// SPDX-License-Identifier: Apache-2.0
// The rows that a batch of one model may have on one device: half after it ran out of memory,
// doubled again after each quiet time.
// Thread-safe: no; owned by one scheduler.
// Owns: plain values.
#pragma once

#include "core/time.h"

#include <algorithm>

namespace takt::scheduler {

class BatchLimit {
 public:
  explicit BatchLimit(int rows_max) : rows_max_(rows_max), rows_(rows_max) {}

  [[nodiscard]] int rows() const noexcept { return rows_; }
  [[nodiscard]] int rows_max() const noexcept { return rows_max_; }
  [[nodiscard]] bool lowered() const noexcept { return rows_ < rows_max_; }
  // When the next doubling is due; kNever unless lowered.
  [[nodiscard]] TimePoint raise_at() const noexcept { return raise_at_; }

  // A run of `rows_failed` rows was too much at `now`. Half of it is the limit from now on: not half
  // of the limit, because two runs that fail at the same time are one shortage. False when the limit
  // stayed, though the quiet time begins anew.
  bool lower(int rows_failed, TimePoint now, Duration quiet) {
    const int before = rows_;
    rows_ = std::min(rows_, (rows_failed + 1) / 2);
    if (lowered()) raise_at_ = now + quiet;
    return rows_ < before;
  }
  void raise(TimePoint now, Duration quiet) {
    rows_ = std::min(rows_max_, 2 * rows_);
    raise_at_ = lowered() ? now + quiet : kNever;
  }

 private:
  int rows_max_;
  int rows_;
  TimePoint raise_at_ = kNever;
};

}  // namespace takt::scheduler
