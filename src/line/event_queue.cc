// SPDX-License-Identifier: Apache-2.0
#include "line/event_queue.h"

#include <utility>

namespace takt::line {

void EventQueue::post(Completion completion) {
  {
    const std::scoped_lock lock(mutex_);
    if (closed_) return;
    events_.completions.push_back(std::move(completion));
  }
  filled_.notify_one();
}

void EventQueue::post_dropped(Frame frame) {
  {
    std::unique_lock lock(mutex_);
    emptied_.wait(lock, [this] { return closed_ || events_.dropped.size() < dropped_max_; });
    if (closed_) return;
    events_.dropped.push_back(std::move(frame));
  }
  filled_.notify_one();
}

void EventQueue::wake() {
  {
    const std::scoped_lock lock(mutex_);
    woken_ = true;
  }
  filled_.notify_one();
}

EventQueue::Events EventQueue::wait(const Clock& clock, TimePoint due) {
  // Bounds the wait where the clock jumps or somebody else moves it.
  constexpr Duration kLookAgain = std::chrono::seconds(1);
  const auto ready = [this] {
    return woken_ || closed_ || !events_.completions.empty() || !events_.dropped.empty();
  };
  std::unique_lock lock(mutex_);
  if (!ready()) {
    const TimePoint now = clock.now();
    const Duration left = due == kNever || due - now > kLookAgain ? kLookAgain : due - now;
    if (left > Duration::zero()) filled_.wait_for(lock, left, ready);
  }
  woken_ = false;
  Events events = std::exchange(events_, {});
  lock.unlock();
  if (!events.dropped.empty()) emptied_.notify_all();
  return events;
}

void EventQueue::close() {
  Events events;
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    events = std::exchange(events_, {});
  }
  filled_.notify_all();
  emptied_.notify_all();
}

}  // namespace takt::line
