// SPDX-License-Identifier: Apache-2.0
// The takt program: argument parsing and nothing else.
#include "app/commands.h"
#include "app/completion.h"
#include "app/doctor.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <exception>

namespace takt::app {
namespace {

std::filesystem::path default_cache() {
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home == nullptr ? "/tmp" : home) / ".cache" / "takt";
}

// What the parser fills in; it must outlive the parsing.
struct Arguments {
  DemoOptions demo;
  ServeOptions serve;
  InspectOptions inspect;
  ValidateOptions validate;
  PlanOptions plan;
  CompileArguments compile;
  KeyOptions key;
  std::filesystem::path cache = default_cache();
  std::string shell = "bash";
  int worker_parent = 0;
  int exit_code = kExitOk;
};

void add_demo(CLI::App& app, Arguments& arguments) {
  DemoOptions& options = arguments.demo;
  CLI::App* command = app.add_subcommand(
      "demo", "Run the example line with simulated boards for a minute, with a live view");
  command->add_option("--config", options.config, "Another takt.yaml; its first line is run");
  command->add_option("--seconds", options.seconds, "How long")->check(CLI::Range(0.1, 1e6));
  command->add_option("--load", options.load, "Share of the measured capacity to run at")
      ->check(CLI::Range(0.01, 10.0));
  command->add_flag("--view,!--no-view", options.view, "Live view on a terminal");
  command->add_option("--data", options.data_dir, "Keep store and journal in this folder");
  command->add_option("--summary", options.summary, "Write the summary as JSON to this file");
  command->callback([&arguments] { arguments.exit_code = run_demo(arguments.demo); });
}

void add_serve(CLI::App& app, Arguments& arguments) {
  ServeOptions& options = arguments.serve;
  CLI::App* command = app.add_subcommand("serve", "Run every line of a takt.yaml until Ctrl-C");
  command->add_option("config,--config", options.config, "The takt.yaml; by default the one here");
  command->add_option("--summary", options.summary, "Write the summary as JSON to this file");
  command->callback([&arguments] { arguments.exit_code = run_serve(arguments.serve); });
}

void add_inspect(CLI::App& app, Arguments& arguments) {
  InspectOptions& options = arguments.inspect;
  CLI::App* command =
      app.add_subcommand("inspect", "Judge a folder of images offline, as fast as the machine can");
  command->add_option("--config", options.config, "The takt.yaml")->required();
  command->add_option("--line", options.line, "The line; by default the file's first");
  command->add_option("--input", options.input,
                      "Folder with the images, named as the line's source says; for a simulated "
                      "line {id}_test.* and {id}_temp.*");
  command->add_option("--output", options.output, "JSON Lines, one object a frame")->required();
  command->add_option("--repository", options.repository, "Take the models from this folder");
  command->add_option("--summary", options.summary, "Write the summary as JSON to this file");
  command->callback([&arguments] { arguments.exit_code = run_inspect(arguments.inspect); });
}

void add_validate(CLI::App& app, Arguments& arguments) {
  ValidateOptions& options = arguments.validate;
  CLI::App* command = app.add_subcommand("validate", "Check a takt.yaml without running it");
  command->add_option("config,--config", options.config, "The takt.yaml; by default the one here");
  command->add_flag("--models,!--no-models", options.models, "Look at the models as well");
  command->callback([&arguments] { arguments.exit_code = run_validate(arguments.validate); });
}

void add_plan(CLI::App& app, Arguments& arguments) {
  PlanOptions& options = arguments.plan;
  CLI::App* command = app.add_subcommand(
      "plan", "Predict latencies, misses and utilisation, and how many devices hold the deadlines");
  command->add_option("config,--config", options.config, "The takt.yaml; by default the one here");
  command->add_flag("--measure", options.measure,
                    "Load the models and measure their profiles first; nothing else should run");
  command
      ->add_option("--measure-seconds", options.measure_seconds,
                   "About so long for each model, and again for all together")
      ->check(CLI::Range(0.1, 3600.0));
  command
      ->add_option("--devices", options.devices,
                   "Plan for so many devices; by default as many as are configured, and the "
                   "smallest number that holds is searched")
      ->check(CLI::Range(1, 64));
  command->add_option("--devices-max", options.devices_max, "Search up to so many devices")
      ->check(CLI::Range(1, 64));
  command->add_option("--arrivals", options.arrivals,
                      "periodic: the lines' rates, as a camera; poisson: the same rates at random; "
                      "or a CSV file of requests, SECONDS,TASK[,ROWS[,LINE]]");
  command
      ->add_option("--load", options.load,
                   "Scale the lines' rates to this share of what the configured devices can do")
      ->check(CLI::Range(0.01, 10.0));
  command->add_option("--requests", options.requests, "Simulate about so many")
      ->check(CLI::Range(std::uint64_t{100}, std::uint64_t{10'000'000}));
  command
      ->add_option("--crops", options.crops,
                   "Crops a frame of each cascaded task; by default its crops_max")
      ->check(CLI::Range(1, 10'000));
  command
      ->add_option("--miss-max", options.miss_max_percent,
                   "Percent of a task's requests and of a line's frames that may miss")
      ->check(CLI::Range(0.0, 100.0));
  command->add_option("--seed", options.seed, "Of what is random");
  command->add_flag("--json", options.json, "Print JSON in place of the table");
  command->footer(
      "Exit code: 0 the deadlines hold, 1 they don't or something failed, 2 bad usage.");
  command->callback([&arguments] { arguments.exit_code = run_plan(arguments.plan); });
}

void add_compile(CLI::App& app, Arguments& arguments) {
  CompileArguments& options = arguments.compile;
  options.cache = arguments.cache;
  CLI::App* command = app.add_subcommand(
      "compile", "Tune and compile a model for a GPU ahead of time; nothing else should run there");
  command->add_option("model", options.model, "The ONNX file")->required();
  command->add_option("--device", options.device, "The GPU")->capture_default_str();
  command->add_option("--precision", options.precision, "fp32, tf32, fp16 or bf16")
      ->default_str("fp16");
  command->add_option("--batch", options.batches, "Batch sizes, by comma, such as 1,8,32")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->default_str("1");
  command->add_option("--workspace", options.workspace, "Scratch memory that a layer may ask for")
      ->default_str("1GiB");
  command
      ->add_option("--effort", options.effort,
                   "How long the fastest way is looked for: fast, normal or max")
      ->default_str("normal");
  command
      ->add_option("--instances", options.instances,
                   "How many will run at once: the task's instances, or the GPU's lanes")
      ->capture_default_str();
  command
      ->add_option("--input", options.inputs,
                   "Whole shape of an input that the file leaves open, NAME=1x3x640x640; each "
                   "--batch replaces its first size; repeatable")
      ->allow_extra_args(false);
  command
      ->add_option("--dimension", options.dimensions,
                   "Size of a named dimension that the file leaves open, NAME=640; repeatable")
      ->allow_extra_args(false);
  command->add_option("-o,--plan", options.plan,
                      "Keep the plan in this file; what it has already is used again");
  command
      ->add_option("--cache", options.cache, "Without --plan: keep it in the folder plans in there")
      ->capture_default_str();
  command->add_flag("--verbose", options.verbose, "Show each layer");
  command->add_flag("--json", options.json, "Print JSON in place of the tables");
  command->footer(
      "A model in a repository, NAME/VERSION/model.onnx, is compiled as takt serve loads it: what "
      "isn't "
      "given here is as its config.pbtxt says (cuda.precision, cuda.batches, cuda.effort, "
      "cuda.workspace_mib; fp32 and 1,2,4,... to max_batch_size if it says nothing). takt serve "
      "finds the "
      "plan where models.cache is --cache.\n"
      "Exit code: 0 compiled, 1 no GPU, a library is missing or the plan can't be written, 2 bad "
      "usage or a model that a GPU doesn't run.");
  command->callback([&arguments] { arguments.exit_code = run_compile(arguments.compile); });
}

void add_key(CLI::App& app, Arguments& arguments) {
  KeyOptions& options = arguments.key;
  CLI::App* command = app.add_subcommand(
      "key", "Make a key for clients of a server, shown once, and its line for takt.yaml");
  command->add_option("name", options.name, "Whose key it is, such as line-3")->required();
  command
      ->add_option("--roles", options.roles,
                   "What it allows, by comma: infer; read (index, settings, metrics); operate "
                   "(changes of these, and to read them)")
      ->delimiter(',')
      ->capture_default_str();
  command->footer(
      "The first line is the key, sent as 'Authorization: Bearer KEY'; the second goes "
      "below server.keys.");
  command->callback([&arguments] { arguments.exit_code = run_key(arguments.key); });
}

// Not for people: how takt starts its own workers.
void add_worker(CLI::App& app, Arguments& arguments) {
  CLI::App* command = app.add_subcommand("worker", "")->group("");
  command->add_option("--parent", arguments.worker_parent)->required();
  command->callback([&arguments] { arguments.exit_code = run_worker(arguments.worker_parent); });
}

void add_small_commands(CLI::App& app, Arguments& arguments) {
  CLI::App* doctor = app.add_subcommand(
      "doctor", "Say what this machine has, what is missing, and what that costs");
  doctor->add_option("--cache", arguments.cache, "The folder for compiled models");
  doctor->callback([&arguments] { arguments.exit_code = run_doctor(arguments.cache); });

  CLI::App* version = app.add_subcommand("version", "Print the versions of takt and its libraries");
  version->callback([&arguments] { arguments.exit_code = run_version(); });

  CLI::App* completion =
      app.add_subcommand("completion", "Print a completion script: source <(takt completion bash)");
  completion->add_option("shell", arguments.shell, "bash")->check(CLI::IsMember({"bash"}));
  completion->callback([&app] { fmt::print("{}", bash_completion(app, "takt")); });
}

int run(int argc, char** argv) {
  CLI::App app{"takt: vision models on a production line, one verdict a part, in time"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("takt ") + TAKT_VERSION);
  app.footer("Start with: takt demo");
  Arguments arguments;
  add_demo(app, arguments);
  add_serve(app, arguments);
  add_inspect(app, arguments);
  add_validate(app, arguments);
  add_plan(app, arguments);
  add_compile(app, arguments);
  add_key(app, arguments);
  add_small_commands(app, arguments);
  add_worker(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitInvalid;
  }
  return arguments.exit_code;
}

}  // namespace
}  // namespace takt::app

int main(int argc, char** argv) {
  try {
    return takt::app::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "takt: {}\n", error.what());
    return takt::app::kExitFailed;
  }
}
