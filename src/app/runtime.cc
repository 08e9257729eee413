// SPDX-License-Identifier: Apache-2.0
#include "app/runtime.h"

#include "app/model_loading.h"
#include "app/server_host.h"
#include "line/board_simulator.h"
#include "line/folder_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <thread>
#include <utility>

namespace takt::app {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// Slots that one line's frames need at the same time.
std::uint32_t frame_slots(const config::LineEntry& entry) {
  std::size_t prefetch = 1;  // the frame that the source is making
  if (const auto* folder = std::get_if<line::FolderOptions>(&entry.source)) {
    prefetch += static_cast<std::size_t>(folder->prefetch + folder->decode_threads);
  }
  if (const auto* requests = std::get_if<line::RequestOptions>(&entry.source)) {
    prefetch += static_cast<std::size_t>(requests->waiting_max);
  }
  return static_cast<std::uint32_t>(prefetch + entry.line.ring.capacity +  // waiting for the line
                                    entry.line.frames_in_flight_max +      // being judged
                                    entry.line.sink_pictures_max +         // waiting for the sinks
                                    1);  // being written by a sink
}

// Classes for frames of any size up to the source's limit. Memory is taken when a slot is first
// written, so that a large class that nobody uses costs nothing.
std::vector<SizeClass> size_classes(const config::LineEntry& entry) {
  const std::uint32_t count = frame_slots(entry);
  if (std::holds_alternative<line::BoardSimulatorOptions>(entry.source)) {
    return {{.bytes = 2 * line::kBoardPixels, .count = count}};
  }
  const auto pixels_max = [](const auto& source, PixelFormat format) {
    return static_cast<std::size_t>(source.limits.pixels_max) *
           static_cast<std::size_t>(channel_count(format));
  };
  const auto* folder = std::get_if<line::FolderOptions>(&entry.source);
  const auto* requests = std::get_if<line::RequestOptions>(&entry.source);
  const std::size_t picture = folder != nullptr ? pixels_max(*folder, folder->format)
                                                : pixels_max(*requests, requests->format);
  const std::size_t largest = picture * config::image_roles(entry.source).size();
  std::vector<SizeClass> classes;
  for (const std::size_t bytes : {1 * kMiB, 8 * kMiB, 64 * kMiB}) {
    if (bytes < largest) classes.push_back({.bytes = bytes, .count = count});
  }
  classes.push_back({.bytes = largest, .count = std::min(count, std::uint32_t{4})});
  return classes;
}

Result<std::unique_ptr<line::Journal>> open_temporary_journal(const TemporaryFolder& folder) {
  line::JournalOptions options;
  options.directory = folder.path();
  options.wait_for_acknowledgement = false;
  return line::Journal::open(options);
}

}  // namespace

