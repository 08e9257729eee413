// SPDX-License-Identifier: Apache-2.0
// takt-bench-line: one measurement a call, its figures as one JSON object on standard output.
// bench/line.py runs them in turns and compares; bench/README.md says how each is measured.
#include "line_boards.h"
#include "line_measure.h"
#include "line_setup.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>

namespace takt::bench {

using nlohmann::json;

double quantile(std::span<const double> sorted, double q) {
  return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1))];
}

namespace {

using Measurement = std::function<Result<json>(Setup&)>;

struct Arguments {
  SetupOptions setup;
  RunOptions run;
  CropsOptions crops;
  IdleOptions idle;
  HeapOptions heap;
  int pairs = 64;
  std::filesystem::path directory;
  int exit_code = 0;
};

int report(const Error& error) {
  std::fprintf(stderr, "takt-bench-line: %s\n", error.message.c_str());
  return 1;
}

int measure(const SetupOptions& options, const Measurement& measurement) {
  const Result<std::unique_ptr<Setup>> setup = Setup::open(options);
  if (!setup) return report(setup.error());
  const Result<json> figures = measurement(**setup);
  if (!figures) return report(figures.error());
  std::printf("%s\n", figures->dump().c_str());
  return 0;
}

CLI::App* add(CLI::App& app, const char* name, const char* what, Arguments& arguments,
              Measurement measurement) {
  CLI::App* command = app.add_subcommand(name, what);
  SetupOptions& setup = arguments.setup;
  command->add_option("--config", setup.config, "takt.yaml; its first line is measured");
  command->add_option("--repository", setup.repository, "Models, in place of the configuration's");
  command->add_option("--tasks", setup.tasks, "Tasks of the line, in place of all")->delimiter(',');
  command->add_option("--backend", setup.backend, "For every task");
  command->add_option("--lanes", setup.lanes, "Batches at once, one thread each");
  command->add_option("--frames-in-flight", setup.frames_in_flight, "Frames judged at once");
  command->callback([&arguments, measurement = std::move(measurement)] {
    arguments.exit_code = measure(arguments.setup, measurement);
  });
  return command;
}

void add_commands(CLI::App& app, Arguments& a) {
  CLI::App* boards = app.add_subcommand("boards", "Write simulated boards as PNG pairs");
  boards->add_option("directory", a.directory)->required();
  boards->add_option("--pairs", a.pairs);
  boards->callback([&a] {
    const Result<void> written = write_boards(a.pairs, a.directory);
    a.exit_code = written ? 0 : report(written.error());
  });

  CLI::App* run = add(app, "run", "The line as fast as it goes", a,
                      [&a](Setup& setup) { return measure_run(setup, a.run); });
  run->add_option("--input", a.run.input, "Folder of PNG pairs; without: decoded boards in memory");
  run->add_option("--jsonl", a.run.jsonl, "Write verdicts to this file");
  run->add_option("--warm-up", a.run.warm_up_s, "Seconds");
  run->add_option("--seconds", a.run.seconds);
  run->add_option("--repeat", a.run.repeat, "Times through the input, in place of seconds");

  CLI::App* crops = add(app, "crops", "The cascade's model alone", a,
                        [&a](Setup& setup) { return measure_crops(setup, a.crops); });
  crops->add_option("--task", a.crops.task);
  crops->add_option("--warm-up", a.crops.warm_up_s, "Seconds");
  crops->add_option("--seconds", a.crops.seconds);

  CLI::App* idle = add(app, "idle", "One request at a time", a,
                       [&a](Setup& setup) { return measure_idle(setup, a.idle); });
  idle->add_option("--task", a.idle.task)->required();
  idle->add_option("--requests", a.idle.requests)->check(CLI::PositiveNumber);
  idle->add_option("--pause-ms", a.idle.pause_ms);

  CLI::App* heap = add(app, "heap", "Memory in use after so many frames", a,
                       [&a](Setup& setup) { return measure_heap(setup, a.heap); });
  heap->add_option("--marks", a.heap.marks, "Frames")->delimiter(',');
  heap->add_option("--journal-segment-bytes", a.setup.journal_segment_bytes);
}

int run(int argc, char** argv) {
  CLI::App app{"Measurements of a takt line; see bench/README.md"};
  app.require_subcommand(1);
  Arguments arguments;
  add_commands(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return arguments.exit_code;
}

}  // namespace
}  // namespace takt::bench

int main(int argc, char** argv) {
  try {
    return takt::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "takt-bench-line: %s\n", error.what());
    return 1;
  }
}
