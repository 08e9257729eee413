// SPDX-License-Identifier: Apache-2.0
#include "line/pacer.h"

#include <cmath>

namespace takt::line {
namespace {
constexpr Duration kBehindMax = std::chrono::seconds(1);
}  // namespace

Pacer::Pacer(double frames_per_second, const Clock& clock, StopSignal& stop) noexcept
    : frames_per_second_(frames_per_second), clock_(clock), stop_(stop) {}

TimePoint Pacer::due() const noexcept {
  // From the count, not by adding periods: rounding does not pile up.
  const double seconds = static_cast<double>(released_) / frames_per_second_;
  return start_ + Duration(std::llround(seconds * 1e9));
}

Duration Pacer::interval() const noexcept {
  if (frames_per_second_ <= 0) return {};
  return Duration(std::llround(1e9 / frames_per_second_));
}

bool Pacer::wait() {
  if (stop_.raised()) return false;
  if (frames_per_second_ <= 0) return true;
  const TimePoint now = clock_.now();
  if (!started_ || now - due() > kBehindMax) {
    if (started_) ++restarts_;
    started_ = true;
    start_ = now;
    released_ = 0;
  }
  if (stop_.wait_until(clock_, due())) return false;
  ++released_;
  return true;
}

}  // namespace takt::line
