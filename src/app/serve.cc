// SPDX-License-Identifier: Apache-2.0
// `takt serve`: every line of a configuration, until its sources end or a signal comes.
#include "app/command_run.h"
#include "app/commands.h"
#include "app/event_feed.h"
#include "app/runtime.h"
#include "app/stop_signal.h"

#include <fmt/format.h>

namespace takt::app {

namespace {

// A line a minute, so that a log shows that the lines are alive; and what was learned of the models
// survives a killed process.
class Heartbeat {
 public:
  void tick(const Runtime& runtime, TimePoint now) {
    if (now - last_ < kInterval) return;
    last_ = now;
    if (const Result<void> saved = runtime.save_profiles(); !saved) {
      report_line("warning: " + saved.error().message);
    }
    for (const auto& line : runtime.lines()) {
      const line::LineStats stats = line->stats();
      report_line(fmt::format("{}: {} verdicts, pass {}, reject {}, review {}, by fallback {}",
                              line->name(), stats.verdicts, stats.pass, stats.reject, stats.review,
                              stats.by_fallback));
    }
  }
  explicit Heartbeat(TimePoint now) : last_(now) {}

 private:
  static constexpr Duration kInterval = std::chrono::minutes(1);
  TimePoint last_;
};

}  // namespace

int run_serve(const ServeOptions& options) {
  const Result<config::Config> config = load_config(options.config);
  if (!config) return report_error(config.error());
  const StopSignal stop;
  const SystemClock clock;
  std::vector<std::string> names;
  for (const config::LineEntry& entry : config->lines) names.push_back(entry.line.name);
  EventFeed feed;  // outlives the engine
  const auto report_events = [&feed, &clock](bool all) {
    for (const std::string& line : feed.take(clock.now(), all)) report_line(line);
  };
  Result<std::unique_ptr<Runtime>> runtime =
      Runtime::open(*config, names, &report_line, feed.observer());
  if (!runtime) return report_error(runtime.error());
  for (const config::LineEntry& entry : config->lines) {
    const auto line = (*runtime)->add_line(entry);
    if (!line) return report_error(line.error());
    report_line("line " + entry.line.name + " is ready");
  }

  const TimePoint start = clock.now();
  (*runtime)->start();
  report_line("serving; Ctrl-C drains and ends");
  Heartbeat heartbeat(start);
  while (!stop.wait_for(std::chrono::milliseconds(100)) &&
         !(*runtime)->finished(Duration::zero())) {
    heartbeat.tick(**runtime, clock.now());
    report_events(false);
  }
  if (stop.requested()) report_line("stopping: frames that were accepted get their verdicts");
  (*runtime)->close();
  report_events(true);

  Summary summary;
  summary.counts = (*runtime)->counts();
  summary.seconds = std::chrono::duration<double>(clock.now() - start).count();
  return finish(summary, options.summary);
}

}  // namespace takt::app
