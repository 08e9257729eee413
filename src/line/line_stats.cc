// SPDX-License-Identifier: Apache-2.0
#include "line/line_stats.h"

namespace takt::line {

Quantiles quantiles(const LatencyHistogram& histogram) {
  return {.count = histogram.count(),
          .mean = histogram.mean(),
          .p50 = histogram.quantile(0.5),
          .p99 = histogram.quantile(0.99),
          .p999 = histogram.quantile(0.999),
          .max = histogram.max()};
}

LineProbe::LineProbe(std::span<const std::string> tasks) : tasks_(tasks.size()) {
  for (std::size_t i = 0; i < tasks.size(); ++i) tasks_[i].counts.task = tasks[i];
}

void LineProbe::accepted() {
  const std::scoped_lock lock(mutex_);
  ++counts_.accepted;
}

void LineProbe::dropped() {
  const std::scoped_lock lock(mutex_);
  ++counts_.dropped;
}

void LineProbe::damaged() {
  const std::scoped_lock lock(mutex_);
  ++counts_.damaged;
}

void LineProbe::restarted() {
  const std::scoped_lock lock(mutex_);
  ++counts_.restarted;
}

void LineProbe::late_result() {
  const std::scoped_lock lock(mutex_);
  ++counts_.late_results;
}

void LineProbe::journal_failed(const Error& error) {
  const std::scoped_lock lock(mutex_);
  ++counts_.journal_failures;
  counts_.journal_error = error.message;
}

void LineProbe::verdict(const VerdictRecord& record, bool has_deadline) {
  const std::scoped_lock lock(mutex_);
  ++counts_.verdicts;
  if (record.verdict == Verdict::pass) ++counts_.pass;
  if (record.verdict == Verdict::review) ++counts_.review;
  if (record.verdict == Verdict::reject) ++counts_.reject;
  if (record.by_fallback) ++counts_.by_fallback;
  latency_.record(record.latency);
  if (!has_deadline) return;
  lateness_.record(record.lateness);
  if (record.lateness > Duration::zero()) ++counts_.late_verdicts;
}

void LineProbe::task(std::size_t index, TaskState state, const TaskReport& report) {
  const std::scoped_lock lock(mutex_);
  TaskCounts& task = tasks_[index];
  task.counts.requests += static_cast<std::uint64_t>(report.requests);
  if (report.stand_in) {
    ++task.counts.fallback_asked;
    if (state == TaskState::answered) ++task.counts.fallback_answered;
  }
  switch (state) {
    case TaskState::answered:
      ++task.counts.answered;
      break;
    case TaskState::late:
      ++task.counts.late;
      return;
    case TaskState::failed:
      ++task.counts.failed;
      return;
    case TaskState::not_run:
      ++task.counts.not_run;
      return;
  }
  if (report.requests == 0) return;
  task.latency.record(report.finished - report.submitted);
  task.compute.record(report.compute);
}

void LineProbe::crops_left_out(std::size_t task, std::size_t crops) {
  const std::scoped_lock lock(mutex_);
  tasks_[task].counts.crops_left_out += crops;
}

void LineProbe::sinks_skipped() {
  const std::scoped_lock lock(mutex_);
  ++counts_.sinks_skipped;
}

void LineProbe::pictures_skipped() {
  const std::scoped_lock lock(mutex_);
  ++counts_.pictures_skipped;
}

LineStats LineProbe::stats() const {
  const std::scoped_lock lock(mutex_);
  LineStats stats = counts_;
  stats.frames_in_flight = static_cast<std::size_t>(counts_.accepted - counts_.verdicts);
  stats.latency = quantiles(latency_);
  stats.lateness = quantiles(lateness_);
  for (const TaskCounts& task : tasks_) {
    stats.tasks.push_back(task.counts);
    stats.tasks.back().latency = quantiles(task.latency);
    stats.tasks.back().compute = quantiles(task.compute);
  }
  return stats;
}

}  // namespace takt::line
