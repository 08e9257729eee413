// SPDX-License-Identifier: Apache-2.0
#include "app/summary.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include <fstream>

namespace takt::app {
namespace {

using nlohmann::json;

double ms(Duration duration) {
  return static_cast<double>(to_us(duration)) / 1000.0;
}

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

std::string line_table(const std::string& name, const line::LineStats& stats, double seconds) {
  std::string text = fmt::format(
      "line {}\n"
      "  frames       {:>8}   {:.1f}/s over {:.1f} s\n"
      "  verdicts     {:>8}   pass {}  reject {}  review {}\n"
      "  by models    {:>8}   {:.2f} %  (fallback {}, dropped {}, damaged {}, restart {})\n"
      "  latency                p50 {:.1f} ms  p99 {:.1f} ms  max {:.1f} ms\n"
      "  behind deadline {:>5}   p99.9 {:.2f} ms  max {:.2f} ms\n",
      name, stats.accepted, static_cast<double>(stats.verdicts) / seconds, seconds, stats.verdicts,
      stats.pass, stats.reject, stats.review, stats.verdicts - stats.by_fallback,
      percent(stats.verdicts - stats.by_fallback, stats.verdicts), stats.by_fallback, stats.dropped,
      stats.damaged, stats.restarted, ms(stats.latency.p50), ms(stats.latency.p99),
      ms(stats.latency.max), stats.late_verdicts, ms(stats.lateness.p999), ms(stats.lateness.max));
  text += fmt::format("  {:<16} {:>8} {:>6} {:>6} {:>9} {:>10} {:>10} {:>11}\n", "task", "answered",
                      "late", "failed", "requests", "p50", "p99", "model p50");
  for (const line::TaskStats& task : stats.tasks) {
    text += fmt::format("  {:<16} {:>8} {:>6} {:>6} {:>9} {:>7.1f} ms {:>7.1f} ms {:>8.1f} ms\n",
                        task.task, task.answered, task.late, task.failed, task.requests,
                        ms(task.latency.p50), ms(task.latency.p99), ms(task.compute.p50));
  }
  for (const line::TaskStats& task : stats.tasks) {
    if (task.fallback_asked == 0) continue;
    text += fmt::format("  {}: its fallback was asked for {} frames and answered {}\n", task.task,
                        task.fallback_asked, task.fallback_answered);
  }
  for (const line::SinkStats& sink : stats.sinks) {
    text += fmt::format("  sink {:<11} {:>8} written, {} failed {}\n", sink.name, sink.written,
                        sink.failures, sink.last_error);
  }
  return text;
}

std::string score_table(const Score& score) {
  return fmt::format(
      "score against the simulator's own defects ({} boards judged by models)\n"
      "  defects      {:>8}   found {} ({:.2f} %), under another name {}, missed {}\n"
      "  false alarms {:>8}   escapes {} boards, overkill {} boards\n",
      score.boards_judged, score.defects, score.defects_found,
      percent(score.defects_found, score.defects), score.defects_wrong_class,
      score.defects - score.defects_found - score.defects_wrong_class, score.false_alarms,
      score.escapes, score.overkill);
}

json quantiles_json(const line::Quantiles& quantiles) {
  return {{"count", quantiles.count},         {"mean_us", to_us(quantiles.mean)},
          {"p50_us", to_us(quantiles.p50)},   {"p99_us", to_us(quantiles.p99)},
          {"p999_us", to_us(quantiles.p999)}, {"max_us", to_us(quantiles.max)}};
}

json line_json(const line::LineStats& stats) {
  json out{{"accepted", stats.accepted},
           {"verdicts", stats.verdicts},
           {"pass", stats.pass},
           {"review", stats.review},
           {"reject", stats.reject},
           {"by_fallback", stats.by_fallback},
           {"dropped", stats.dropped},
           {"damaged", stats.damaged},
           {"restarted", stats.restarted},
           {"late_results", stats.late_results},
           {"late_verdicts", stats.late_verdicts},
           {"journal_failures", stats.journal_failures},
           {"sinks_skipped", stats.sinks_skipped},
           {"latency", quantiles_json(stats.latency)},
           {"lateness", quantiles_json(stats.lateness)},
           {"tasks", json::object()},
           {"sinks", json::object()}};
  for (const line::TaskStats& task : stats.tasks) {
    out["tasks"][task.task] = {{"answered", task.answered},
                               {"late", task.late},
                               {"failed", task.failed},
                               {"not_run", task.not_run},
                               {"fallback_asked", task.fallback_asked},
                               {"fallback_answered", task.fallback_answered},
                               {"requests", task.requests},
                               {"latency", quantiles_json(task.latency)},
                               {"compute", quantiles_json(task.compute)}};
  }
  for (const line::SinkStats& sink : stats.sinks) {
    out["sinks"][sink.name] = {{"written", sink.written}, {"failures", sink.failures}};
  }
  return out;
}

json events_json(const engine::EventCounts& events) {
  json out = json::object();
  for (std::size_t i = 0; i < events.size(); ++i) {
    out[std::string(to_string(static_cast<engine::EventKind>(i)))] = events[i];
  }
  return out;
}

json shed_json(const EngineStats& stats) {
  json out = json::object();
  for (std::size_t i = 0; i < stats.shed_by_class.size(); ++i) {
    out[std::string(to_string(static_cast<PriorityClass>(i)))] = stats.shed_by_class[i];
  }
  return out;
}

json limits_json(const EngineStats& stats) {
  json out = json::array();
  for (const BatchLimitStatus& limit : stats.batch_limits) {
    out.push_back({{"model", limit.model},
                   {"device", limit.device},
                   {"rows", limit.rows},
                   {"rows_max", limit.rows_max}});
  }
  return out;
}

json engine_json(const EngineStats& stats) {
  return {{"submitted", stats.submitted},
          {"answered", stats.answered},
          {"completed", stats.completed},
          {"refused", stats.refused},
          {"expired", stats.expired},
          {"cancelled", stats.cancelled},
          {"batches", stats.batches},
          {"batches_by_callers", stats.batches_by_callers},
          {"rows", stats.rows},
          {"batches_failed", stats.batches_failed},
          {"retries_memory", stats.retries_memory},
          {"retries_moved", stats.retries_moved},
          {"shed", shed_json(stats)},
          {"events", events_json(stats.events)},
          {"batch_limits", limits_json(stats)},
          {"slots_in_use", stats.slots_in_use}};
}

double milliseconds(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

// Only what is worth a person's attention: a worker that ran from start to end says nothing.
std::string worker_line(const engine::WorkerStatus& worker) {
  if (worker.restarts == 0) return {};
  return fmt::format(
      "worker {} on {}: restarted {} times ({} hung, circuit opened {} times), back after {:.0f} "
      "ms, at "
      "most {:.0f} ms; the last time: {}\n",
      worker.name, worker.device, worker.restarts, worker.hangs, worker.circuits_opened,
      milliseconds(worker.recovery_last), milliseconds(worker.recovery_max), worker.last_error);
}

// Likewise: nothing when the engine had no need to give anything up.
std::string engine_lines(const EngineStats& stats) {
  std::string text;
  if (const std::string events = to_line(stats.events); !events.empty()) {
    text += "events: " + events + "\n";
  }
  std::string shed;
  for (std::size_t i = 0; i < stats.shed_by_class.size(); ++i) {
    if (stats.shed_by_class[i] == 0) continue;
    shed += fmt::format("{}{} {}", shed.empty() ? "" : ", ",
                        to_string(static_cast<PriorityClass>(i)), stats.shed_by_class[i]);
  }
  if (!shed.empty()) text += "shed for more urgent requests: " + shed + "\n";
  for (const BatchLimitStatus& limit : stats.batch_limits) {
    text += fmt::format("memory: batches of {} on {} have at most {} of {} rows\n", limit.model,
                        limit.device, limit.rows, limit.rows_max);
  }
  return text;
}

json worker_json(const engine::WorkerStatus& worker) {
  return {{"name", worker.name},
          {"model", worker.model},
          {"device", worker.device},
          {"state", engine::to_string(worker.state)},
          {"restarts", worker.restarts},
          {"hangs", worker.hangs},
          {"circuits_opened", worker.circuits_opened},
          {"recovery_last_ms", milliseconds(worker.recovery_last)},
          {"recovery_max_ms", milliseconds(worker.recovery_max)},
          {"peak_rss_bytes", worker.peak_rss_bytes},
          {"last_error", worker.last_error}};
}

}  // namespace

std::size_t peak_rss_bytes(const Counts& counts) {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  std::size_t bytes = static_cast<std::size_t>(usage.ru_maxrss) * 1024;
  for (const engine::WorkerStatus& worker : counts.workers) bytes += worker.peak_rss_bytes;
  return bytes;
}

std::string to_line(const engine::EventCounts& events) {
  std::string text;
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (events[i] == 0) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ",
                        to_string(static_cast<engine::EventKind>(i)), events[i]);
  }
  return text;
}

