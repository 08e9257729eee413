// SPDX-License-Identifier: Apache-2.0
// takt-bench-models: a model on the first GPU: time on the device and from host to host at each batch size,
// several instances at once, copies beside computation, each step by itself, and results beside those of ONNX
// Runtime. One JSON object on standard output. bench/README.md says what is measured; TAKT_CUDA_FOLDERS names
// more folders with NVIDIA's libraries.
#include "backend/cuda/compile/contraction_forms.h"
#include "backend/cuda/run/compiled_model.h"
#include "backend/cuda/run/opened_device.h"
#include "core/half.h"
#include "gpu_limits.h"
#include "gpu_measure.h"
#include "gpu_tilings.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace takt::cuda {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::filesystem::path model;
  std::string precision = "fp16";
  std::vector<std::int64_t> batches{1};
  std::string effort = "normal";
  int lanes = 0;
  int concurrent = 1;
  std::filesystem::path pieces;
  std::filesystem::path check;
  int instances = 0;
  int repeats = 200;
  std::int64_t overlap = 0;
  bool layers = false;
  bool limits = false;
  bool tilings = false;
};

// Pinned memory for one run's inputs and outputs, filled with random numbers.
struct HostRoom {
  std::vector<PinnedMemory> inputs;
  std::vector<PinnedMemory> outputs;
};

HostRoom host_room(const CompiledModel& model, const DeviceProgram& program) {
  HostRoom room;
  const auto allocate = [&](const View& view) {
    const Buffer& buffer = program.program.buffers[static_cast<std::size_t>(view.buffer)];
    return must(
        PinnedMemory::allocate(model.device().context, std::max<std::size_t>(1, buffer.bytes)));
  };
  for (const View& view : program.program.inputs) {
    room.inputs.push_back(allocate(view));
    fill_with_noise(room.inputs.back().bytes(), view.type, 7);
  }
  for (const View& view : program.program.outputs) room.outputs.push_back(allocate(view));
  return room;
}

void queue_inputs(const Execution& execution, const HostRoom& room) {
  for (std::size_t i = 0; i < room.inputs.size(); ++i) {
    must(copy_to_device(execution.room().input(i), room.inputs[i].bytes(), execution.stream()));
  }
}

void queue_outputs(const Execution& execution, const HostRoom& room) {
  for (std::size_t i = 0; i < room.outputs.size(); ++i) {
    DeviceSpan from = execution.room().output(i);
    from.bytes = room.outputs[i].bytes().size();
    must(copy_to_host(room.outputs[i].bytes(), from, execution.stream()));
  }
}

void run_once(const Execution& execution, const HostRoom& room, std::int64_t batch) {
  queue_inputs(execution, room);
  must(execution.launch(batch));
  queue_outputs(execution, room);
  must(execution.stream().synchronize());
}

Json measure_batch(const Execution& execution, std::int64_t batch, int repeats) {
  const CompiledModel& model = execution.model();
  const auto scope = must(model.device().context->enter());
  const DeviceProgram& program = model.programs().at(batch);
  const HostRoom room = host_room(model, program);
  const Event begin = must(Event::create(model.device().context, EventUse::timing));
  const Event end = must(Event::create(model.device().context, EventUse::timing));
  run_once(execution, room, batch);
  std::vector<double> device;
  std::vector<double> whole;
  for (int i = 0; i < repeats; ++i) {
    must(begin.record(execution.stream()));
    must(execution.launch(batch));
    must(end.record(execution.stream()));
    must(end.synchronize());
    device.push_back(microseconds(must(Event::elapsed(begin, end))));
    const auto start = Clock::now();
    run_once(execution, room, batch);
    whole.push_back(microseconds_since(start));
  }
  const std::vector<double> each_row = in_a_row_us(execution, batch);
  const double row = median(each_row);
  const double rows = static_cast<double>(std::max<std::int64_t>(1, batch));
  return {{"batch", batch},
          {"steps", program.program.steps.size()},
          {"launches", program.runners.size()},
          {"arena_mib", static_cast<double>(program.program.arena_bytes) / (1 << 20)},
          {"device_us", percentiles(device)},
          {"host_to_host_us", percentiles(whole)},
          {"in_a_row_us", row},
          {"in_each_row_us", each_row},
          {"images_per_second", rows * 1e6 / row}};
}

