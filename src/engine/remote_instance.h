// SPDX-License-Identifier: Apache-2.0
// An instance that lives in a worker: stays the same while the worker's processes come and go.
// Thread-safe: as Instance; current() and set() from any thread.
// Owns: a share of the link to the present incarnation.
#pragma once

#include "core/inference.h"
#include "engine/worker_link.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace takt::engine {

// What keeper and instances share: the link to whichever incarnation serves now (null while none
// does), and how long batches take there.
class CurrentLink {
 public:
  [[nodiscard]] std::shared_ptr<WorkerLink> get() const {
    const std::scoped_lock lock(mutex_);
    return link_;
  }
  void set(std::shared_ptr<WorkerLink> link) {
    const std::scoped_lock lock(mutex_);
    link_.swap(link);
  }

  // The longest of the last executions of a full batch, as the engine has learned it: what the
  // watchdog multiplies. Zero while nothing is known.
  [[nodiscard]] Duration longest() const noexcept { return Duration(longest_ns_); }
  void publish_longest(Duration longest) noexcept { longest_ns_ = longest.count(); }

 private:
  std::atomic<Duration::rep> longest_ns_{0};
  mutable std::mutex mutex_;
  std::shared_ptr<WorkerLink> link_;  // guarded by mutex_
};

class RemoteInstance final : public Instance {
 public:
  RemoteInstance(std::shared_ptr<CurrentLink> link, std::uint32_t index)
      : link_(std::move(link)), index_(index) {}

  [[nodiscard]] Result<void> submit(BatchView batch, BatchCompletion done) override {
    const std::shared_ptr<WorkerLink> link = link_->get();
    if (!link) return fail(ErrorKind::worker_lost, "its worker is being restarted");
    return link->submit(index_, batch, std::move(done));
  }
  // Where outputs must lie for the next submit(); null while no worker serves.
  [[nodiscard]] std::shared_ptr<SlotPool> outputs() const {
    const std::shared_ptr<WorkerLink> link = link_->get();
    return link ? link->outputs() : nullptr;
  }
  void publish_longest(Duration longest) noexcept { link_->publish_longest(longest); }

 private:
  const std::shared_ptr<CurrentLink> link_;
  const std::uint32_t index_;
};

}  // namespace takt::engine
