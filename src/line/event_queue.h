// SPDX-License-Identifier: Apache-2.0
// What other threads tell a line's thread: answers of the engine, frames that gave way, wake-ups.
// Thread-safe: every member from any thread; wait() from the line's thread only.
// Owns: the events that wait. Completions are bounded by the requests in flight, frames by their
// maximum.
#pragma once

#include "core/ids.h"
#include "core/time.h"
#include "engine/inference_client.h"
#include "line/frame.h"

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

namespace takt::line {

// The answer to one request of a frame.
struct Completion {
  FrameSeq seq;
  std::size_t task = 0;
  std::size_t request = 0;
  Result<InferResult> result;
};

class EventQueue {
 public:
  struct Events {
    std::vector<Completion> completions;
    std::vector<Frame> dropped;
  };

  explicit EventQueue(std::size_t dropped_max) : dropped_max_(dropped_max) {}

  // After close() the answer is thrown away here, and its slots with it.
  void post(Completion completion);
  // Waits while dropped_max frames wait already: a source without end can't fill the memory.
  void post_dropped(Frame frame);
  // There is something to look at elsewhere (the ring, a stop).
  void wake();

  // Waits until there is an event or a wake-up, at most until the clock shows `due`.
  [[nodiscard]] Events wait(const Clock& clock, TimePoint due);
  void close();

 private:
  const std::size_t dropped_max_;
  std::mutex mutex_;
  // Guarded by mutex_:
  Events events_;
  bool woken_ = false;
  bool closed_ = false;

  std::condition_variable filled_;
  std::condition_variable emptied_;
};

}  // namespace takt::line