Json measure_layers(const Execution& execution, std::int64_t batch) {
  constexpr int kRepeats = 10;
  const CompiledModel& model = execution.model();
  const auto scope = must(model.device().context->enter());
  const DeviceProgram& program = model.programs().at(batch);
  const std::vector<std::uint64_t> buffers = execution.room().buffers(program);
  const std::vector<Duration> times = must(time_steps(program, execution.queue(buffers), kRepeats));
  Json layers = Json::array();
  for (std::size_t i = 0; i < times.size(); ++i) {
    const StepRunner& runner = program.runners[i];
    const Step& step = runner.step();
    std::string inputs;
    for (const View& view : step.inputs) inputs += (inputs.empty() ? "" : " ") + to_string(view);
    std::string ops;
    for (const StepOp& op : step.ops) ops += (ops.empty() ? "" : " ") + graph::describe(op.op);
    layers.push_back({{"name", step.name},
                      {"ops", ops},
                      {"inputs", inputs},
                      {"output", to_string(step.outputs.front().view)},
                      {"by", runner.implementation()},
                      {"us", microseconds(times[i])},
                      {"flop", floating_point_operations(step)},
                      {"bytes", bytes_moved(step)}});
  }
  return layers;
}

// Instances of one thread each, host to host.
Json measure_instances(const std::shared_ptr<const CompiledModel>& model, int count,
                       std::int64_t batch) {
  constexpr auto kSpan = std::chrono::seconds(2);
  std::vector<Execution> executions;
  for (int i = 0; i < count; ++i) executions.push_back(must(Execution::open(model)));
  std::vector<std::int64_t> done(static_cast<std::size_t>(count));
  const auto start = Clock::now();
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([&, i] {
        const auto scope = must(model->device().context->enter());
        const Execution& execution = executions[static_cast<std::size_t>(i)];
        const HostRoom room = host_room(*model, model->programs().at(batch));
        while (Clock::now() - start < kSpan) {
          run_once(execution, room, batch);
          ++done[static_cast<std::size_t>(i)];
        }
      });
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::int64_t sum = 0;
  for (const std::int64_t runs : done) sum += runs;
  return {
      {"instances", count},
      {"batch", batch},
      {"images_per_second", static_cast<double>(sum * std::max<std::int64_t>(1, batch)) / seconds}};
}

// Several instances with copies in and out, beside the device's time alone.
Json measure_overlap(const std::shared_ptr<const CompiledModel>& model, std::int64_t batch) {
  Json result = Json::array();
  for (const int count : {1, 2, 3}) result.push_back(measure_instances(model, count, batch));
  return result;
}

std::vector<char> read_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    give_up("can't read " + file.string());
  }
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::vector<double> numbers_of(std::span<const std::byte> bytes, DataType type) {
  const TensorView view{type, {}, bytes};
  std::vector<double> numbers;
  const auto take = [&]<typename T>(std::span<const T> values) {
    for (const T value : values) numbers.push_back(static_cast<double>(value));
  };
  if (type == DataType::fp32) take(view.as<float>());
  if (type == DataType::fp64) take(view.as<double>());
  if (type == DataType::int64) take(view.as<std::int64_t>());
  if (type == DataType::int32) take(view.as<std::int32_t>());
  if (type == DataType::fp16) {
    for (const std::uint16_t bits : view.as<std::uint16_t>()) numbers.push_back(from_fp16(bits));
  }
  return numbers;
}

// Beside the reference's outputs: cosine of the angle between them, and the largest difference over the
// largest number.
Json compare(const Execution& execution, std::int64_t batch, const std::filesystem::path& index) {
  const CompiledModel& model = execution.model();
  const auto scope = must(model.device().context->enter());
  const DeviceProgram& program = model.programs().at(batch);
  const HostRoom room = host_room(model, program);
  const Json reference = Json::parse(read_file(index));
  const auto file_of = [&](const char* kind, const std::string& name) -> std::filesystem::path {
    for (const Json& entry : reference.at(kind)) {
      if (entry.at("name") == name) return index.parent_path() / entry.at("file");
    }
    give_up(index.string() + " has no " + name);
  };
  for (std::size_t i = 0; i < model.inputs().size(); ++i) {
    const std::vector<char> bytes = read_file(file_of("inputs", model.inputs()[i].name));
    const std::span<std::byte> to = room.inputs[i].bytes();
    std::memcpy(to.data(), bytes.data(), std::min(bytes.size(), to.size()));
  }
  run_once(execution, room, batch);
  Json results = Json::array();
  for (std::size_t i = 0; i < model.outputs().size(); ++i) {
    const BoundTensor& output = model.outputs()[i];
    const std::vector<char> bytes = read_file(file_of("outputs", output.name));
    const std::vector<double> expected =
        numbers_of(std::as_bytes(std::span(bytes)), output.type.type);
    const std::vector<double> got = numbers_of(room.outputs[i].bytes(), output.type.type);
    double product = 0;
    double e2 = 0;
    double g2 = 0;
    double difference = 0;
    double largest = 0;
    const std::size_t count = std::min(expected.size(), got.size());
    for (std::size_t k = 0; k < count; ++k) {
      product += expected[k] * got[k];
      e2 += expected[k] * expected[k];
      g2 += got[k] * got[k];
      difference = std::max(difference, std::abs(expected[k] - got[k]));
      largest = std::max(largest, std::abs(expected[k]));
    }
    const double cosine = e2 == 0 && g2 == 0 ? 1 : product / std::sqrt(e2 * g2);
    results.push_back({{"name", output.name},
                       {"elements", count},
                       {"same_size", expected.size() == got.size()},
                       {"cosine", std::isfinite(cosine) ? cosine : -2},
                       {"difference", largest > 0 ? difference / largest : difference}});
  }
  return results;
}

