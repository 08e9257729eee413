// SPDX-License-Identifier: Apache-2.0
// What a line counts and measures, and the probe that collects it.
// Thread-safe: every member of LineProbe from any thread; LineStats is a plain value.
// Owns: the counts of one line.
#pragma once

#include "core/time.h"
#include "line/findings.h"
#include "line/frame.h"
#include "line/latency_histogram.h"

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace takt::line {

struct Quantiles {
  std::uint64_t count = 0;
  Duration mean{};
  Duration p50{};
  Duration p99{};
  Duration p999{};
  Duration max{};
};

[[nodiscard]] Quantiles quantiles(const LatencyHistogram& histogram);

// Frames by what became of the task: answered + late + failed + not_run = frames that were judged.
struct TaskStats {
  std::string task;
  std::uint64_t answered = 0;
  std::uint64_t late = 0;
  std::uint64_t failed = 0;
  std::uint64_t not_run = 0;
  std::uint64_t fallback_asked = 0;     // its own model failed
  std::uint64_t fallback_answered = 0;  // of answered: by its fallback's model
  std::uint64_t requests = 0;
  std::uint64_t crops_left_out = 0;  // above crops_max
  Quantiles latency;                 // first submit to last answer
  Quantiles compute;                 // inside the model, summed over the task's requests
};

struct SinkStats {
  std::string name;
  std::uint64_t written = 0;
  std::uint64_t failures = 0;
  std::string last_error;  // empty: none yet
};

struct LineStats {
  std::uint64_t accepted = 0;  // = verdicts + frames_in_flight
  std::uint64_t verdicts = 0;  // = pass + review + reject
  std::uint64_t pass = 0;
  std::uint64_t review = 0;
  std::uint64_t reject = 0;
  std::uint64_t by_fallback = 0;       // verdicts without every model's answer
  std::uint64_t dropped = 0;           // frames that gave way
  std::uint64_t damaged = 0;           // frames that could not be read
  std::uint64_t restarted = 0;         // frames of an earlier run, answered with `restart`
  std::uint64_t late_results = 0;      // answers that came after their frame's verdict
  std::uint64_t late_verdicts = 0;     // verdicts behind their deadline
  std::uint64_t journal_failures = 0;  // frames or verdicts that the journal did not take
  std::string journal_error;           // the latest
  std::uint64_t sinks_skipped = 0;     // verdicts that found the sink queue full
  std::uint64_t pictures_skipped = 0;  // verdicts whose pixels were not kept for the sinks
  std::size_t frames_in_flight = 0;
  std::size_t frames_waiting = 0;  // in the ring
  std::size_t sink_queue = 0;      // verdicts that wait for the sinks
  Quantiles latency;               // capture to verdict
  Quantiles lateness;              // behind the deadline; zero when in time
  std::vector<TaskStats> tasks;
  std::vector<SinkStats> sinks;
};

class LineProbe {
 public:
  explicit LineProbe(std::span<const std::string> tasks);

  void accepted();
  void dropped();
  void damaged();
  void restarted();
  void late_result();
  void journal_failed(const Error& error);
  void verdict(const VerdictRecord& record, bool has_deadline);
  void task(std::size_t index, TaskState state, const TaskReport& report);
  void crops_left_out(std::size_t task, std::size_t crops);
  void sinks_skipped();
  void pictures_skipped();

  // Everything but frames_waiting, sink_queue and sinks, which others know.
  [[nodiscard]] LineStats stats() const;

 private:
  struct TaskCounts {
    TaskStats counts;
    LatencyHistogram latency;
    LatencyHistogram compute;
  };

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  LineStats counts_;
  LatencyHistogram latency_;
  LatencyHistogram lateness_;
  std::vector<TaskCounts> tasks_;
};

}  // namespace takt::line
