// SPDX-License-Identifier: Apache-2.0
#include "app/live_view.h"

#include "app/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace takt::app {
namespace {

constexpr std::size_t kRecentMax = 8;
constexpr std::size_t kEventWidth = 110;
constexpr const char* kReset = "\x1b[0m";

const char* color_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass:
      return "\x1b[32m";
    case Verdict::review:
      return "\x1b[33m";
    case Verdict::reject:
      return "\x1b[31m";
  }
  return kReset;
}

std::string bar(double share, std::size_t cells) {
  const auto filled =
      static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(cells));
  return std::string(filled, '#') + std::string(cells - filled, '.');
}

double ms(Duration duration) {
  return static_cast<double>(to_us(duration)) / 1000.0;
}

}  // namespace

LiveView::LiveView(std::string title) : title_(std::move(title)) {
  std::fputs("\x1b[?25l", stdout);  // hide the cursor
}

LiveView::~LiveView() {
  close();
}

void LiveView::close() {
  if (std::exchange(drawn_lines_, -1) < 0) return;
  std::fputs("\x1b[?25h", stdout);
  std::fflush(stdout);
}

void LiveView::on_verdict(const line::VerdictRecord& record) {
  constexpr std::size_t kReasonWidth = 58;
  const std::string reason = record.reasons.empty() ? "" : record.reasons.front();
  std::string text = fmt::format("  {:<16} {}{:<7}{} {:<18} {:>6.0f} ms  {}", record.frame,
                                 color_of(record.verdict), to_string(record.verdict), kReset,
                                 record.route, ms(record.latency), reason.substr(0, kReasonWidth));
  const std::scoped_lock lock(mutex_);
  recent_.push_front(std::move(text));
  if (recent_.size() > kRecentMax) recent_.pop_back();
}

std::string LiveView::picture(const line::LineStats& stats, const EngineStats& engine,
                              const Score& score, double elapsed_s, double total_s) {
  std::string text = fmt::format(
      "{}  [{}] {:.0f} / {:.0f} s\n\n"
      "  boards {:<7} pass {:<6} reject {:<6} review {:<6} by fallback {}\n"
      "  rate {:>5.1f}/s   latency p50 {:>6.1f} ms  p99 {:>6.1f} ms   in flight {}  waiting {}\n",
      title_, bar(elapsed_s / total_s, 30), elapsed_s, total_s, stats.verdicts, stats.pass,
      stats.reject, stats.review, stats.by_fallback,
      elapsed_s > 0 ? static_cast<double>(stats.verdicts) / elapsed_s : 0, ms(stats.latency.p50),
      ms(stats.latency.p99), stats.frames_in_flight, stats.frames_waiting);
  for (const line::TaskStats& task : stats.tasks) {
    text += fmt::format(
        "  {:<12} p50 {:>6.1f} ms  p99 {:>6.1f} ms  requests {:<7} late {:<4} failed {}\n",
        task.task, ms(task.latency.p50), ms(task.latency.p99), task.requests, task.late,
        task.failed);
  }
  text += fmt::format("  defects drawn {:<6} found {:<6} false alarms {:<5} escapes {}\n",
                      score.defects, score.defects_found, score.false_alarms, score.escapes);
  const std::string events = to_line(engine.events);
  text += fmt::format("  events {}\n  {}\n", events.empty() ? "none" : events,
                      last_event_.substr(0, kEventWidth));
  const std::scoped_lock lock(mutex_);
  for (const std::string& recent : recent_) text += recent + "\n";
  text += std::string(kRecentMax - recent_.size(), '\n');
  return text;
}

void LiveView::draw(const line::LineStats& stats, const EngineStats& engine, const Score& score,
                    double elapsed_s, double total_s) {
  if (drawn_lines_ < 0) return;
  const std::string text = picture(stats, engine, score, elapsed_s, total_s);
  if (drawn_lines_ > 0) fmt::print("\x1b[{}A", drawn_lines_);
  std::size_t begin = 0;
  drawn_lines_ = 0;
  while (begin < text.size()) {
    const std::size_t end = text.find('\n', begin);
    fmt::print("\x1b[2K{}\n", text.substr(begin, end - begin));
    begin = end + 1;
    ++drawn_lines_;
  }
  std::fflush(stdout);
}

}  // namespace takt::app
