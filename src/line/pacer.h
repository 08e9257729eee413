// SPDX-License-Identifier: Apache-2.0
// Releases frames at a rate, by an absolute schedule: one late frame does not delay the others.
// Thread-safe: wait() from one thread; the stop signal from any.
// Owns: nothing; the clock and the signal must outlive it.
#pragma once

#include "core/time.h"
#include "line/stop_signal.h"

#include <cstdint>

namespace takt::line {

class Pacer {
 public:
  // `frames_per_second` 0: no waiting.
  Pacer(double frames_per_second, const Clock& clock, StopSignal& stop) noexcept;

  // Waits until the next frame is due: the first at once, frame k at start + k / rate. Frames that
  // fell behind follow each other at once, up to one second's worth; behind that the schedule
  // starts anew (the process was suspended, or the line can't keep up). False when stopped.
  [[nodiscard]] bool wait();

  [[nodiscard]] Duration interval() const noexcept;  // zero: no waiting

  // How often the schedule started anew.
  [[nodiscard]] std::uint64_t restarts() const noexcept { return restarts_; }

 private:
  [[nodiscard]] TimePoint due() const noexcept;

  const double frames_per_second_;
  const Clock& clock_;
  StopSignal& stop_;
  TimePoint start_{};
  std::uint64_t released_ = 0;  // since start_
  std::uint64_t restarts_ = 0;
  bool started_ = false;
};

}  // namespace takt::line