std::string to_table(const Summary& summary) {
  std::string text;
  for (const auto& [name, stats] : summary.counts.lines) {
    text += line_table(name, stats, summary.seconds);
  }
  if (summary.score && summary.score->boards_judged > 0) text += score_table(*summary.score);
  const line::JournalStats& journal = summary.counts.journal;
  text += fmt::format("journal: {} accepted, {} verdicts", journal.accepted, journal.verdicts);
  if (summary.counts.store)
    text += fmt::format("; store: {} verdicts", summary.counts.store->stored);
  text += fmt::format("; peak memory {} MiB\n", peak_rss_bytes(summary.counts) >> 20U);
  text += engine_lines(summary.counts.engine);
  for (const engine::WorkerStatus& worker : summary.counts.workers) {
    text += worker_line(worker);
  }
  return text;
}

Result<void> write_json(const Summary& summary, const std::filesystem::path& file) {
  const line::JournalStats& journal = summary.counts.journal;
  json out{{"seconds", summary.seconds},
           {"engine", engine_json(summary.counts.engine)},
           {"journal",
            {{"accepted", journal.accepted},
             {"verdicts", journal.verdicts},
             {"unacknowledged", journal.unacknowledged},
             {"refused", journal.refused},
             {"shortened", journal.shortened}}},
           {"peak_rss_bytes", peak_rss_bytes(summary.counts)}};
  for (const engine::WorkerStatus& worker : summary.counts.workers) {
    out["workers"].push_back(worker_json(worker));
  }
  for (const auto& [name, stats] : summary.counts.lines) out["lines"][name] = line_json(stats);
  if (const auto& store = summary.counts.store) {
    out["store"] = {{"stored", store->stored},
                    {"failures", store->failures},
                    {"left_to_journal", store->left_to_journal}};
  }
  if (const auto& score = summary.score) {
    out["score"] = {{"boards", score->boards},
                    {"boards_judged", score->boards_judged},
                    {"defects", score->defects},
                    {"defects_found", score->defects_found},
                    {"defects_wrong_class", score->defects_wrong_class},
                    {"false_alarms", score->false_alarms},
                    {"escapes", score->escapes},
                    {"overkill", score->overkill}};
  }
  std::ofstream stream(file);
  stream << out.dump(2) << '\n';
  stream.flush();
  if (!stream) return fail(ErrorKind::unavailable, file.string() + ": can't write the summary");
  return {};
}

}  // namespace takt::app
