// SPDX-License-Identifier: Apache-2.0
// takt-bench-gpu-serving: a model on the first GPU as takt serves it, host to host: latency of one image, images
// a second of several instances beside the device's time alone, and what the engine adds to a request. One JSON
// object on standard output. bench/README.md says what is measured; TAKT_CUDA_FOLDERS names more folders with
// NVIDIA's libraries.
#include "gpu_engine.h"
#include "gpu_feed.h"
#include "gpu_measure.h"
#include "gpu_served.h"
#include "gpu_whole.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <map>

namespace takt::cuda {
namespace {

struct Options {
  std::filesystem::path model;
  std::filesystem::path plan;
  std::vector<std::string> inputs{"images"};
  std::vector<std::int64_t> batches{32, 64};
  std::vector<int> instances{2, 3};
  int runs = 500;
  double seconds = 0.4;
  int spin_us = 2000;
  bool engine = false;
  LoadSettings load;
};

struct Bench {
  const Options& options;
  ServedFile file;
  std::shared_ptr<const OpenedDevice> device;
  KeptPieces& pieces;
};

constexpr int kTurns = 3;

int most_instances(const Options& options) {
  return std::ranges::max(options.instances);
}

struct Lanes {
  std::unique_ptr<WholeLanes> graphs;  // where instances don't take the batch
  std::vector<Lane> all;
};

Lanes open_lanes(const Bench& bench, InputKind kind, const ServedModel& served, WholeModel whole) {
  const int count = most_instances(bench.options);
  Lanes lanes;
  if (bench.file.batched) {
    for (int i = 0; i < count; ++i) {
      lanes.all.push_back(lane_of(served, bench.file, static_cast<std::size_t>(i), whole.rows));
    }
    return lanes;
  }
  lanes.graphs = open_whole(std::move(whole), bench.file, kind, count);
  for (const std::unique_ptr<WholeGraph>& graph : lanes.graphs->graphs) {
    lanes.all.emplace_back([graph = graph.get(), context = bench.device->context] {
      const auto scope = must(context->enter());
      graph->describe_images();
      graph->run();
    });
  }
  return lanes;
}

// The model alone, its input as full of noise as what lanes read: the power that a device takes, and with it its
// clock, depend on the numbers.
Execution open_alone(const WholeModel& model) {
  Execution alone = must(Execution::open(model.compiled));
  const auto scope = must(model.compiled->device().context->enter());
  const View& input = model.compiled->programs().at(model.program).program.inputs.front();
  std::vector<std::byte> noise(alone.room().input(0).bytes);
  fill_with_noise(noise, input.type, 1);
  must(copy_to_device(alone.room().input(0), noise, alone.stream()));
  must(alone.stream().synchronize());
  return alone;
}

Json measure_rates(const Bench& bench, InputKind kind, std::int64_t batch,
                   const ServedModel& served) {
  const Options& options = bench.options;
  WholeModel whole = build_whole(bench.device, bench.file, options.load, batch, kind, bench.pieces);
  const Execution alone = open_alone(whole);
  const std::int64_t program = whole.program;
  const Lanes lanes = open_lanes(bench, kind, served, std::move(whole));
  // In turns and each as long: a device under load slows down.
  std::vector<double> alone_us;
  std::map<int, std::vector<double>> rates;
  std::map<int, std::vector<double>> shares;
  for (int turn = 0; turn < kTurns; ++turn) {
    alone_us.push_back(median(in_a_row_us(alone, program, options.seconds)));
    for (const int count : options.instances) {
      const double rate = images_per_second(
          std::span(lanes.all).first(static_cast<std::size_t>(count)), batch, options.seconds);
      rates[count].push_back(rate);
      shares[count].push_back(rate * alone_us.back() / (static_cast<double>(batch) * 1e6));
    }
  }
  const double device_us = median(alone_us);
  Json result{{"batch", batch},
              {"through", bench.file.batched ? "instances" : "graphs"},
              {"device_us", device_us},
              {"device_images_per_second", static_cast<double>(batch) * 1e6 / device_us}};
  for (const int count : options.instances) {
    result["instances"].push_back({{"instances", count},
                                   {"images_per_second", median(rates[count])},
                                   {"of_device", median(shares[count])}});
  }
  return result;
}

Json measure_input(const Bench& bench, InputKind kind) {
  const Options& options = bench.options;
  std::vector<std::int64_t> batches{1};
  for (const std::int64_t batch : options.batches) batches.push_back(batch);
  std::ranges::sort(batches);
  const auto [first, last] = std::ranges::unique(batches);
  batches.erase(first, last);
  const ServedModel served = serve(*bench.device, bench.file, options.load, batches, kind,
                                   bench.file.batched ? most_instances(options) : 1, bench.pieces);
  bench.pieces.save();
  Json result;
  if (options.runs > 0) {
    result["run_us"] = percentiles(times_us(options.runs, lane_of(served, bench.file, 0, 1)));
  }
  for (const std::int64_t batch : options.batches) {
    result["rates"].push_back(measure_rates(bench, kind, batch, served));
  }
  return result;
}

InputKind parse_kind(const std::string& text) {
  if (text == "images") return InputKind::images;
  if (text == "tensors") return InputKind::tensors;
  give_up("--inputs takes images and tensors, not '" + text + "'");
}

void check(const Options& options) {
  const auto positive = [](auto number) { return number >= 1 && number <= 4096; };
  if (options.inputs.empty() || options.instances.empty() ||
      !std::ranges::all_of(options.instances, positive) ||
      !std::ranges::all_of(options.batches, positive)) {
    give_up("--instances and --batch take numbers from 1 to 4096");
  }
  for (const std::string& input : options.inputs) parse_kind(input);
}

int run(Options options) {
  check(options);
  options.load.spin = std::chrono::microseconds(options.spin_us);
  const auto device = first_device();
  KeptPieces pieces(*device, options.plan);
  const Bench bench{options, read_served_file(options.model), device, pieces};
  Json result{{"model", options.model.filename().string()},
              {"precision", options.load.precision},
              {"effort", options.load.effort},
              {"concurrent", options.load.concurrent},
              {"device", device->device().name},
              {"missing", device->missing},
              {"spin_us", options.spin_us}};
  for (const std::string& input : options.inputs) {
    result["inputs"][input] = measure_input(bench, parse_kind(input));
  }
  if (options.engine) {
    const std::string& input = options.inputs.front();
    result["engine"][input] =
        measure_engine(device, bench.file, options.load, parse_kind(input), {}, pieces);
  }
  pieces.save();
  std::cout << result.dump() << '\n';
  return 0;
}

}  // namespace
}  // namespace takt::cuda

