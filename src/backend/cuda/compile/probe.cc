// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/probe.h"

#include "backend/cuda/captured_graph.h"
#include "backend/cuda/compile/arena_plan.h"
#include "backend/cuda/compile/views.h"
#include "backend/cuda/kernels/pointwise_expressions.h"
#include "graph/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

namespace takt::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kBlocks = 1024;
constexpr Duration kMeasured = std::chrono::microseconds(300);  // of one round of one way
constexpr int kRepeatsMax = 20;

// Numbers between -1 and 1, the same at each run.
KernelSource fill_kernel(DataType type) {
  const std::string_view element = stored_type(type);
  KernelSource source;
  source.name = "takt_fill";
  source.text = fmt::format(
      R"(extern "C" __global__ void takt_fill({0}* to, unsigned long long count, float scale) {{
  for (unsigned long long i = blockIdx.x * {1}ull + threadIdx.x; i < count; i += {1}ull * gridDim.x) {{
    unsigned hash = static_cast<unsigned>(i) * 2654435761u + 12345u;
    hash ^= hash >> 15; hash *= 2246822519u; hash ^= hash >> 13;
    const float number = static_cast<float>(hash & 0xffffu) / 32768.0f - 1.0f;
    to[i] = takt::from_float<{0}>(number * scale);
  }}
}}
)",
      element, kThreads);
  return source;
}

// Into worst[0] the largest difference, into worst[1] the largest number of `expected`; what isn't a number is
// infinitely far away.
KernelSource compare_kernel(DataType type) {
  const std::string_view element = stored_type(type);
  KernelSource source;
  source.name = "takt_compare";
  source.text = fmt::format(
      R"(extern "C" __global__ void takt_compare(const {0}* got, const {0}* expected,
                                               unsigned long long count, unsigned* worst) {{
  float difference = 0, largest = 0;
  for (unsigned long long i = blockIdx.x * {1}ull + threadIdx.x; i < count; i += {1}ull * gridDim.x) {{
    const float a = takt::to_float(got[i]), b = takt::to_float(expected[i]);
    const float d = fabsf(a - b);
    difference = d <= 3.0e38f ? fmaxf(difference, d) : a == b ? difference : __int_as_float(0x7f800000);
    largest = fmaxf(largest, fabsf(b));
  }}
  atomicMax(worst, __float_as_uint(difference));
  atomicMax(worst + 1, __float_as_uint(largest));
}}
)",
      element, kThreads);
  return source;
}

LaunchShape flat_shape() {
  return {{kBlocks, 1, 1}, {kThreads, 1, 1}, 0};
}

// Sums of many products shall be about as large as one.
double scale_of(const Step& step, std::size_t input) {
  if (input != 1) return 1;
  const auto& op = step.ops.front().op;
  const Shape& weights = step.inputs[1].shape;
  double products = 1;
  if (std::holds_alternative<graph::MatMul>(op)) {
    products = static_cast<double>(weights[weights.size() - 2]);
  } else {
    for (std::size_t i = 1; i < weights.size(); ++i) products *= static_cast<double>(weights[i]);
  }
  return 1 / std::sqrt(products);
}

}  // namespace

Result<Probe> Probe::create(const Step& step, KernelCache& cache, const Stream& stream,
                            const CudnnHandle* cudnn) {
  Result<Kernel> compare = cache.kernel(compare_kernel(step.outputs.front().view.type));
  if (!compare) return std::unexpected(std::move(compare).error());
  Probe probe(step, stream, cudnn, *std::move(compare));
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    Result<void> added = probe.add_tensor(probe.step_.inputs[i], scale_of(step, i), cache);
    if (!added) return std::unexpected(std::move(added).error());
  }
  View& result = probe.step_.outputs.front().view;
  if (Result<void> added = probe.add_tensor(result, 0, cache); !added) {
    return std::unexpected(std::move(added).error());
  }
  probe.result_bytes_ = probe.memory_.back().span().bytes;
  // The reference's result has memory of its own.
  probe.reference_buffers_ = probe.buffers_;
  View again = result;
  if (Result<void> added = probe.add_tensor(again, 0, cache); !added) {
    return std::unexpected(std::move(added).error());
  }
  probe.reference_buffers_.back() = probe.buffers_.back();
  probe.buffers_.pop_back();
  Result<DeviceMemory> worst = DeviceMemory::allocate(stream.context(), 2 * sizeof(float));
  if (!worst) return std::unexpected(std::move(worst).error());
  probe.worst_.push_back(*std::move(worst));
  return probe;
}

Result<void> Probe::add_tensor(View& view, double scale, KernelCache& cache) {
  // As far from an aligned address as in the program.
  const auto per_line = static_cast<std::int64_t>(kArenaAlignment / element_bytes(view.type));
  view.buffer = static_cast<int>(buffers_.size());
  view.offset %= per_line;
  const std::size_t bytes =
      static_cast<std::size_t>(view.offset + extent_elements(view)) * element_bytes(view.type);
  Result<DeviceMemory> memory = DeviceMemory::allocate(stream_->context(), bytes);
  if (!memory) return std::unexpected(std::move(memory).error());
  buffers_.push_back(memory->span().address);
  memory_.push_back(*std::move(memory));
  return fill(view, memory_.back().span(), scale, cache);
}

