// SPDX-License-Identifier: Apache-2.0
#include "engine/statistics_recorder.h"

#include <algorithm>
#include <utility>

namespace takt::engine {
namespace {

void add(std::atomic<std::uint64_t>& sum, std::uint64_t value) noexcept {
  sum.fetch_add(value, std::memory_order_relaxed);
}

// Instances need not state their times.
std::uint64_t ns_between(TimePoint from, TimePoint to) noexcept {
  return static_cast<std::uint64_t>(std::max(Duration{}, to - from).count());
}

std::uint64_t get(const std::atomic<std::uint64_t>& sum) noexcept {
  return sum.load(std::memory_order_relaxed);
}

template <typename Buckets>
void count_in(Buckets& buckets, TimePoint from, TimePoint to) noexcept {
  const auto bound = std::ranges::lower_bound(kDurationBounds, to - from);
  add(buckets[static_cast<std::size_t>(bound - kDurationBounds.begin())], 1);
}

template <typename Buckets>
DurationCounts counts_of(const Buckets& buckets) noexcept {
  DurationCounts counts{};
  for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = get(buckets[i]);
  return counts;
}

DurationSum sum_of(std::uint64_t count, const std::atomic<std::uint64_t>& ns) noexcept {
  return {.count = count, .total = Duration(static_cast<Duration::rep>(get(ns)))};
}

}  // namespace

StatisticsRecorder::StatisticsRecorder(int rows_max, std::shared_ptr<const Clock> clock)
    : clock_(std::move(clock)), executions_(static_cast<std::size_t>(rows_max)) {}

void StatisticsRecorder::Parts::add(const BatchTimes& times) noexcept {
  engine::add(input_ns, ns_between(times.exec_start, times.compute_start));
  engine::add(infer_ns, ns_between(times.compute_start, times.compute_end));
  engine::add(output_ns, ns_between(times.compute_end, times.exec_end));
}

void StatisticsRecorder::answered(Outcome outcome, std::optional<ErrorKind> error,
                                  const InferTimings& timings, std::int64_t rows) noexcept {
  const TimePoint now = clock_->now();
  const bool success = outcome == Outcome::success;
  Answers& answers = success ? successes_.answers : others_[static_cast<std::size_t>(outcome) - 1];
  add(answers.count, 1);
  add(answers.ns, ns_between(timings.submitted, now));
  if (error) add(failed_by_kind_[static_cast<std::size_t>(*error)], 1);
  if (!success) return;
  add(successes_.rows, static_cast<std::uint64_t>(rows));
  add(successes_.queue_ns, ns_between(timings.submitted, timings.dispatched));
  successes_.parts.add(timings.batch);
  const BatchTimes& batch = timings.batch;
  count_in(histograms_.request, timings.submitted, now);
  count_in(histograms_.queue, timings.submitted, timings.dispatched);
  count_in(histograms_.compute_input, batch.exec_start, batch.compute_start);
  count_in(histograms_.compute_infer, batch.compute_start, batch.compute_end);
  count_in(histograms_.compute_output, batch.compute_end, batch.exec_end);
}

void StatisticsRecorder::executed(int rows, const BatchTimes& times) noexcept {
  Executions& executions = executions_[static_cast<std::size_t>(rows) - 1];
  add(executions.count, 1);
  executions.parts.add(times);
  successes_.last_ms.store(clock_->wall_time_us() / 1000, std::memory_order_relaxed);
}

ModelStatistics StatisticsRecorder::read() const {
  ModelStatistics read;
  const std::uint64_t count = get(successes_.answers.count);
  read.last_inference =
      std::chrono::milliseconds(successes_.last_ms.load(std::memory_order_relaxed));
  read.inferences = get(successes_.rows);
  read.success = sum_of(count, successes_.answers.ns);
  read.queue = sum_of(count, successes_.queue_ns);
  read.compute_input = sum_of(count, successes_.parts.input_ns);
  read.compute_infer = sum_of(count, successes_.parts.infer_ns);
  read.compute_output = sum_of(count, successes_.parts.output_ns);
  const auto other = [this](Outcome outcome) {
    const Answers& answers = others_[static_cast<std::size_t>(outcome) - 1];
    return sum_of(get(answers.count), answers.ns);
  };
  read.fail = other(Outcome::fail);
  read.cancelled = other(Outcome::cancelled);
  read.refused = other(Outcome::refused);
  read.histograms = {counts_of(histograms_.request), counts_of(histograms_.queue),
                     counts_of(histograms_.compute_input), counts_of(histograms_.compute_infer),
                     counts_of(histograms_.compute_output)};
  for (std::size_t i = 0; i < failed_by_kind_.size(); ++i) {
    read.failed_by_kind[i] = get(failed_by_kind_[i]);
  }
  for (std::size_t i = 0; i < executions_.size(); ++i) {
    const std::uint64_t executed = get(executions_[i].count);
    if (executed == 0) continue;
    const Parts& parts = executions_[i].parts;
    read.executions += executed;
    read.batches.push_back({.rows = static_cast<int>(i) + 1,
                            .compute_input = sum_of(executed, parts.input_ns),
                            .compute_infer = sum_of(executed, parts.infer_ns),
                            .compute_output = sum_of(executed, parts.output_ns)});
  }
  return read;
}

}  // namespace takt::engine
