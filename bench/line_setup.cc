// SPDX-License-Identifier: Apache-2.0
#include "line_setup.h"

#include "app/model_loading.h"
#include "line/folder_source.h"
#include "line_infer_clock.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <utility>

namespace takt::bench {
namespace {

Result<config::Config> configuration(const SetupOptions& options) {
  Result<config::Loaded> loaded = config::load(options.config);
  if (!loaded) return std::unexpected(loaded.error());
  config::Config config = std::move(loaded->config);
  if (!options.repository.empty()) config.models.repository = options.repository;
  if (options.lanes > 0) config.devices.front().lanes = options.lanes;
  for (TaskSpec& task : config.tasks) {
    if (!options.backend.empty()) task.backends = {options.backend};
  }
  line::LineConfig& line = config.lines.front().line;
  if (!options.tasks.empty()) line.tasks = options.tasks;
  if (options.frames_in_flight > 0) {
    line.frames_in_flight_max = static_cast<std::size_t>(options.frames_in_flight);
  }
  line.deadline.reset();
  // A run on a busy machine is slow, but still complete.
  line.drain_max = std::chrono::seconds(60);
  line.ring.policy = RingPolicy::block;
  // Rules about tasks that don't run here would be refused.
  if (!options.tasks.empty()) line.decision.rules.clear();
  return config;
}

void report(const std::string& text) {
  std::fprintf(stderr, "%s\n", text.c_str());
}

}  // namespace

Result<std::unique_ptr<Setup>> Setup::open(const SetupOptions& options) {
  Result<config::Config> config = configuration(options);
  if (!config) return std::unexpected(config.error());
  Result<app::TemporaryFolder> folder = app::TemporaryFolder::make();
  if (!folder) return std::unexpected(folder.error());
  std::unique_ptr<Setup> setup(new Setup(std::move(*config), std::move(*folder)));

  line::JournalOptions journal_options;
  journal_options.directory = setup->folder() / "journal";
  journal_options.segment_bytes = options.journal_segment_bytes;
  journal_options.wait_for_acknowledgement = false;
  auto journal = line::Journal::open(journal_options);
  if (!journal) return std::unexpected(journal.error());
  setup->journal_ = std::move(*journal);

  auto engine = Engine::create(app::engine_options(setup->config_));
  if (!engine) return std::unexpected(engine.error());
  setup->engine_ = std::move(*engine);
  const ThreadNameScope openvino_threads;
  // On threads of this process, whose CPU time can be told apart.
  for (TaskSpec& task : setup->config_.tasks) task.isolation = Isolation::thread;
  Supervisor no_workers({}, *setup->engine_);
  const app::ModelPlaces places{*setup->engine_, no_workers, {}};
  const auto models = app::load_models(setup->config_, setup->entry().line.tasks, places, &report);
  if (!models) return std::unexpected(models.error());
  return setup;
}

Result<std::unique_ptr<line::Line>> Setup::make_line(
    std::unique_ptr<line::Source> source, std::vector<line::Sink*> sinks,
    std::vector<line::VerdictObserver*> observers) {
  line::LineParts parts;
  parts.source = std::move(source);
  parts.client = engine_.get();
  parts.journal = journal_.get();
  parts.sinks = std::move(sinks);
  parts.observers = std::move(observers);
  parts.clock = &clock_;
  return line::Line::create(entry().line, config_.tasks, std::move(parts));
}

Result<std::unique_ptr<line::Source>> Setup::folder_source(const std::filesystem::path& directory,
                                                           int repeat) const {
  line::FolderOptions options;
  options.directory = directory;
  options.roles = {{"board", "{id}_test.png"}, {"golden", "{id}_temp.png"}};
  options.repeat = static_cast<std::uint64_t>(repeat);
  const line::LineConfig& line = entry().line;
  const std::size_t slots = static_cast<std::size_t>(options.prefetch + options.decode_threads) +
                            line.ring.capacity + line.frames_in_flight_max +
                            line.sink_pictures_max + 2;
  const std::array classes{SizeClass{2 * line::kBoardPixels, static_cast<std::uint32_t>(slots)}};
  Result<std::shared_ptr<SlotPool>> pool = SlotPool::create("bench-frames", classes);
  if (!pool) return std::unexpected(pool.error());
  return line::make_folder_source(std::move(options), std::move(*pool), clock_);
}

const TaskSpec& Setup::task(const std::string& name) const {
  return *std::ranges::find(config_.tasks, name, &TaskSpec::name);
}

}  // namespace takt::bench
