// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/run/compile_model.h"

#include "backend/cuda/compile/contraction_forms.h"
#include "backend/cuda/compile/lowering.h"
#include "backend/cuda/compile/plan_file.h"
#include "backend/cuda/run/compiled_model.h"
#include "backend/cuda/run/opened_device.h"
#include "backend/cuda/run/planned_build.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <system_error>
#include <utility>

namespace takt::cuda {
namespace {

constexpr int kLatencyRuns = 50;
constexpr int kStepRepeats = 10;  // of a step in a row, so that its begin and end count little

double microseconds(Duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

std::string shapes_of(const Step& step) {
  std::string text;
  for (const View& view : step.inputs) {
    text += (text.empty() ? "" : " ") + takt::to_string(view.shape);
  }
  return text + " -> " + takt::to_string(step.outputs.front().view.shape);
}

std::string precision_of(const Step& step) {
  std::string text(takt::to_string(step.outputs.front().view.type));
  std::ranges::transform(text, text.begin(),
                         [](char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

Result<std::vector<LayerReport>> layers_of(const Execution& execution,
                                           const DeviceProgram& program) {
  const std::vector<std::uint64_t> buffers = execution.room().buffers(program);
  const Result<std::vector<Duration>> times =
      time_steps(program, execution.queue(buffers), kStepRepeats);
  if (!times) return std::unexpected(times.error());
  Duration sum{};
  for (const Duration time : *times) sum += time;
  std::vector<LayerReport> layers;
  for (std::size_t i = 0; i < times->size(); ++i) {
    const StepRunner& runner = program.runners[i];
    const Step& step = runner.step();
    layers.push_back({.name = step.name,
                      .shapes = shapes_of(step),
                      .precision = precision_of(step),
                      .implementation = runner.implementation(),
                      .microseconds = microseconds((*times)[i]),
                      .share = sum > Duration{} ? microseconds((*times)[i]) / microseconds(sum) : 0,
                      .bytes = bytes_moved(step),
                      .flops = floating_point_operations(step)});
  }
  return layers;
}

Result<BatchReport> measure(const Execution& execution, std::int64_t batch) {
  const CompiledModel& model = execution.model();
  const DeviceProgram& program = model.programs().at(batch);
  const Result<Duration> latency = execution.time(batch, kLatencyRuns);
  if (!latency) return std::unexpected(latency.error());
  Result<std::vector<LayerReport>> layers = layers_of(execution, program);
  if (!layers) return std::unexpected(std::move(layers).error());
  const double rows = static_cast<double>(std::max<std::int64_t>(1, batch));
  return BatchReport{.batch = batch,
                     .latency_p50 = *latency,
                     .rows_per_second = rows * 1e6 / std::max(1e-3, microseconds(*latency)),
                     .arena_bytes = program.program.arena_bytes,
                     .weights_bytes = model.weights_bytes(),
                     .layers = *std::move(layers)};
}

std::vector<std::pair<std::string, std::string>> libraries_of(const OpenedDevice& device) {
  std::vector<std::pair<std::string, std::string>> libraries{
      {"CUDA driver", version_text(device.driver->version())}};
  if (device.nvrtc) libraries.emplace_back("NVRTC", version_text(device.nvrtc->version()));
  if (device.cudnn) libraries.emplace_back("cuDNN", cudnn_version_text(device.cudnn->version()));
  return libraries;
}

ModelOptions model_options(const CompileOptions& options) {
  ModelOptions build;
  build.batches = options.batches;
  build.input_shapes = shapes_of_rows(options);
  build.dimensions = options.dimensions;
  build.precision = options.precision;
  build.tuning.effort = options.effort;
  build.tuning.concurrent = options.instances;
  build.tuning.workspace_bytes_max = options.workspace_bytes;
  return build;
}

// A file that fixes its sizes would be measured at its own size whatever is asked for, with rates that aren't
// true. A single size of 1 suits models without a batch dimension too.
Result<void> check_batch(const graph::Graph& graph, std::int64_t batch) {
  std::string inputs;
  for (const graph::ValueId id : graph.inputs) {
    const graph::Value& input = graph.value(id);
    if (!input.type.shape.empty() && input.type.shape.front() == batch) return {};
    inputs += fmt::format("{}{} {}", inputs.empty() ? "" : ", ", input.name,
                          takt::to_string(input.type.shape));
  }
  return fail(
      ErrorKind::invalid_input,
      fmt::format("batch size {}: the file fixes the sizes of its inputs ({}); export it with "
                  "an open first dimension, or compile it for that size alone",
                  batch, inputs));
}

// What needs no device: told before minutes are spent on it, and where there is none.
Result<void> check_without_device(const std::filesystem::path& onnx, const ModelOptions& build,
                                  const CompileOptions& options) {
  for (const std::int64_t batch : build.batches) {
    const Result<graph::Graph> graph = read_graph(onnx, build, batch);
    if (!graph) return std::unexpected(graph.error());
    if (build.batches.size() > 1 || batch > 1) {
      Result<void> checked = check_batch(*graph, batch);
      if (!checked) return std::unexpected(std::move(checked).error().within(onnx.string()));
    }
    Result<Program> program =
        lower(*graph, {.precision = build.precision, .inputs_made_on_device = {}, .steps_kept = 0});
    if (!program) return std::unexpected(std::move(program).error().within(onnx.string()));
  }
  if (!options.plan.empty()) return check_writable(options.plan);
  // The file's name depends on the device.
  return options.cache_dir.empty() ? Result<void>() : check_writable(options.cache_dir / "plan");
}

}  // namespace

std::map<std::string, Shape> shapes_of_rows(const CompileOptions& options) {
  std::map<std::string, Shape> shapes = options.input_shapes;
  const bool batched =
      std::ranges::any_of(options.batches, [](std::int64_t size) { return size > 0; });
  for (auto& [name, shape] : shapes) {
    if (batched && !shape.empty()) shape.erase(shape.begin());
  }
  return shapes;
}

Result<CompileReport> compile_model(const std::filesystem::path& onnx,
                                    const CompileOptions& options, CompileObserver& observer) {
  const auto start = std::chrono::steady_clock::now();
  const ModelOptions build = model_options(options);
  const Result<void> checked = check_without_device(onnx, build, options);
  if (!checked) return std::unexpected(checked.error());
  std::error_code unknown;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", unknown);
  Result<OpenedDevice> opened =
      open_device(library_search(folders_of_environment(), program), options.device);
  if (!opened) return std::unexpected(std::move(opened).error());
  const auto device = std::make_shared<const OpenedDevice>(*std::move(opened));

  const PlanUse use{options.plan, options.cache_dir, onnx.stem().string(), options.takt_version};
  const Result<PlannedModel> planned = build_with_plan(
      device, onnx, build, use,
      [&](std::string_view stage, int done, int total) { observer.progress(stage, done, total); });
  if (!planned) return std::unexpected(planned.error());
  if (!planned->unsaved.empty()) return fail(ErrorKind::unavailable, planned->unsaved);

  CompileReport report;
  report.device = device->device().name;
  report.libraries = libraries_of(*device);
  report.plan = planned->file;
  report.remade = planned->remade;
  report.tuned_steps = planned->model->tuning().tuned;
  report.reused_steps = planned->model->tuning().reused;
  const Result<Context::Scope> scope = device->context->enter();
  if (!scope) return std::unexpected(scope.error());
  const Result<Execution> execution = Execution::open(planned->model);
  if (!execution) return std::unexpected(execution.error());
  const int total = static_cast<int>(options.batches.size());
  for (int i = 0; i < total; ++i) {
    observer.progress("measuring", i, total);
    Result<BatchReport> batch = measure(*execution, options.batches[static_cast<std::size_t>(i)]);
    if (!batch) return std::unexpected(std::move(batch).error());
    report.batches.push_back(*std::move(batch));
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace takt::cuda
