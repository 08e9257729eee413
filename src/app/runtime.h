// SPDX-License-Identifier: Apache-2.0
// Everything that runs for one takt.yaml: engine, models, journal, store, sinks and lines.
// Thread-safe: no; the main thread opens, watches and closes it.
// Owns: all of it, in the order in which it must end.
#pragma once

#include "app/model_loading.h"
#include "app/profile_store.h"
#include "app/temporary_folder.h"
#include "backend/cpus.h"
#include "config/config.h"
#include "core/result.h"
#include "engine/engine.h"
#include "engine/supervisor.h"
#include "line/journal.h"
#include "line/jsonl_sink.h"
#include "line/line.h"
#include "line/serial_sink.h"
#include "line/store.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace takt::app {

using Report = std::function<void(const std::string&)>;

struct Counts {
  std::vector<std::pair<std::string, line::LineStats>> lines;
  EngineStats engine;
  line::JournalStats journal;
  std::optional<line::StoreCounts> store;
  std::vector<engine::WorkerStatus> workers;
};

class Runtime {
 public:
  // Loads the models of the stated lines and opens journal, store and sinks; repairs what a killed
  // run left. `report` is told what takes time, `observer` of the engine's events from then on.
  // Errors: of the parts, with their place.
  [[nodiscard]] static Result<std::unique_ptr<Runtime>> open(const config::Config& config,
                                                             const std::vector<std::string>& lines,
                                                             const Report& report,
                                                             engine::EventObserver observer = {});
  ~Runtime();  // close()
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Makes a line that writes to the configured sinks; it is started by start().
  [[nodiscard]] Result<line::Line*> add_line(const config::LineEntry& entry,
                                             std::vector<line::VerdictObserver*> observers = {});

  // Runs the line's tasks as fast as they go, with a journal of its own and no sinks, for about
  // `time`, and returns frames a second.
  [[nodiscard]] Result<double> measure_capacity(const config::LineEntry& entry, Duration time);

  void start();
  // True once every line has come to the end of its source.
  [[nodiscard]] bool finished(Duration wait) const;
  // Keeps what was learned of the models' execution times for the next start. Errors: unavailable
  // (the cache can't be written).
  [[nodiscard]] Result<void> save_profiles() const;
  // No further frames; every accepted one gets its verdict, the sinks are flushed, profiles are
  // saved. Then counts() is final.
  void close();

  [[nodiscard]] Counts counts() const;
  [[nodiscard]] EngineStats engine_stats() const { return engine_->stats(); }
  [[nodiscard]] std::vector<engine::WorkerStatus> workers() const;
  [[nodiscard]] InferenceClient& client() { return *engine_; }
  // For the inputs of clients' requests, where there is a server.
  [[nodiscard]] const std::shared_ptr<SlotPool>& request_slots() const { return request_slots_; }
  [[nodiscard]] const std::vector<std::unique_ptr<line::Line>>& lines() const { return lines_; }

  // Of the lines whose frames come by requests, by name.
  [[nodiscard]] const std::map<std::string, std::shared_ptr<line::FrameInlet>>& inlets() const {
    return inlets_;
  }

  // For models that come and go beside those of the lines, until close().
  [[nodiscard]] const std::vector<LoadedModel>& models() const { return models_; }
  [[nodiscard]] ModelPlaces places() const;

 private:
  explicit Runtime(const config::Config& config)
      : config_(config), profiles_(config.models.cache) {}
  Result<void> open_journal();
  Result<void> open_sinks();
  void repair(const Report& report);
  Result<void> continue_numbers();
  Result<void> make_pools(const std::vector<std::string>& lines);
  [[nodiscard]] Result<line::RequestSource> make_source(const config::LineEntry& entry) const;

  const config::Config config_;
  const ProfileStore profiles_;
  std::vector<LoadedModel> models_;
  SystemClock clock_;
  std::optional<TemporaryFolder> temporary_;  // of the journal, when there is no store
  std::unique_ptr<line::Journal> journal_;
  std::unique_ptr<line::Store> store_;
  std::vector<std::unique_ptr<line::JsonlSink>> jsonl_;
  std::vector<std::unique_ptr<line::SerialSink>> shared_sinks_;
  // A line's frames lie in the pool of that name; workers share all of them from their start.
  std::map<std::string, std::shared_ptr<SlotPool>> pools_;
  std::shared_ptr<SlotPool> request_slots_;
  std::shared_ptr<const engine::SharedInputs> inputs_;  // them
  const std::vector<int> cpus_ = usable_cpus();         // before lanes are left alone
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Supervisor> supervisor_;
  std::vector<engine::WorkerStatus> workers_at_end_;                 // after close()
  std::map<std::string, std::shared_ptr<line::FrameInlet>> inlets_;  // outlive their lines
  std::vector<std::unique_ptr<line::Line>> lines_;
  bool closed_ = false;
};

}  // namespace takt::app
