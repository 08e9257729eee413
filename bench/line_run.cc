// SPDX-License-Identifier: Apache-2.0
// A whole line as fast as it goes.
#include "line/jsonl_sink.h"
#include "line_boards.h"
#include "line_infer_clock.h"
#include "line_measure.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <utility>

namespace takt::bench {
namespace {

using nlohmann::json;

constexpr double kFolderTimeMax_s = 600;

double seconds_of(TimePoint time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

// When each verdict came.
class Verdicts final : public line::VerdictObserver {
 public:
  Verdicts() { at_s_.reserve(1 << 16); }
  void on_verdict(const line::VerdictRecord& record) override {
    if (record.by_fallback) ++fallbacks_;
    at_s_.push_back(seconds_of(clock_.now()));
  }
  [[nodiscard]] const std::vector<double>& at_s() const { return at_s_; }
  [[nodiscard]] std::uint64_t fallbacks() const { return fallbacks_; }

 private:
  const SystemClock clock_;
  std::vector<double> at_s_;
  std::uint64_t fallbacks_ = 0;
};

// Slope of the count over time by least squares: batches bring verdicts in bursts, and the slope
// asks neither where the first nor where the last burst falls.
double rate(std::span<const double> at_s) {
  const auto n = static_cast<double>(at_s.size());
  if (n < 2) return 0;
  double mean_time = 0;
  for (const double time : at_s) mean_time += time / n;
  double covariance = 0;
  double variance = 0;
  for (std::size_t i = 0; i < at_s.size(); ++i) {
    const double time = at_s[i] - mean_time;
    covariance += time * (static_cast<double>(i) - (n - 1) / 2);
    variance += time * time;
  }
  return covariance / variance;
}

Result<std::unique_ptr<line::Source>> make_source(const Setup& setup, const RunOptions& options) {
  if (!options.input.empty()) return setup.folder_source(options.input, options.repeat);
  Result<std::vector<Board>> boards = make_boards(options.boards);
  if (!boards) return std::unexpected(boards.error());
  return std::make_unique<MemorySource>(std::move(*boards));
}

std::uint64_t crops_of(const Setup& setup, const line::LineStats& stats) {
  std::uint64_t crops = 0;
  for (const line::TaskStats& task : stats.tasks) {
    if (setup.task(task.task).crop) crops += task.requests;
  }
  return crops;
}

json threads_since(const CpuUse& before, const CpuUse& now) {
  json threads = json::object();
  for (const auto& [name, cpu_s] : now.live_threads_s) {
    const auto earlier = before.live_threads_s.find(name);
    threads[name] = cpu_s - (earlier == before.live_threads_s.end() ? 0 : earlier->second);
  }
  return threads;
}

Result<json> run_once(Setup& setup, const RunOptions& options) {
  std::unique_ptr<line::JsonlSink> sink;
  std::vector<line::Sink*> sinks;
  if (!options.jsonl.empty()) {
    auto opened = line::JsonlSink::open(options.jsonl, line::JsonlSink::Mode::replace);
    if (!opened) return std::unexpected(opened.error());
    sink = std::move(*opened);
    sinks.push_back(sink.get());
  }
  Result<std::unique_ptr<line::Source>> source = make_source(setup, options);
  if (!source) return std::unexpected(source.error());
  Verdicts verdicts;
  auto made = setup.make_line(std::move(*source), sinks, {&verdicts});
  if (!made) return std::unexpected(made.error());
  line::Line& line = **made;

  // CPU time is taken over whole frames: from before the first to after the last.
  const EngineStats engine_before = setup.engine().stats();
  const CpuUse before = cpu_use();
  line.start();
  const std::chrono::duration<double> time(options.repeat > 0 ? kFolderTimeMax_s : options.seconds);
  (void)line.wait_for(std::chrono::duration_cast<Duration>(time));
  const std::size_t at_full_speed = line.stats().verdicts;
  const json threads = threads_since(before, cpu_use());
  line.stop();
  line.join();
  const CpuUse after = cpu_use();

  const line::LineStats stats = line.stats();
  const EngineStats engine = setup.engine().stats();
  if (verdicts.fallbacks() > 0 || stats.verdicts == 0) {
    return fail(ErrorKind::internal, std::to_string(verdicts.fallbacks()) + " of " +
                                         std::to_string(stats.verdicts) +
                                         " frames were not judged by models");
  }
  const auto frames = static_cast<double>(stats.verdicts);
  const std::span<const double> full(verdicts.at_s().data(),
                                     std::min(at_full_speed, verdicts.at_s().size()));
  const double cpu_s = after.process_s - before.process_s;
  const double infer_s = after.inference_s - before.inference_s;
  return json{
      {"frames", stats.verdicts},
      {"frames_per_s", rate(full)},
      {"cpu_ms_per_frame", 1e3 * cpu_s / frames},
      {"infer_cpu_ms_per_frame", 1e3 * infer_s / frames},
      {"outside_cpu_ms_per_frame", 1e3 * (cpu_s - infer_s) / frames},
      {"infer_calls", after.infer_calls - before.infer_calls},
      {"rows_per_batch", static_cast<double>(engine.rows - engine_before.rows) /
                             static_cast<double>(engine.batches - engine_before.batches)},
      {"crops_per_frame", static_cast<double>(crops_of(setup, stats)) / frames},
      {"latency_p50_ms", std::chrono::duration<double, std::milli>(stats.latency.p50).count()},
      {"cpu_s_by_thread", threads}};
}

}  // namespace

Result<json> measure_run(Setup& setup, const RunOptions& options) {
  if (options.warm_up_s > 0) {
    RunOptions warm_up = options;
    warm_up.repeat = 0;
    warm_up.seconds = options.warm_up_s;
    if (const Result<json> warm = run_once(setup, warm_up); !warm) return warm;
  }
  return run_once(setup, options);
}

}  // namespace takt::bench
