// SPDX-License-Identifier: Apache-2.0
// A flag that ends waits: once raised, every wait on it returns at once.
// Thread-safe: every member from any thread.
// Owns: nothing outside itself.
#pragma once

#include "core/time.h"

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace takt::line {

class StopSignal {
 public:
  void raise() noexcept {
    {
      const std::scoped_lock lock(mutex_);
      raised_ = true;
    }
    raised_changed_.notify_all();
  }
  [[nodiscard]] bool raised() const noexcept { return raised_; }

  // Waits for `time` of real time; true when the signal was raised.
  bool wait_for(Duration time) {
    std::unique_lock lock(mutex_);
    return raised_changed_.wait_for(lock, time, [this] { return raised_.load(); });
  }

  // Waits until the clock shows `due`; true when the signal was raised instead. A clock that
  // somebody else moves gives no wake-up, so the wait looks again every few milliseconds; it ends
  // to the microsecond with the system's clock.
  bool wait_until(const Clock& clock, TimePoint due) {
    constexpr Duration kLookAgain = std::chrono::milliseconds(5);
    while (!raised()) {
      const Duration left = due - clock.now();
      if (left <= Duration::zero()) return raised();
      wait_for(left < kLookAgain ? left : kLookAgain);
    }
    return true;
  }

 private:
  std::mutex mutex_;
  std::atomic<bool> raised_ = false;
  std::condition_variable raised_changed_;
};

}  // namespace takt::line
