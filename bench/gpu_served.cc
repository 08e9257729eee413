// SPDX-License-Identifier: Apache-2.0
#include "gpu_served.h"

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/run/planned_build.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <barrier>
#include <thread>

namespace takt::cuda {
namespace {

LoadOptions load_options(const ServedFile& file, const LoadSettings& settings,
                         const std::vector<std::int64_t>& batches, InputKind kind, int instances,
                         const SlotPool& pool) {
  LoadOptions options;
  options.device = kDeviceName;
  options.precision = settings.precision;
  options.parameters = {{"cuda.effort", settings.effort}};
  options.spin = settings.spin;
  options.instances = instances;
  options.tuned_instances = settings.concurrent;
  options.input_memory = {pool.memory()};
  if (file.batched) {
    options.batch_max = static_cast<int>(batches.back());
    options.parameters.emplace_back("cuda.batches", fmt::format("{}", fmt::join(batches, ",")));
  } else {
    TensorSpec spec = file.input;
    spec.shape.insert(spec.shape.begin(), 1);
    options.input_specs = {std::move(spec)};
  }
  if (kind == InputKind::images) options.inputs = {{file.input.name, preprocess_of_images()}};
  return options;
}

// The plan that the backend will look for, with all pieces that are known.
std::filesystem::path write_backend_plan(const OpenedDevice& device, const ModelSource& source,
                                         KeptPieces& pieces) {
  const std::filesystem::path folder = pieces.backend_folder();
  if (folder.empty()) return {};
  std::error_code ignored;  // write_plan says what is wrong
  std::filesystem::create_directories(folder, ignored);
  const PlanUse use{{}, folder, fmt::format("{}-{}", source.name, source.version), kVersion};
  const PlanKey key = must(plan_key(device, source.onnx_path, use));
  const std::filesystem::path file = plan_path(folder, key);
  must(write_plan(file, key, pieces.store()));
  return file;
}

}  // namespace

ServedModel serve(const OpenedDevice& device, const ServedFile& file, const LoadSettings& settings,
                  std::vector<std::int64_t> batches, InputKind kind, int instances,
                  KeptPieces& pieces) {
  if (!file.batched) batches = {1};
  const std::int64_t rows = batches.back();
  const ModelSource source{file.onnx.stem().string(), 1, file.onnx};
  const std::filesystem::path plan = write_backend_plan(device, source, pieces);
  ServedModel model;
  model.backend = must(make_cuda_backend({search_for_libraries(), kVersion, nullptr}));
  model.pool = feed_pool(file, kind, instances, rows);
  LoadOptions options = load_options(file, settings, batches, kind, instances, *model.pool);
  options.cache_dir = pieces.backend_folder();
  model.loaded = must(model.backend->load(source, options));
  if (!plan.empty()) pieces.absorb(plan);
  for (int i = 0; i < instances; ++i) {
    model.instances.push_back(must(model.loaded->open_instance({kDeviceName, i})));
    model.feeds.push_back(make_feed(*model.pool, file, kind, rows));
  }
  return model;
}

Lane lane_of(const ServedModel& model, const ServedFile& file, std::size_t instance,
             std::int64_t batch) {
  const auto requests = std::make_shared<const Requests>(
      make_requests(model.loaded->signature(), file, model.feeds[instance], batch));
  return [requests, runner = model.instances[instance].get()] {
    must(runner->run(requests->samples).status);
  };
}

double images_per_second(std::span<const Lane> lanes, std::int64_t images, double seconds) {
  std::barrier start(static_cast<std::ptrdiff_t>(lanes.size()) + 1);
  std::vector<std::int64_t> runs(lanes.size());
  SteadyTime begin;
  {
    std::vector<std::jthread> threads;
    threads.reserve(lanes.size());
    for (std::size_t i = 0; i < lanes.size(); ++i) {
      threads.emplace_back([&, i] {
        for (int warm = 0; warm < 3; ++warm) lanes[i]();
        start.arrive_and_wait();
        const auto own_begin = std::chrono::steady_clock::now();
        std::int64_t done = 0;
        for (; microseconds_since(own_begin) < seconds * 1e6; ++done) lanes[i]();
        runs[i] = done;
      });
    }
    start.arrive_and_wait();
    begin = std::chrono::steady_clock::now();
  }
  const double elapsed = microseconds_since(begin) / 1e6;  // until the last run has ended
  std::int64_t sum = 0;
  for (const std::int64_t count : runs) sum += count;
  return static_cast<double>(sum * images) / elapsed;
}

}  // namespace takt::cuda
