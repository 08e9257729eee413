// SPDX-License-Identifier: Apache-2.0
// Time as the whole program sees it: monotonic nanoseconds, injected; wall time only for records.
// Thread-safe: every member of Clock may be called from any thread.
// Owns: nothing.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace takt {

using Duration = std::chrono::nanoseconds;

struct MonotonicTag {
  using rep = std::int64_t;
  using period = std::nano;
  using duration = Duration;
  using time_point = std::chrono::time_point<MonotonicTag, Duration>;
  static constexpr bool is_steady = true;
};
// Nanoseconds of CLOCK_MONOTONIC; comparable between processes of one boot.
using TimePoint = std::chrono::time_point<MonotonicTag, Duration>;
inline constexpr TimePoint kNever = TimePoint::max();

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual TimePoint now() const noexcept = 0;
  // Microseconds since the Unix epoch, for records and displays; may jump.
  [[nodiscard]] virtual std::int64_t wall_time_us() const noexcept = 0;
};

class SystemClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override {
    return TimePoint(
        std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()));
  }
  [[nodiscard]] std::int64_t wall_time_us() const noexcept override {
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
};

// A clock that a test or a simulator moves.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(TimePoint start = TimePoint{}) : now_ns_(start.time_since_epoch().count()) {}
  [[nodiscard]] TimePoint now() const noexcept override {
    return TimePoint(Duration(now_ns_.load()));
  }
  [[nodiscard]] std::int64_t wall_time_us() const noexcept override {
    return now_ns_.load() / 1000;
  }
  void advance(Duration by) noexcept { now_ns_.fetch_add(by.count()); }
  void set(TimePoint to) noexcept { now_ns_.store(to.time_since_epoch().count()); }

 private:
  std::atomic<std::int64_t> now_ns_;
};

[[nodiscard]] inline std::int64_t to_us(Duration duration) noexcept {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

}  // namespace takt
