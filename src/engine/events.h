// SPDX-License-Identifier: Apache-2.0
// What happened to the engine and its workers that a person should know of: each step down the
// ladder of degradation and each step back up.
// Thread-safe: Events from any thread; the rest are plain values.
// Owns: the counts and the observer.
#pragma once

#include "core/time.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace takt::engine {

enum class EventKind : std::uint8_t {
  worker_lost,          // a process ended, hung or had to be ended
  worker_back,          // the next one serves
  circuit_opened,       // it failed again and again: nothing is started there for a while
  circuit_closed,       // a probe served
  device_restarted,     // a device was poisoned: all its workers start again
  batch_limit_lowered,  // memory ran out
  batch_limit_raised,   // a quiet time later
  requests_shed,        // gave way to more urgent ones, because their queue was full
  lane_reserved,        // for an announced arrival; counted, not told
};
inline constexpr int kEventKindCount = 9;

// Stable lower-case name for logs, JSON and metrics.
[[nodiscard]] std::string_view to_string(EventKind kind) noexcept;

struct Event {
  EventKind kind = EventKind::worker_lost;
  TimePoint at{};
  std::string name{};       // the task of a worker; a model and its version otherwise
  std::string device{};     // its name; of requests shed all of the model's, "a, b"
  std::string text{};       // what happened and what to do, on one line
  std::uint64_t count = 1;  // requests lost with a worker or shed; workers of a restarted device
  int rows = 0;             // of a batch limit, as it is now
  Duration after{};         // worker_back: since the end of the one before
};

// Called on the thread on which it happened, several at a time: must be short, must neither wait nor
// throw, and must not call back into the engine or its supervisor.
using EventObserver = std::function<void(const Event&)>;

// By EventKind: how often; of requests_shed how many requests.
using EventCounts = std::array<std::uint64_t, kEventKindCount>;

class Events {
 public:
  explicit Events(EventObserver observer) : observer_(std::move(observer)) {}

  void tell(const Event& event);
  void count(EventKind kind, std::uint64_t times = 1) noexcept {
    counts_[static_cast<std::size_t>(kind)] += times;
  }
  [[nodiscard]] EventCounts counts() const;

 private:
  const EventObserver observer_;
  std::array<std::atomic<std::uint64_t>, kEventKindCount> counts_{};
};

}  // namespace takt::engine