template <typename Setting>
Setting known(std::optional<Setting> setting, const std::string& text) {
  if (!setting) give_up("'" + text + "' isn't known; --help lists what is");
  return *setting;
}

int run(const Options& options) {
  const auto device = first_device();
  ModelOptions model_options;
  model_options.batches = options.batches;
  model_options.precision = known(parse_precision(options.precision), options.precision);
  model_options.lanes = options.lanes;
  model_options.tuning.concurrent = options.concurrent;
  model_options.tuning.effort = known(parse_effort(options.effort), options.effort);
  if (options.tilings) {
    Json steps;
    for (const std::int64_t batch : options.batches) {
      steps[std::to_string(batch)] = measure_tilings(*device, options.model, model_options, batch);
    }
    std::cout << Json{{"model", options.model.filename().string()},
                      {"device", device->device().name},
                      {"tilings", steps}}
                     .dump()
              << '\n';
    return 0;
  }
  KeptPieces pieces(*device, options.pieces);
  const auto start = Clock::now();
  const auto model =
      must(CompiledModel::build(device, options.model, model_options, pieces.store(), {}));
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  pieces.save();
  const Execution execution = must(Execution::open(model));
  Json result{{"model", options.model.filename().string()},
              {"precision", options.precision},
              {"effort", options.effort},
              {"concurrent", options.concurrent},
              {"device", device->device().name},
              {"missing", device->missing},
              {"build_seconds", seconds},
              {"tuned", model->tuning().tuned},
              {"reused", model->tuning().reused},
              {"refused_by_check", model->tuning().refused_by_check},
              {"refusals", model->tuning().refusals},
              {"planning_seconds", microseconds(model->tuning().planning) / 1e6},
              {"trying_seconds", microseconds(model->tuning().trying) / 1e6},
              {"weights_mib", static_cast<double>(model->weights_bytes()) / (1 << 20)},
              {"instance_mib", static_cast<double>(model->room_size().bytes()) / (1 << 20)}};
  if (options.limits) {
    const DeviceLimits limits = measure_limits(*device);
    result["limits"] = {{"flop_per_second", limits.flop_per_second},
                        {"bytes_per_second", limits.bytes_per_second}};
  }
  for (const std::int64_t batch : options.batches) {
    if (options.repeats > 0) {
      result["batches"].push_back(measure_batch(execution, batch, options.repeats));
    }
    if (options.layers) result["layers"][std::to_string(batch)] = measure_layers(execution, batch);
  }
  if (!options.check.empty()) {
    result["check"] = compare(execution, options.batches.front(), options.check);
  }
  if (options.instances > 0) {
    result["instances"] = measure_instances(model, options.instances, options.batches.front());
  }
  if (options.overlap > 0) result["overlap"] = measure_overlap(model, options.overlap);
  std::cout << result.dump() << '\n';
  return 0;
}

}  // namespace
}  // namespace takt::cuda

int main(int argc, char** argv) {
  takt::cuda::Options options;
  CLI::App app{"Measures a model on the first GPU and prints one JSON object."};
  app.add_option("model", options.model, "ONNX file")->required()->check(CLI::ExistingFile);
  app.add_option("--precision", options.precision, "fp32, tf32, fp16 or bf16");
  app.add_option("--batch", options.batches, "batch sizes")->delimiter(',');
  app.add_option("--effort", options.effort, "fast, normal or max");
  app.add_option("--lanes", options.lanes, "steps beside each other; 0: as many as are fastest");
  app.add_option("--concurrent", options.concurrent,
                 "instances that tuning times beside each other, 4 at most")
      ->check(CLI::Range(1, 64));
  app.add_option("--plan", options.pieces, "plan file to read and write");
  app.add_option("--check", options.check, "index of the reference's inputs and outputs (JSON)");
  app.add_option("--instances", options.instances, "so many at once, at the first batch size");
  app.add_option("--overlap", options.overlap, "1, 2 and 3 instances at this batch size");
  app.add_option("--repeats", options.repeats, "runs that are measured; 0: none");
  app.add_flag("--layers", options.layers, "each step by itself");
  app.add_flag("--tilings", options.tilings,
               "instead of the model: each tiling that tuning may choose for its contractions");
  app.add_flag("--limits", options.limits,
               "FLOP and bytes a second that the device reaches at most");
  CLI11_PARSE(app, argc, argv);
  return takt::cuda::run(options);
}
