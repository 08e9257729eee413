// SPDX-License-Identifier: Apache-2.0
// What the engine counts, and how many requests are not answered yet.
// Thread-safe: every member from any thread.
// Owns: the counts.
#pragma once

#include "engine/options.h"

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

namespace takt::engine {

using Count = std::atomic<std::uint64_t>;

class Counters {
 public:
  void submitted() noexcept;
  // `error` is empty for a result. Called after the completion has returned.
  void answered(std::optional<ErrorKind> error) noexcept;
  // False when some are still unanswered after `wait_max`.
  [[nodiscard]] bool wait_all_answered(Duration wait_max);
  [[nodiscard]] EngineStats read() const;

  // In groups by the threads that write them: a line of the cache that two cores write moves
  // between them each time.
  Count refused{0};
  Count expired{0};
  Count cancelled{0};
  std::array<Count, kPriorityClassCount> shed{};
  Count batches{0};
  Count batches_by_callers{0};
  Count rows{0};
  Count batches_failed{0};
  Count retries_memory{0};
  Count retries_alone{0};
  Count retries_moved{0};
  Count outputs_exhausted{0};
  Count instances_abandoned{0};
  Count cancels_dropped{0};
  Count completions_threw{0};
  // Written by the dispatcher after each round.
  std::atomic<std::size_t> queue_depth{0};
  std::atomic<std::size_t> batches_running{0};

 private:
  alignas(64) Count submitted_{0};
  alignas(64) Count answered_{0};
  Count completed_{0};
  std::array<Count, kErrorKindCount> failed_by_kind_{};

  std::atomic<bool> somebody_waits_{false};
  std::mutex mutex_;
  std::condition_variable all_answered_;
};

}  // namespace takt::engine
