// SPDX-License-Identifier: Apache-2.0
// The subcommands of the program. Each returns the exit code of the process.
// Thread-safe: no; one a process.
// Owns: nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

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

struct PlanOptions {
  std::filesystem::path config = "takt.yaml";
  int devices = 0;                    // 0: as many as are configured, and the smallest number
  int devices_max = 16;               // of the search
  std::string arrivals = "periodic";  // or poisson, or a CSV file
  double load = 0;                    // share of the configured devices; 0: the lines' rates
  std::uint64_t requests = 20'000;
  int crops = 0;  // a frame and cascaded task; 0: crops_max
  double miss_max_percent = 0.1;
  std::uint64_t seed = 1;
  bool measure = false;
  double measure_seconds = 10;  // each model alone, and again all together
  bool json = false;
};

// What is empty is as takt serve would load the model, if it lies in a repository (compile_defaults.h).
struct CompileArguments {
  std::filesystem::path model;  // an ONNX file
  std::string device = "cuda:0";
  std::string precision;                // otherwise fp16
  std::vector<std::int64_t> batches;    // otherwise 1
  std::string workspace;                // otherwise 1GiB
  std::string effort;                   // otherwise normal
  std::int64_t instances = 2;           // what `lanes: auto` of a GPU opens
  std::vector<std::string> inputs;      // NAME=1x3x640x640
  std::vector<std::string> dimensions;  // NAME=640
  std::filesystem::path plan;           // empty: in the cache
  std::filesystem::path cache;
  bool verbose = false;  // each layer
  bool json = false;
};

struct KeyOptions {
  std::string name;
  std::vector<std::string> roles{"infer"};
};

[[nodiscard]] int run_demo(const DemoOptions& options);
[[nodiscard]] int run_serve(const ServeOptions& options);
[[nodiscard]] int run_inspect(const InspectOptions& options);
[[nodiscard]] int run_validate(const ValidateOptions& options);
// 0: the deadlines hold; 1: they don't.
[[nodiscard]] int run_plan(const PlanOptions& options);
[[nodiscard]] int run_compile(CompileArguments arguments);
// Prints a new key for clients of a server, and what takt.yaml says of it.
[[nodiscard]] int run_key(const KeyOptions& options);
[[nodiscard]] int run_version();
// The main function of a worker process; control socket on descriptor 3.
[[nodiscard]] int run_worker(int parent);

// examples/pcb/takt.yaml of the checkout that this program was built in, or of the current folder.
[[nodiscard]] std::filesystem::path example_config();

}  // namespace takt::app