Result<void> Probe::fill(const View& view, DeviceSpan memory, double scale, KernelCache& cache) {
  Result<Kernel> kernel = cache.kernel(fill_kernel(view.type));
  if (!kernel) return std::unexpected(std::move(kernel).error());
  const std::uint64_t count = memory.bytes / element_bytes(view.type);
  return kernel->launch(*stream_, flat_shape(), memory.address, count, static_cast<float>(scale));
}

Result<void> Probe::reserve(std::span<const StepRunner> way) {
  std::size_t bytes = 0;
  for (const StepRunner& part : way) bytes = std::max(bytes, part.workspace_bytes());
  if (bytes == 0 || (!workspace_.empty() && workspace_.front().span().bytes >= bytes)) return {};
  workspace_.clear();
  Result<DeviceMemory> memory = DeviceMemory::allocate(stream_->context(), bytes);
  if (!memory) return std::unexpected(std::move(memory).error());
  workspace_.push_back(*std::move(memory));
  return {};
}

Result<void> Probe::queue(std::span<const StepRunner> way,
                          std::span<const std::uint64_t> buffers) const {
  const DeviceSpan workspace = workspace_.empty() ? DeviceSpan{} : workspace_.front().span();
  for (const StepRunner& part : way) {
    Result<void> queued = part.queue({stream_, cudnn_, buffers, workspace});
    if (!queued) return queued;
  }
  return {};
}

Result<void> Probe::set_reference(std::span<const StepRunner> way) {
  if (Result<void> reserved = reserve(way); !reserved) return reserved;
  if (Result<void> queued = queue(way, reference_buffers_); !queued) return queued;
  return stream_->synchronize();
}

Result<float> Probe::difference(std::span<const StepRunner> way) {
  if (Result<void> reserved = reserve(way); !reserved) {
    return std::unexpected(std::move(reserved).error());
  }
  if (Result<void> queued = queue(way, buffers_); !queued) {
    return std::unexpected(std::move(queued).error());
  }
  std::array<float, 2> numbers{};
  const DeviceSpan worst = worst_.front().span();
  const std::uint64_t count = result_bytes_ / element_bytes(step_.outputs.front().view.type);
  Result<void> done = copy_to_device(worst, std::as_bytes(std::span(numbers)), *stream_);
  if (done) {
    done = compare_.launch(*stream_, flat_shape(), buffers_.back(), reference_buffers_.back(),
                           count, worst.address);
  }
  if (done) done = copy_to_host(std::as_writable_bytes(std::span(numbers)), worst, *stream_);
  if (done) done = stream_->synchronize();
  if (!done) return std::unexpected(std::move(done).error());
  return numbers[1] > 0 ? numbers[0] / numbers[1] : numbers[0];
}

namespace {

struct Lap {
  CapturedGraph graph;
  int repeats;
  std::vector<Duration> times;
};

Result<Duration> time_of(const CapturedGraph& graph, const Stream& stream, const Event& begin,
                         const Event& end) {
  Result<void> done = begin.record(stream);
  if (done) done = graph.launch(stream);
  if (done) done = end.record(stream);
  if (done) done = end.synchronize();
  if (!done) return std::unexpected(std::move(done).error());
  return Event::elapsed(begin, end);
}

}  // namespace

Result<std::vector<Duration>> Probe::times(std::span<const std::vector<StepRunner>> ways,
                                           int rounds) {
  Result<Event> begin = Event::create(stream_->context(), EventUse::timing);
  if (!begin) return std::unexpected(std::move(begin).error());
  Result<Event> end = Event::create(stream_->context(), EventUse::timing);
  if (!end) return std::unexpected(std::move(end).error());
  for (const std::vector<StepRunner>& way : ways) {
    if (Result<void> reserved = reserve(way); !reserved) {
      return std::unexpected(std::move(reserved).error());
    }
  }
  const auto captured = [&](const std::vector<StepRunner>& way, int repeats) {
    return CapturedGraph::capture(*stream_, [&]() -> Result<void> {
      for (int i = 0; i < repeats; ++i) {
        if (Result<void> queued = queue(way, buffers_); !queued) return queued;
      }
      return {};
    });
  };
  std::vector<Lap> laps;
  for (const std::vector<StepRunner>& way : ways) {
    Result<CapturedGraph> once = captured(way, 1);
    if (!once) return std::unexpected(std::move(once).error());
    Result<Duration> first = time_of(*once, *stream_, *begin, *end);
    if (first) first = time_of(*once, *stream_, *begin, *end);
    if (!first) return std::unexpected(std::move(first).error());
    const auto fitting = kMeasured / std::max(*first, Duration(1));
    const int repeats = static_cast<int>(std::clamp<std::int64_t>(fitting, 1, kRepeatsMax));
    Result<CapturedGraph> graph = captured(way, repeats);
    if (!graph) return std::unexpected(std::move(graph).error());
    laps.push_back({*std::move(graph), repeats, {}});
  }
  for (int round = 0; round < rounds; ++round) {
    for (Lap& lap : laps) {
      Result<Duration> time = time_of(lap.graph, *stream_, *begin, *end);
      if (!time) return std::unexpected(std::move(time).error());
      lap.times.push_back(*time / lap.repeats);
    }
  }
  std::vector<Duration> medians;
  for (Lap& lap : laps) {
    const auto middle = lap.times.begin() + static_cast<std::ptrdiff_t>(lap.times.size() / 2);
    std::ranges::nth_element(lap.times, middle);
    medians.push_back(*middle);
  }
  return medians;
}

}  // namespace takt::cuda