Result<std::unique_ptr<Runtime>> Runtime::open(const config::Config& config,
                                               const std::vector<std::string>& lines,
                                               const Report& report,
                                               engine::EventObserver observer) {
  if (Result<void> checked = check_machine(config); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  if (const auto& cgroup = config.workers.supervisor.memory.cgroup; !cgroup.empty()) {
    if (Result<void> prepared = ipc::prepare_cgroup(cgroup); !prepared) {
      return std::unexpected(std::move(prepared).error().within("workers.cgroup"));
    }
  }
  std::unique_ptr<Runtime> runtime(new Runtime(config));
  // The files first: a journal that is in use is known at once, models take seconds.
  if (Result<void> opened = runtime->open_journal(); !opened) {
    return std::unexpected(opened.error());
  }
  if (Result<void> opened = runtime->open_sinks(); !opened) return std::unexpected(opened.error());
  runtime->repair(report);
  if (Result<void> done = runtime->continue_numbers(); !done) return std::unexpected(done.error());

  EngineOptions options = engine_options(config);
  options.observer = std::move(observer);
  Result<std::unique_ptr<Engine>> engine = Engine::create(std::move(options));
  if (!engine) return std::unexpected(engine.error());
  runtime->engine_ = std::move(*engine);
  std::vector<std::string> tasks;
  for (const config::LineEntry& entry : config.lines) {
    if (std::ranges::find(lines, entry.line.name) == lines.end()) continue;
    tasks.insert(tasks.end(), entry.line.tasks.begin(), entry.line.tasks.end());
  }
  for (const TaskSpec& task : config.tasks) {
    if (config.server) tasks.push_back(task.name);  // clients may ask for any
    const bool wanted = std::ranges::find(tasks, task.name) != tasks.end();
    if (wanted && !task.fallback_task.empty()) tasks.push_back(task.fallback_task);
  }
  if (Result<void> made = runtime->make_pools(lines); !made) return std::unexpected(made.error());
  auto inputs = std::make_shared<engine::SharedInputs>();
  for (const auto& [line, pool] : runtime->pools_) inputs->add(pool);
  if (runtime->request_slots_) inputs->add(runtime->request_slots_);
  runtime->inputs_ = std::move(inputs);
  runtime->supervisor_ = std::make_unique<Supervisor>(config.workers.supervisor, *runtime->engine_);
  Result<std::vector<LoadedModel>> loaded = load_models(config, tasks, runtime->places(), report);
  if (!loaded) return std::unexpected(std::move(loaded).error());
  runtime->models_ = std::move(*loaded);
  leave_lanes_alone(config);
  return runtime;
}

Runtime::~Runtime() {
  close();
}

Result<void> Runtime::open_journal() {
  Result<std::unique_ptr<line::Journal>> journal = nullptr;
  if (config_.store) {
    journal = line::Journal::open(config_.store->journal);
  } else {
    Result<TemporaryFolder> folder = TemporaryFolder::make();
    if (!folder) return std::unexpected(folder.error());
    temporary_.emplace(std::move(*folder));
    journal = open_temporary_journal(*temporary_);
  }
  if (!journal) return std::unexpected(journal.error());
  journal_ = std::move(*journal);
  return {};
}

Result<void> Runtime::open_sinks() {
  if (config_.store) {
    auto store = line::Store::open(config_.store->store,
                                   [journal = journal_.get()](std::string_view line, FrameSeq seq) {
                                     journal->acknowledge(line, seq);
                                   });
    if (!store) return std::unexpected(store.error());
    store_ = std::move(*store);
    shared_sinks_.push_back(std::make_unique<line::SerialSink>(*store_));
  }
  for (const config::SinkConfig& sink : config_.sinks) {
    const auto mode = sink.replace ? line::JsonlSink::Mode::replace : line::JsonlSink::Mode::append;
    auto jsonl = line::JsonlSink::open(sink.path, mode);
    if (!jsonl) return std::unexpected(jsonl.error());
    jsonl_.push_back(std::move(*jsonl));
    shared_sinks_.push_back(std::make_unique<line::SerialSink>(*jsonl_.back()));
  }
  return {};
}

// What a killed run had journalled, but perhaps not written to store and files.
void Runtime::repair(const Report& report) {
  const std::vector<line::VerdictRecord> recovered = journal_->take_recovered();
  if (recovered.empty()) return;
  report(fmt::format("repairing {} verdicts from the journal", recovered.size()));
  Result<void> outcome;
  const auto note = [&outcome](Result<void> result) {
    if (!result) outcome = std::move(result);
  };
  for (const line::VerdictRecord& record : recovered) {
    if (store_) note(store_->write(record));
    for (const auto& jsonl : jsonl_) note(jsonl->repair(record));
  }
  if (store_) note(store_->flush());
  for (const auto& jsonl : jsonl_) note(jsonl->flush());
  // They stay in the journal and are offered again at the next start.
  if (!outcome) report("warning: " + outcome.error().message);
}

// Numbers that were reported don't come again, whatever became of the journal.
Result<void> Runtime::continue_numbers() {
  const auto skip = [this](const std::map<std::string, FrameSeq>& last) {
    for (const auto& [line, seq] : last) journal_->skip_past(line, seq);
  };
  if (store_) {
    const auto last = store_->last_seqs();
    if (!last) return std::unexpected(last.error());
    skip(*last);
  }
  for (const auto& jsonl : jsonl_) skip(jsonl->last_seqs());
  return {};
}

Result<void> Runtime::make_pools(const std::vector<std::string>& lines) {
  for (const config::LineEntry& entry : config_.lines) {
    if (std::ranges::find(lines, entry.line.name) == lines.end()) continue;
    Result<std::shared_ptr<SlotPool>> pool =
        SlotPool::create("frames-" + entry.line.name, size_classes(entry));
    if (!pool) return std::unexpected(std::move(pool).error());
    pools_.emplace(entry.line.name, std::move(*pool));
  }
  if (config_.server) {
    auto pool = SlotPool::create("requests", request_classes(*config_.server));
    if (!pool) return std::unexpected(std::move(pool).error());
    request_slots_ = std::move(*pool);
  }
  return {};
}

ModelPlaces Runtime::places() const {
  return {.engine = *engine_,
          .supervisor = *supervisor_,
          .inputs = inputs_,
          .profiles = &profiles_,
          .cpus = cpus_};
}

Result<line::RequestSource> Runtime::make_source(const config::LineEntry& entry) const {
  const std::shared_ptr<SlotPool>& pool = pools_.at(entry.line.name);
  const auto alone = [](Result<std::unique_ptr<line::Source>> made) -> Result<line::RequestSource> {
    if (!made) return std::unexpected(std::move(made).error());
    return line::RequestSource{std::move(*made), nullptr};
  };
  if (const auto* requests = std::get_if<line::RequestOptions>(&entry.source)) {
    return line::make_request_source(entry.line.name, *requests, pool, clock_);
  }
  if (const auto* folder = std::get_if<line::FolderOptions>(&entry.source)) {
    return alone(line::make_folder_source(*folder, pool, clock_));
  }
  return alone(line::make_board_simulator(std::get<line::BoardSimulatorOptions>(entry.source), pool,
                                          clock_));
}

Result<line::Line*> Runtime::add_line(const config::LineEntry& entry,
                                      std::vector<line::VerdictObserver*> observers) {
  line::LineParts parts;
  Result<line::RequestSource> source = make_source(entry);
  if (!source) {
    return std::unexpected(
        std::move(source).error().within("lines." + entry.line.name + ".source"));
  }
  parts.source = std::move(source->source);
  parts.client = engine_.get();
  parts.journal = journal_.get();
  for (const auto& sink : shared_sinks_) parts.sinks.push_back(sink.get());
  parts.observers = std::move(observers);
  if (source->inlet) parts.observers.push_back(source->inlet.get());
  parts.clock = &clock_;
  Result<std::unique_ptr<line::Line>> made =
      line::Line::create(entry.line, config_.tasks, std::move(parts));
  if (!made) return std::unexpected(made.error());
  if (source->inlet) inlets_.emplace(entry.line.name, std::move(source->inlet));
  lines_.push_back(std::move(*made));
  return lines_.back().get();
}

Result<double> Runtime::measure_capacity(const config::LineEntry& entry, Duration time) {
  Result<TemporaryFolder> folder = TemporaryFolder::make();
  if (!folder) return std::unexpected(folder.error());
  Result<std::unique_ptr<line::Journal>> journal = open_temporary_journal(*folder);
  if (!journal) return std::unexpected(journal.error());
  config::LineEntry unpaced = entry;
  unpaced.line.deadline.reset();
  unpaced.line.ring.policy = RingPolicy::block;
  std::visit([](auto& source) { source.frames_per_second = 0; }, unpaced.source);
  Result<line::RequestSource> source = make_source(unpaced);
  if (!source) return std::unexpected(source.error());
  line::LineParts parts;
  parts.source = std::move(source->source);
  parts.client = engine_.get();
  parts.journal = journal->get();
  parts.clock = &clock_;
  auto line = line::Line::create(unpaced.line, config_.tasks, std::move(parts));
  if (!line) return std::unexpected(line.error());

  const TimePoint start = clock_.now();
  (*line)->start();
  (void)(*line)->wait_for(time);
  (*line)->stop();
  (*line)->join();
  const double seconds = std::chrono::duration<double>(clock_.now() - start).count();
  return static_cast<double>((*line)->stats().verdicts) / seconds;
}

void Runtime::start() {
  for (const auto& line : lines_) line->start();
}

bool Runtime::finished(Duration wait) const {
  const TimePoint until = clock_.now() + wait;
  return std::ranges::all_of(lines_, [&](const auto& line) {
    return line->wait_for(std::max(Duration::zero(), until - clock_.now()));
  });
}

void Runtime::close() {
  if (std::exchange(closed_, true)) return;
  for (const auto& line : lines_) line->stop();
  for (const auto& line : lines_) line->join();
  // A cache that can't be written costs the next start some learning, nothing else.
  static_cast<void>(save_profiles());
  if (engine_) engine_->stop(std::chrono::seconds(1));
  if (supervisor_) workers_at_end_ = supervisor_->workers();
  supervisor_.reset();
}

Result<void> Runtime::save_profiles() const {
  const auto executed = [](const scheduler::ProfilePoint& point) { return point.executions > 0; };
  for (const LoadedModel& model : models_) {
    for (const LoadedReplica& replica : model.replicas) {
      StoredProfile profile = replica.stored;
      profile.learned =
          accumulate(replica.stored.learned, engine_->profile(model.id, replica.device));
      if (std::ranges::none_of(profile.learned, executed)) continue;
      if (Result<void> written = profiles_.write(replica.key, profile); !written) return written;
    }
  }
  return {};
}

Counts Runtime::counts() const {
  Counts counts;
  for (const auto& line : lines_) counts.lines.emplace_back(line->name(), line->stats());
  counts.engine = engine_->stats();
  counts.journal = journal_->stats();
  if (store_) counts.store = store_->counts();
  counts.workers = workers();
  return counts;
}

std::vector<engine::WorkerStatus> Runtime::workers() const {
  return supervisor_ ? supervisor_->workers() : workers_at_end_;
}

}  // namespace takt::app
