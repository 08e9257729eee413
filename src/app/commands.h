// SPDX-License-Identifier: Apache-2.0
// The subcommands of the program. Each returns the exit code of the process.
// Thread-safe: no; one a process.
// Owns: nothing.
#pragma once

#include <filesystem>
#include <string>

namespace takt::app {

// What scripts may rely on.
enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,   // the work could not be done: a model, a device, a disk
  kExitInvalid = 2,  // the command line, the configuration or the input is wrong
};

struct DemoOptions {
  std::filesystem::path config;  // empty: examples/pcb/takt.yaml beside the program's build folder
  double seconds = 60;
  double load = 0.6;               // share of the measured capacity that the camera is paced at
  bool view = true;                // the live terminal view
  std::filesystem::path data_dir;  // store and journal; empty: a temporary folder
  std::filesystem::path summary;   // the summary as JSON; empty: none
};

struct ServeOptions {
  std::filesystem::path config = "takt.yaml";
  std::filesystem::path summary;
};

struct InspectOptions {
  std::filesystem::path config;
  std::string line;                  // empty: the file's first line
  std::filesystem::path input;       // empty: the line's own source
  std::filesystem::path output;      // JSON Lines
  std::filesystem::path repository;  // in place of models.repository; empty: that one
  std::filesystem::path summary;
};

struct ValidateOptions {
  std::filesystem::path config = "takt.yaml";
  bool models = true;  // look at the repository as well
};

[[nodiscard]] int run_demo(const DemoOptions& options);
[[nodiscard]] int run_serve(const ServeOptions& options);
[[nodiscard]] int run_inspect(const InspectOptions& options);
[[nodiscard]] int run_validate(const ValidateOptions& options);
[[nodiscard]] int run_version();
// The main function of a worker process; control socket on descriptor 3.
[[nodiscard]] int run_worker(int parent);

// examples/pcb/takt.yaml of the checkout that this program was built in, or of the current folder.
[[nodiscard]] std::filesystem::path example_config();

}  // namespace takt::app
