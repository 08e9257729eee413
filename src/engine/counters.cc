// SPDX-License-Identifier: Apache-2.0
#include "engine/counters.h"

namespace takt::engine {

void Counters::submitted() noexcept {
  ++submitted_;
}

void Counters::answered(std::optional<ErrorKind> error) noexcept {
  if (error) {
    ++failed_by_kind_[static_cast<std::size_t>(*error)];
  } else {
    ++completed_;
  }
  ++answered_;
  if (!somebody_waits_) return;
  const std::scoped_lock lock(mutex_);  // not between the waiter's look and its wait
  all_answered_.notify_all();
}

bool Counters::wait_all_answered(Duration wait_max) {
  std::unique_lock lock(mutex_);
  somebody_waits_ = true;
  return all_answered_.wait_for(lock, wait_max, [this] { return answered_ == submitted_; });
}

EngineStats Counters::read() const {
  EngineStats stats;
  // Answers before submissions: a request that is answered in between must not make the answers
  // look more than what was submitted.
  stats.completed = completed_;
  for (std::size_t i = 0; i < failed_by_kind_.size(); ++i)
    stats.failed_by_kind[i] = failed_by_kind_[i];
  stats.answered = stats.completed;
  for (const std::uint64_t failed : stats.failed_by_kind) stats.answered += failed;
  stats.submitted = submitted_;
  stats.refused = refused;
  stats.expired = expired;
  stats.cancelled = cancelled;
  for (std::size_t i = 0; i < shed.size(); ++i) stats.shed_by_class[i] = shed[i];
  stats.batches = batches;
  stats.batches_by_callers = batches_by_callers;
  stats.rows = rows;
  stats.batches_failed = batches_failed;
  stats.retries_memory = retries_memory;
  stats.retries_alone = retries_alone;
  stats.retries_moved = retries_moved;
  stats.outputs_exhausted = outputs_exhausted;
  stats.instances_abandoned = instances_abandoned;
  stats.cancels_dropped = cancels_dropped;
  stats.completions_threw = completions_threw;
  stats.queue_depth = queue_depth;
  stats.batches_running = batches_running;
  return stats;
}

}  // namespace takt::engine
