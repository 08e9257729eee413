// SPDX-License-Identifier: Apache-2.0
#include "gpu_tilings.h"

#include "backend/cuda/compile/contraction_forms.h"
#include "backend/cuda/compile/kernel_cache.h"
#include "backend/cuda/compile/lowering.h"
#include "backend/cuda/compile/probe.h"
#include "backend/cuda/compile/step_runner.h"
#include "backend/cuda/kernels/step_code.h"

#include <algorithm>
#include <limits>
#include <set>
#include <string>
#include <vector>

namespace takt::cuda {
namespace {

constexpr int kRounds = 5;

Json times_of(const Step& step, const ProductDevice& device, KernelCache& cache,
              const Stream& stream) {
  const std::vector<ProductTiling> tilings =
      product_tilings(step, device, std::numeric_limits<int>::max());
  if (tilings.empty()) return Json::array();
  std::vector<KernelSource> sources;
  for (const ProductTiling& tiling : tilings) {
    for (const KernelCall& call :
         must(product_code(step, tiling, device.capability, step_label(step))).calls) {
      sources.push_back(call.source);
    }
  }
  must(cache.prepare(sources, {}, KernelCache::Keep::here));
  Probe probe = must(Probe::create(step, cache, stream, nullptr, device.runs_beside));
  std::vector<std::vector<StepRunner>> ways;
  for (const ProductTiling& tiling : tilings) {
    ways.push_back({must(StepRunner::with_product(probe.step(), tiling, cache))});
  }
  const std::vector<Duration> times = must(probe.times(ways, kRounds));
  Json all = Json::array();
  for (std::size_t i = 0; i < tilings.size(); ++i) {
    all.push_back({{"tiling", to_string(tilings[i])}, {"us", microseconds(times[i])}});
  }
  return all;
}

}  // namespace

Json measure_tilings(const OpenedDevice& device, const std::filesystem::path& onnx,
                     const ModelOptions& options, std::int64_t batch) {
  if (!device.nvrtc) give_up("no runtime compiler: --tilings compiles kernels");
  const auto scope = must(device.context->enter());
  const Stream stream = must(Stream::create(device.context));
  PieceStore pieces;
  KernelCache cache(device.context, pieces, &*device.nvrtc);
  const ProductDevice place{device.device().capability, device.device().sm_count,
                            conditions_of(options.tuning).runs_beside};
  const Program program = must(lower(must(read_graph(onnx, options, batch)),
                                     {options.precision, {}, 0, device.device().capability}));
  std::set<std::string> seen;
  Json steps = Json::array();
  for (const Step& step : program.steps) {
    if (step.kind != StepKind::contraction) continue;
    const std::string problem = problem_text(step);
    if (!seen.insert(problem).second) continue;
    steps.push_back({{"name", step.name},
                     {"problem", problem},
                     {"tilings", times_of(step, place, cache, stream)}});
  }
  return steps;
}

}  // namespace takt::cuda
