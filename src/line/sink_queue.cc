// SPDX-License-Identifier: Apache-2.0
#include "line/sink_queue.h"

#include <utility>

namespace takt::line {

SinkQueue::SinkQueue(SinkQueueOptions options, std::span<Sink* const> sinks)
    : options_(options), sinks_(sinks.begin(), sinks.end()), stats_(sinks.size()) {
  for (std::size_t i = 0; i < sinks_.size(); ++i) stats_[i].name = sinks_[i]->name();
  if (!sinks_.empty()) thread_ = std::thread([this] { run(); });
}

SinkQueue::~SinkQueue() {
  close();
}

bool SinkQueue::has_room(bool pictures) const {
  return queue_.size() < options_.queue_max && (!pictures || pictures_ < options_.pictures_max);
}

SinkQueue::Pushed SinkQueue::push(VerdictRecord record) {
  if (sinks_.empty()) return Pushed::whole;
  bool pictures = !record.images.empty();
  bool left_behind = false;
  if (pictures && options_.pictures_max == 0) {
    pictures = false;
    left_behind = true;
  }
  std::unique_lock lock(mutex_);
  if (options_.when_full == WhenFull::wait) {
    emptied_.wait(lock, [&] { return closed_ || has_room(pictures); });
  } else if (pictures && !has_room(true)) {
    pictures = false;
    left_behind = true;
  }
  if (closed_ || !has_room(pictures)) return Pushed::skipped;
  if (pictures) {
    ++pictures_;
  } else {
    record.images.clear();
  }
  queue_.push_back(std::move(record));
  lock.unlock();
  filled_.notify_one();
  return left_behind ? Pushed::without_pictures : Pushed::whole;
}

void SinkQueue::close() {
  {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
  }
  filled_.notify_all();
  emptied_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::size_t SinkQueue::size() const {
  const std::scoped_lock lock(mutex_);
  return queue_.size();
}

std::vector<SinkStats> SinkQueue::stats() const {
  const std::scoped_lock lock(mutex_);
  return stats_;
}

void SinkQueue::run() {
  bool unflushed = false;
  RealTime flush_due{};  // real time: it bounds a delay, nothing is decided by it
  std::unique_lock lock(mutex_);
  while (true) {
    const auto ready = [this] { return closed_ || !queue_.empty(); };
    if (!unflushed) {
      filled_.wait(lock, ready);
    } else if (!filled_.wait_until(lock, flush_due, ready) ||
               std::chrono::steady_clock::now() >= flush_due) {
      lock.unlock();
      flush();
      unflushed = false;
      lock.lock();
      continue;
    }
    if (queue_.empty()) break;  // closed
    VerdictRecord record = std::move(queue_.front());
    queue_.pop_front();
    const bool pictures = !record.images.empty();
    lock.unlock();
    emptied_.notify_one();
    write(record);
    if (!std::exchange(unflushed, true)) {
      flush_due = std::chrono::steady_clock::now() + options_.flush_interval;
    }
    record.images.clear();
    lock.lock();
    if (pictures) {
      --pictures_;
      emptied_.notify_one();
    }
  }
  lock.unlock();
  flush();
}

void SinkQueue::write(const VerdictRecord& record) {
  for (std::size_t i = 0; i < sinks_.size(); ++i) count(i, sinks_[i]->write(record), true);
}

void SinkQueue::flush() {
  for (std::size_t i = 0; i < sinks_.size(); ++i) count(i, sinks_[i]->flush(), false);
}

void SinkQueue::count(std::size_t sink, const Result<void>& result, bool written) {
  const std::scoped_lock lock(mutex_);
  if (!result) {
    ++stats_[sink].failures;
    stats_[sink].last_error = result.error().message;
  } else if (written) {
    ++stats_[sink].written;
  }
}

}  // namespace takt::line
