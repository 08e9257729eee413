// SPDX-License-Identifier: Apache-2.0
// `takt serve`: every line of a configuration, until its sources end or a signal comes, and its server,
// until a signal comes.
#include "app/command_run.h"
#include "app/commands.h"
#include "app/event_feed.h"
#include "app/runtime.h"
#include "app/served_models.h"
#include "app/server_host.h"
#include "app/stop_signal.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

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

// What other programs use of a running takt.
struct Front {
  std::unique_ptr<line::ReviewDesk> reviews;
  std::unique_ptr<ServedModels> models;
  std::unique_ptr<ServerHost> host;
};

Result<std::vector<std::string>> models_to_serve(const config::Config& config) {
  if (config.server->models) return *config.server->models;
  const auto listed = repository::list(config.models.repository);
  if (!listed) return std::unexpected(listed.error());
  std::vector<std::string> names;
  for (const repository::ListedModel& model : *listed) names.push_back(model.name);
  return names;
}

void add_metrics(const Runtime& runtime, server::MetricsSnapshot& snapshot) {
  snapshot.engine = runtime.engine_stats();
  for (const engine::WorkerStatus& worker : runtime.workers()) {
    snapshot.workers.push_back({worker.name, worker.device,
                                worker.state == engine::WorkerState::serving, worker.restarts});
  }
}

std::string_view kind_of(const config::SourceConfig& source) {
  if (std::holds_alternative<line::FolderOptions>(source)) return "folder";
  return std::holds_alternative<line::RequestOptions>(source) ? "requests" : "board-simulator";
}

void add_view(const config::Config& config, const Runtime& runtime, rest::ServerView& view) {
  for (std::size_t i = 0; i < config.lines.size(); ++i) {
    const config::LineEntry& entry = config.lines[i];
    view.lines.push_back({.name = entry.line.name,
                          .source = std::string(kind_of(entry.source)),
                          .images = config::image_roles(entry.source),
                          .tasks = entry.line.tasks,
                          .deadline = entry.line.deadline,
                          .stats = runtime.lines()[i]->stats()});
  }
  for (const engine::WorkerStatus& worker : runtime.workers()) {
    view.workers.push_back({worker.name, worker.device,
                            std::string(engine::to_string(worker.state)), worker.restarts});
  }
}

// Of one archive of labels, which is in memory until its client has it.
constexpr std::size_t kExportBytesMax = std::size_t{64} << 20;

// Starts the lines too, once the models are there.
Result<Front> open_front(const config::Config& config, Runtime& runtime, rest::VerdictFeed& feed) {
  const config::ServerConfig& server = *config.server;
  ServedModelsOptions options;
  options.control = server.model_control;
  options.isolation = server.isolation;
  options.backends = server.backends;
  options.report = &report_line;
  Front front;
  front.models =
      std::make_unique<ServedModels>(config, runtime.places(), runtime.models(), options);
  const Result<std::vector<std::string>> names = models_to_serve(config);
  if (!names) return std::unexpected(names.error());
  if (auto loaded = front.models->load_configured(*names); !loaded) {
    return fail(ErrorKind::unavailable, "server.models: " + loaded.error().message);
  }
  config::ServerConfig identified = server;
  identified.identity.version = TAKT_VERSION;
  if (config.store) {
    static const SystemClock kClock;
    auto desk = line::ReviewDesk::open(
        {.path = config.store->store.path, .export_bytes_max = kExportBytesMax}, kClock);
    if (!desk) return std::unexpected(std::move(desk).error().within("store"));
    front.reviews = std::move(*desk);
  }
  HostParts parts{
      .client = runtime.client(),
      .catalog = *front.models,
      .inputs = runtime.request_slots(),
      .feed = feed,
      .inlets = runtime.inlets(),
      .reviews = front.reviews.get(),
      .add_metrics = [&](server::MetricsSnapshot& snapshot) { add_metrics(runtime, snapshot); },
      .add_view = [&](rest::ServerView& view) { add_view(config, runtime, view); }};
  // Before clients may hand parts in.
  runtime.start();
  auto host = ServerHost::start(identified, config.tasks, std::move(parts));
  if (!host) return std::unexpected(std::move(host).error());
  front.host = std::move(*host);
  for (const std::string& place : front.host->places()) report_line(place);
  return front;
}

// For clients' requests that are being answered when it stops.
constexpr Duration kClientsPatience = std::chrono::seconds(5);

}  // namespace

int run_serve(const ServeOptions& options) {
  const Result<config::Config> config = load_config(options.config);
  if (!config) return report_error(config.error());
  if (const Result<void> checked = check_server(*config); !checked) {
    return report_error(checked.error());
  }
  const StopSignal stop;
  const SystemClock clock;
  std::vector<std::string> names;
  for (const config::LineEntry& entry : config->lines) names.push_back(entry.line.name);
  EventFeed feed;  // outlives the engine
  rest::VerdictFeed verdicts(config->server ? config->server->verdicts : rest::FeedOptions{});
  const auto report_events = [&feed, &clock](bool all) {
    for (const std::string& line : feed.take(clock.now(), all)) report_line(line);
  };
  Result<std::unique_ptr<Runtime>> runtime =
      Runtime::open(*config, names, &report_line, feed.observer());
  if (!runtime) return report_error(runtime.error());
  for (const config::LineEntry& entry : config->lines) {
    std::vector<line::VerdictObserver*> observers;
    if (config->server) observers.push_back(&verdicts);
    const auto line = (*runtime)->add_line(entry, std::move(observers));
    if (!line) return report_error(line.error());
    report_line("line " + entry.line.name + " is ready");
  }
  Front front;
  const TimePoint start = clock.now();
  if (config->server) {
    Result<Front> opened = open_front(*config, **runtime, verdicts);
    if (!opened) return report_error(opened.error());
    front = std::move(*opened);
  } else {
    (*runtime)->start();
  }
  report_line("serving; Ctrl-C drains and ends");
  Heartbeat heartbeat(start);
  while (!stop.wait_for(std::chrono::milliseconds(100)) &&
         (front.host || !(*runtime)->finished(Duration::zero()))) {
    heartbeat.tick(**runtime, clock.now());
    report_events(false);
  }
  if (stop.requested()) report_line("stopping: what was accepted is answered");
  if (front.host) front.host->stop(kClientsPatience);
  (*runtime)->close();
  report_events(true);

  Summary summary;
  summary.counts = (*runtime)->counts();
  summary.seconds = std::chrono::duration<double>(clock.now() - start).count();
  return finish(summary, options.summary);
}

}  // namespace takt::app
