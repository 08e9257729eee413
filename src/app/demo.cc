// SPDX-License-Identifier: Apache-2.0
// `takt demo`: the example line with simulated boards, paced by what this machine can do.
#include "app/command_run.h"
#include "app/commands.h"
#include "app/event_feed.h"
#include "app/live_view.h"
#include "app/progress.h"
#include "app/runtime.h"
#include "app/stop_signal.h"
#include "app/temporary_folder.h"

#include <fmt/format.h>

#include <optional>

namespace takt::app {
namespace {

constexpr Duration kMeasureTime = std::chrono::seconds(3);

// Store, journal and sinks of the demo go to a folder of their own.
void redirect(config::Config& config, const std::filesystem::path& folder) {
  if (!config.store) config.store.emplace();
  config.store->store.path = folder / "takt.sqlite";
  config.store->journal.directory = folder / "journal";
  config.sinks = {{.type = "jsonl", .path = folder / "verdicts.jsonl", .replace = true}};
}

void pace(config::LineEntry& entry, double frames_per_second) {
  std::visit([&](auto& source) { source.frames_per_second = frames_per_second; }, entry.source);
}

// Runs the line for the stated time; on a terminal with the live view, elsewhere with progress.
void watch(Runtime& runtime, const DemoOptions& options, const DemoScore& score, LiveView* view,
           EventFeed& feed, const StopSignal& stop) {
  const SystemClock clock;
  const TimePoint start = clock.now();
  const line::Line& line = *runtime.lines().front();
  std::optional<Progress> progress;
  if (view == nullptr) progress.emplace("judging boards", 0);
  double elapsed_s = 0;
  while (elapsed_s < options.seconds && !stop.wait_for(std::chrono::milliseconds(100)) &&
         !runtime.finished(Duration::zero())) {
    elapsed_s = std::chrono::duration<double>(clock.now() - start).count();
    const line::LineStats stats = line.stats();
    for (const std::string& event : feed.take(clock.now())) {
      if (view != nullptr) view->on_event(event);
      if (view == nullptr) report_line(event);
    }
    if (view != nullptr) {
      view->draw(stats, runtime.engine_stats(), score.score(), elapsed_s, options.seconds);
    }
    if (progress) progress->update(stats.verdicts);
  }
  if (progress) progress->finish();
}

}  // namespace

std::filesystem::path example_config() {
  const std::filesystem::path example = "examples/pcb/takt.yaml";
  std::error_code failure;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", failure);
  const std::filesystem::path beside = program.parent_path().parent_path() / example;
  return !failure && std::filesystem::exists(beside) ? beside : example;
}

int run_demo(const DemoOptions& options) {
  const std::filesystem::path file = options.config.empty() ? example_config() : options.config;
  Result<config::Config> config = load_config(file);
  if (!config) return report_error(config.error());
  config::LineEntry entry = config->lines.front();

  std::optional<TemporaryFolder> temporary;
  if (options.data_dir.empty()) {
    Result<TemporaryFolder> made = TemporaryFolder::make();
    if (!made) return report_error(made.error());
    temporary.emplace(std::move(*made));
  }
  redirect(*config, temporary ? temporary->path() : options.data_dir);

  const StopSignal stop;
  EventFeed feed;  // outlives the engine
  auto runtime = Runtime::open(*config, {entry.line.name}, &report_line, feed.observer());
  if (!runtime) return report_error(runtime.error());
  report_line("measuring what this machine can do, 3 s");
  const Result<double> capacity = (*runtime)->measure_capacity(entry, kMeasureTime);
  if (!capacity) return report_error(capacity.error());
  if (*capacity <= 0) {
    return report_error(
        {ErrorKind::unavailable, "no board was judged within 3 s; see takt doctor"});
  }
  const double rate = *capacity * options.load;
  report_line(fmt::format("capacity {:.1f} boards/s; the camera runs at {:.1f}/s ({:.0f} %)",
                          *capacity, rate, options.load * 100));
  pace(entry, rate);

  DemoScore score;
  const bool show = options.view && stdout_is_terminal();
  std::optional<LiveView> view;
  if (show) view.emplace("takt demo: line " + entry.line.name);
  std::vector<line::VerdictObserver*> observers{&score};
  if (view) observers.push_back(&*view);
  if (const auto line = (*runtime)->add_line(entry, observers); !line) {
    return report_error(line.error());
  }
  const SystemClock clock;
  const TimePoint start = clock.now();
  (*runtime)->start();
  watch(**runtime, options, score, view ? &*view : nullptr, feed, stop);
  (*runtime)->close();
  if (view) view->close();

  Summary summary;
  summary.counts = (*runtime)->counts();
  summary.seconds = std::chrono::duration<double>(clock.now() - start).count();
  summary.score = score.score();
  const int exit_code = finish(summary, options.summary);
  if (!options.data_dir.empty()) {
    fmt::print("kept in {}: takt.sqlite, verdicts.jsonl, journal\n", options.data_dir.string());
  }
  return exit_code;
}

}  // namespace takt::app
