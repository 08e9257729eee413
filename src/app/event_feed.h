// SPDX-License-Identifier: Apache-2.0
// Events of the engine on their way to the terminal: a few lines a second of each kind, the rest as
// a count, so that a storm of one kind neither floods the log nor hides the others.
// Thread-safe: post from any thread, where it waits for nothing but other posts; take from one.
// Owns: the lines that nobody has taken yet.
#pragma once

#include "core/time.h"
#include "engine/events.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace takt::app {

class EventFeed {
 public:
  static constexpr int kLinesPerSecondMax = 5;     // of one kind
  static constexpr std::size_t kWaitingMax = 256;  // events that nobody has taken

  void post(const engine::Event& event);
  // For EngineOptions; the feed must outlive the engine.
  [[nodiscard]] engine::EventObserver observer() {
    return [this](const engine::Event& event) { post(event); };
  }

  // What there is to print at `now`, oldest first: "14:03:22.180 worker_lost defects on cpu: ...",
  // and "and 12 more worker_lost" when a second of that kind is over. `all` doesn't wait for that.
  [[nodiscard]] std::vector<std::string> take(TimePoint now, bool all = false);

 private:
  struct Second {  // the present one of one kind
    TimePoint begin{};
    int lines = 0;
    std::uint64_t more = 0;
  };
  [[nodiscard]] bool over(const Second& second, TimePoint now) const {
    return now - second.begin >= std::chrono::seconds(1);
  }

  std::mutex mutex_;
  // Guarded by mutex_:
  std::vector<engine::Event> waiting_;
  std::array<Second, engine::kEventKindCount> seconds_;
};

}  // namespace takt::app
