// SPDX-License-Identifier: Apache-2.0
// A line of a takt.yaml for measuring: offline, with the models loaded as the program loads them.
// Thread-safe: no; the main thread.
// Owns: engine, models, journal and temporary folder.
#pragma once

#include "app/temporary_folder.h"
#include "config/config.h"
#include "core/result.h"
#include "engine/engine.h"
#include "line/journal.h"
#include "line/line.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace takt::bench {

struct SetupOptions {
  std::filesystem::path config = "examples/pcb/takt.yaml";
  std::filesystem::path repository;  // in place of the configuration's
  std::vector<std::string> tasks;    // of the line; empty: all of them
  std::string backend;               // for every task; empty: each task's own
  int lanes = 0;                     // 0: as configured
  int frames_in_flight = 0;          // 0: as configured
  std::size_t journal_segment_bytes = std::size_t{16} << 20;
};

class Setup {
 public:
  // Loads the models of the tasks. Errors: those of configuration and models.
  [[nodiscard]] static Result<std::unique_ptr<Setup>> open(const SetupOptions& options);

  // A line without deadline that drops nothing; sinks and observers may be empty.
  [[nodiscard]] Result<std::unique_ptr<line::Line>> make_line(
      std::unique_ptr<line::Source> source, std::vector<line::Sink*> sinks,
      std::vector<line::VerdictObserver*> observers);
  // The folder source that `takt inspect` makes for pairs; repeat 0: without end.
  [[nodiscard]] Result<std::unique_ptr<line::Source>> folder_source(
      const std::filesystem::path& directory, int repeat) const;

  [[nodiscard]] const TaskSpec& task(const std::string& name) const;
  [[nodiscard]] const config::LineEntry& entry() const { return config_.lines.front(); }
  [[nodiscard]] Engine& engine() { return *engine_; }
  [[nodiscard]] line::Journal& journal() { return *journal_; }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_.path(); }

 private:
  Setup(config::Config config, app::TemporaryFolder folder)
      : config_(std::move(config)), folder_(std::move(folder)) {}

  config::Config config_;
  app::TemporaryFolder folder_;
  const SystemClock clock_;
  std::unique_ptr<line::Journal> journal_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace takt::bench