int main(int argc, char** argv) {
  takt::cuda::Options options;
  CLI::App app{"Measures a model as takt serves it on the first GPU and prints one JSON object."};
  app.add_option("model", options.model, "ONNX file with one input [batch, 3, height, width]")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--inputs", options.inputs, "images (u8, scaled on the device), tensors (FP32)")
      ->delimiter(',');
  app.add_option("--batch", options.batches, "batch sizes of images a second")->delimiter(',');
  app.add_option("--instances", options.instances, "so many at once")->delimiter(',');
  app.add_option("--runs", options.runs, "of one image, for its latency; 0: none");
  app.add_option("--seconds", options.seconds, "of each rate, three times in turns");
  app.add_option("--spin-us", options.spin_us, "how long an instance looks before it sleeps");
  app.add_option("--precision", options.load.precision, "fp32, tf32, fp16 or bf16");
  app.add_option("--effort", options.load.effort, "fast, normal or max");
  app.add_option("--concurrent", options.load.concurrent,
                 "instances that tuning times beside each other, 4 at most")
      ->check(CLI::Range(1, 64));
  app.add_option("--plan", options.plan, "file that keeps what tuning found out, for all programs");
  app.add_flag("--engine", options.engine,
               "what the engine adds to a request of the first --inputs");
  CLI11_PARSE(app, argc, argv);
  return takt::cuda::run(std::move(options));
}
