// SPDX-License-Identifier: Apache-2.0
// `takt inspect`: a folder of images, offline, as fast as the machine can.
#include "app/command_run.h"
#include "app/commands.h"
#include "app/progress.h"
#include "app/runtime.h"
#include "app/stop_signal.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <variant>

namespace takt::app {
namespace {

// Files named like the DeepPCB data set, for lines whose own source is a simulator.
line::FolderOptions pairs_by_default(const std::string& recipe) {
  line::FolderOptions folder;
  folder.roles = {{"board", "{id}_test.png"}, {"golden", "{id}_temp.png"}};
  folder.recipe = recipe;
  return folder;
}

// The line without its clockwork: no rate, no deadline, nothing is dropped.
config::LineEntry offline(config::LineEntry entry, const std::filesystem::path& input) {
  entry.line.deadline.reset();
  entry.line.ring.policy = RingPolicy::block;
  entry.line.pictures.clear();
  if (!input.empty()) {
    auto* folder = std::get_if<line::FolderOptions>(&entry.source);
    if (folder == nullptr) {
      entry.source = pairs_by_default(entry.line.recipe);
      folder = std::get_if<line::FolderOptions>(&entry.source);
    }
    folder->directory = input;
    folder->repeat = 1;
  }
  std::visit([](auto& source) { source.frames_per_second = 0; }, entry.source);
  return entry;
}

bool endless(const config::SourceConfig& source) {
  if (const auto* folder = std::get_if<line::FolderOptions>(&source)) return folder->repeat == 0;
  const auto* simulator = std::get_if<line::BoardSimulatorOptions>(&source);
  return simulator == nullptr || simulator->frames == 0;
}

// Before models are loaded, which can take minutes.
Result<void> check_input(const config::LineEntry& entry) {
  const auto* folder = std::get_if<line::FolderOptions>(&entry.source);
  std::error_code failure;
  if (folder == nullptr || std::filesystem::is_directory(folder->directory, failure)) return {};
  return fail(ErrorKind::invalid_input, fmt::format("lines.{}.source: {}: no such folder",
                                                    entry.line.name, folder->directory.string()));
}

// Runs to the end of the source, or to the first signal.
void watch(Runtime& runtime, const StopSignal& stop) {
  runtime.start();
  const line::Line& line = *runtime.lines().front();
  Progress progress("inspecting", line.total().value_or(0));
  while (!runtime.finished(std::chrono::milliseconds(50)) && !stop.requested()) {
    const line::LineStats stats = line.stats();
    progress.update(stats.verdicts, fmt::format("pass {} reject {} review {}", stats.pass,
                                                stats.reject, stats.review));
  }
  runtime.close();
  progress.update(line.stats().verdicts);
  progress.finish();
}

// The output is what an inspection is for: when some of it could not be written, that is a failure.
Result<void> check_output(const line::LineStats& stats) {
  for (const line::SinkStats& sink : stats.sinks) {
    if (sink.failures == 0) continue;
    return fail(ErrorKind::unavailable,
                sink.last_error + "; the output is incomplete: free space there and inspect again");
  }
  return {};
}

}  // namespace

int run_inspect(const InspectOptions& options) {
  Result<config::Config> config = load_config(options.config);
  if (!config) return report_error(config.error());
  const Result<config::LineEntry> found = find_line(*config, options.line);
  if (!found) return report_error(found.error());
  const config::LineEntry entry = offline(*found, options.input);
  if (endless(entry.source)) {
    return report_error({ErrorKind::invalid_input,
                         "lines." + entry.line.name +
                             ".source has no end; name a folder with --input, or set boards"});
  }
  if (const auto there = check_input(entry); !there) return report_error(there.error());
  if (!options.repository.empty()) config->models.repository = options.repository;
  config->store.reset();
  config->server.reset();
  config->sinks = {{.type = "jsonl", .path = options.output, .replace = true}};

  const StopSignal stop;
  const SystemClock clock;
  auto runtime = Runtime::open(*config, {entry.line.name}, &report_line);
  if (!runtime) return report_error(runtime.error());
  if (const auto line = (*runtime)->add_line(entry); !line) return report_error(line.error());
  const TimePoint start = clock.now();
  watch(**runtime, stop);

  Summary summary;
  summary.counts = (*runtime)->counts();
  summary.seconds = std::chrono::duration<double>(clock.now() - start).count();
  const int exit_code = finish(summary, options.summary);
  const Result<void> written = check_output(summary.counts.lines.front().second);
  return written ? exit_code : report_error(written.error());
}

}  // namespace takt::app
