// SPDX-License-Identifier: Apache-2.0
// A running line: source -> ring -> tasks -> decision -> journal -> sinks. One verdict a frame.
// Thread-safe: start() once; every other member from any thread.
// Owns: the source, the source's thread, the line's thread and the sinks' thread.
#pragma once

#include "core/result.h"
#include "core/time.h"
#include "engine/inference_client.h"
#include "line/event_queue.h"
#include "line/line_config.h"
#include "line/line_plan.h"
#include "line/line_stats.h"
#include "line/sink.h"
#include "line/sink_queue.h"
#include "line/source.h"
#include "memory/frame_ring.h"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace takt::line {

class FrameFlow;

// What a line is connected to. Everything but the source belongs to the caller and outlives it; a
// request that is still running when the line ends keeps only its slots.
struct LineParts {
  std::unique_ptr<Source> source;
  InferenceClient* client = nullptr;
  FrameJournal* journal = nullptr;
  std::vector<Sink*> sinks;  // share one between lines through SerialSink
  std::vector<VerdictObserver*> observers;
  const Clock* clock = nullptr;  // nullptr: the system's
};

class Line {
 public:
  // Errors: as make_plan().
  [[nodiscard]] static Result<std::unique_ptr<Line>> create(LineConfig config,
                                                            std::span<const TaskSpec> tasks,
                                                            LineParts parts);
  ~Line();  // stop() and join()
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  void start();
  // Takes no further frame from the source. Frames that are in already get their verdicts: by their
  // deadlines, or after drain_max without one. Returns at once.
  void stop();
  // True once the source has ended, every frame has its verdict and the sinks are flushed.
  [[nodiscard]] bool wait_for(Duration time) const;
  void join();

  [[nodiscard]] const std::string& name() const noexcept { return config_.name; }
  [[nodiscard]] LineStats stats() const;
  // Frames that the source gives in all; nullopt when it has no end.
  [[nodiscard]] std::optional<std::uint64_t> total() const { return parts_.source->total(); }

 private:
  Line(LineConfig config, LinePlan plan, LineParts parts);
  void pull();
  void run();
  void handle_events(FrameFlow& flow, TimePoint due);
  void take_frames(FrameFlow& flow);
  void look_at_drain(FrameFlow& flow);

  // Constant after construction:
  const LineConfig config_;
  const LinePlan plan_;
  const SystemClock system_clock_;
  const LineParts parts_;
  const Clock& clock_;

  // Each safe for any thread:
  LineProbe probe_;
  SinkQueue sinks_;
  FrameRing<Frame> ring_;
  const std::shared_ptr<EventQueue> events_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> source_ended_ = false;

  // Of the line's thread:
  TimePoint drain_until_ = kNever;  // set when a line without a deadline is stopped
  bool drained_ = false;            // that time is over: frames are answered as they stand

  mutable std::mutex finished_mutex_;
  mutable std::condition_variable finished_changed_;
  bool finished_ = false;  // guarded by finished_mutex_

  std::mutex join_mutex_;
  // Guarded by join_mutex_:
  std::thread source_thread_;
  std::thread line_thread_;
};

}  // namespace takt::line
