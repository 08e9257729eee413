// SPDX-License-Identifier: Apache-2.0
// The bounded queue between a line and its sinks, with the one thread that calls them.
// Thread-safe: push from one thread; stats and size from any; the sinks are called on its thread.
// Owns: the queued verdicts and the thread; the sinks belong to the caller and outlive it.
#pragma once

#include "core/time.h"
#include "line/frame.h"
#include "line/line_stats.h"
#include "line/sink.h"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace takt::line {

// What push() does when there is no room. `skip`: the sinks miss the verdict, which the journal
// has; pixels that exceed their bound are left behind first. `wait`: the caller waits.
enum class WhenFull : std::uint8_t { skip, wait };

struct SinkQueueOptions {
  std::size_t queue_max = 1024;   // verdicts that wait
  std::size_t pictures_max = 16;  // of those, how many may hold their pixels
  WhenFull when_full = WhenFull::skip;
  // A verdict is flushed at most this long after it was written, many at a time under load.
  Duration flush_interval = std::chrono::milliseconds(100);
};

class SinkQueue {
 public:
  enum class Pushed : std::uint8_t { whole, without_pictures, skipped };

  SinkQueue(SinkQueueOptions options, std::span<Sink* const> sinks);
  ~SinkQueue();  // close()
  SinkQueue(const SinkQueue&) = delete;
  SinkQueue& operator=(const SinkQueue&) = delete;

  [[nodiscard]] Pushed push(VerdictRecord record);
  // Writes and flushes what is queued, then ends the thread. Later pushes are skipped.
  void close();

  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] std::vector<SinkStats> stats() const;

 private:
  using RealTime = std::chrono::steady_clock::time_point;
  [[nodiscard]] bool has_room(bool pictures) const;
  void run();
  void write(const VerdictRecord& record);
  void flush();
  void count(std::size_t sink, const Result<void>& result, bool written);

  const SinkQueueOptions options_;
  const std::vector<Sink*> sinks_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::deque<VerdictRecord> queue_;
  std::size_t pictures_ = 0;  // queued or being written with pixels
  std::vector<SinkStats> stats_;
  bool closed_ = false;

  std::condition_variable filled_;
  std::condition_variable emptied_;
  std::thread thread_;
};

}  // namespace takt::line
