// SPDX-License-Identifier: Apache-2.0
// A bounded queue between a source and a line, with a stated policy for when it is full.
// Thread-safe: any number of producers and consumers.
// Owns: the queued items.
#pragma once

#include "core/result.h"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

namespace takt {

// block: the producer waits; drop_oldest: the oldest queued item makes room; drop_newest: the new
// item is handed back.
enum class RingPolicy : std::uint8_t { block, drop_oldest, drop_newest };

[[nodiscard]] std::string_view to_string(RingPolicy policy) noexcept;
[[nodiscard]] Result<RingPolicy> parse_ring_policy(std::string_view name);

template <typename T>
class FrameRing {
 public:
  // `capacity` >= 1.
  FrameRing(std::size_t capacity, RingPolicy policy)
      : capacity_(capacity == 0 ? 1 : capacity), policy_(policy) {}

  // Returns the item that had to give way (the oldest, the new one, or the new one after close()),
  // for its owner to answer: a dropped frame gets its fallback verdict, it never just disappears.
  [[nodiscard]] std::optional<T> push(T item) {
    std::unique_lock lock(mutex_);
    if (policy_ == RingPolicy::block) {
      room_.wait(lock, [this] { return closed_ || items_.size() < capacity_; });
    }
    if (closed_) return item;
    std::optional<T> gave_way;
    if (items_.size() >= capacity_) {
      ++dropped_;
      if (policy_ == RingPolicy::drop_newest) return item;
      gave_way = std::move(items_.front());
      items_.pop_front();
    }
    items_.push_back(std::move(item));
    lock.unlock();
    available_.notify_one();
    return gave_way;
  }

  // Waits for an item; nullopt once the ring is closed and empty.
  [[nodiscard]] std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    available_.wait(lock, [this] { return closed_ || !items_.empty(); });
    return take(lock);
  }

  [[nodiscard]] std::optional<T> try_pop() {
    std::unique_lock lock(mutex_);
    return take(lock);
  }

  // Wakes everybody; queued items can still be popped, new ones are handed back.
  void close() {
    {
      const std::scoped_lock lock(mutex_);
      closed_ = true;
    }
    available_.notify_all();
    room_.notify_all();
  }

  [[nodiscard]] std::size_t size() const {
    const std::scoped_lock lock(mutex_);
    return items_.size();
  }
  [[nodiscard]] std::uint64_t dropped() const {
    const std::scoped_lock lock(mutex_);
    return dropped_;
  }

 private:
  std::optional<T> take(std::unique_lock<std::mutex>& lock) {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    lock.unlock();
    room_.notify_one();
    return item;
  }

  const std::size_t capacity_;
  const RingPolicy policy_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::deque<T> items_;
  std::uint64_t dropped_ = 0;
  bool closed_ = false;

  std::condition_variable available_;
  std::condition_variable room_;
};

}  // namespace takt
