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
                            const CudnnHandle* cudnn, int runs_beside) {
  Result<Kernel> compare = cache.kernel(compare_kernel(step.outputs.front().view.type));
  if (!compare) return std::unexpected(std::move(compare).error());
  Result<Event> fork = Event::create(stream.context(), EventUse::ordering);
  if (!fork) return std::unexpected(std::move(fork).error());
  Probe probe(step, stream, cudnn, *std::move(compare), *std::move(fork));
  Lane first;
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    View& input = probe.step_.inputs[i];
    input.buffer = static_cast<int>(i);
    const auto added = probe.add_tensor(input, scale_of(step, i), cache);
    if (!added) return std::unexpected(added.error());
    first.buffers.push_back(*added);
  }
  View& result = probe.step_.outputs.front().view;
  result.buffer = static_cast<int>(step.inputs.size());
  // The reference's result has memory of its own.
  probe.reference_buffers_ = first.buffers;
  for (std::vector<std::uint64_t>* const buffers : {&first.buffers, &probe.reference_buffers_}) {
    const auto added = probe.add_tensor(result, 0, cache);
    if (!added) return std::unexpected(added.error());
    buffers->push_back(*added);
  }
  probe.result_bytes_ = probe.memory_.back().span().bytes;
  Result<DeviceMemory> worst = DeviceMemory::allocate(stream.context(), 2 * sizeof(float));
  if (!worst) return std::unexpected(std::move(worst).error());
  probe.worst_.push_back(*std::move(worst));
  probe.lanes_.push_back(std::move(first));
  while (probe.runs_beside() < runs_beside) {
    const Result<void> added = probe.add_lane(cache);
    if (!added && added.error().kind == ErrorKind::out_of_memory) break;
    if (!added) return std::unexpected(added.error());
  }
  return probe;
}

Result<std::uint64_t> Probe::add_tensor(View& view, double scale, KernelCache& cache) {
  // As far from an aligned address as in the program.
  const auto per_line = static_cast<std::int64_t>(kArenaAlignment / element_bytes(view.type));
  view.offset %= per_line;
  const std::size_t bytes =
      static_cast<std::size_t>(view.offset + extent_elements(view)) * element_bytes(view.type);
  Result<DeviceMemory> memory = DeviceMemory::allocate(stream_->context(), bytes);
  if (!memory) return std::unexpected(std::move(memory).error());
  memory_.push_back(*std::move(memory));
  const DeviceSpan span = memory_.back().span();
  if (Result<void> filled = fill(view, span, scale, cache); !filled) {
    return std::unexpected(std::move(filled).error());
  }
  return span.address;
}

Result<void> Probe::add_lane(KernelCache& cache) {
  Lane lane;
  Result<Stream> stream = Stream::create(stream_->context());
  if (!stream) return std::unexpected(std::move(stream).error());
  lane.stream.emplace(*std::move(stream));
  if (cudnn_ != nullptr) {
    Result<CudnnHandle> cudnn = cudnn_->another(*lane.stream);
    if (!cudnn) return std::unexpected(std::move(cudnn).error());
    lane.cudnn.emplace(*std::move(cudnn));
  }
  Result<Event> end = Event::create(stream_->context(), EventUse::ordering);
  if (!end) return std::unexpected(std::move(end).error());
  lane.end.emplace(*std::move(end));
  const auto result = add_tensor(step_.outputs.front().view, 0, cache);
  if (!result) return std::unexpected(result.error());
  lane.buffers = lanes_.front().buffers;
  lane.buffers.back() = *result;
  lanes_.push_back(std::move(lane));
  return {};
}

Result<void> Probe::fill(const View& view, DeviceSpan memory, double scale, KernelCache& cache) {
  Result<Kernel> kernel = cache.kernel(fill_kernel(view.type));
  if (!kernel) return std::unexpected(std::move(kernel).error());
  const std::uint64_t count = memory.bytes / element_bytes(view.type);
  return kernel->launch(*stream_, flat_shape(), memory.address, count, static_cast<float>(scale));
}

Result<void> Probe::reserve(std::span<const StepRunner> way, Lane& lane) {
  std::size_t bytes = 0;
  for (const StepRunner& part : way) bytes = std::max(bytes, part.workspace_bytes());
  const bool suffices = !lane.workspace.empty() && lane.workspace.front().span().bytes >= bytes;
  if (bytes == 0 || suffices) return {};
  lane.workspace.clear();
  Result<DeviceMemory> memory = DeviceMemory::allocate(stream_->context(), bytes);
  if (!memory) return std::unexpected(std::move(memory).error());
  lane.workspace.push_back(*std::move(memory));
  return {};
}

Result<void> Probe::queue(std::span<const StepRunner> way, const Lane& lane,
                          std::span<const std::uint64_t> buffers) const {
  const StepQueue queue{lane.stream ? &*lane.stream : stream_, lane.cudnn ? &*lane.cudnn : cudnn_,
                        buffers,
                        lane.workspace.empty() ? DeviceSpan{} : lane.workspace.front().span()};
  for (const StepRunner& part : way) {
    Result<void> queued = part.queue(queue);
    if (!queued) return queued;
  }
  return {};
}

Result<void> Probe::queue_beside(std::span<const StepRunner> way, int repeats) const {
  const auto others = std::span(lanes_).subspan(1);
  Result<void> done;
  if (!others.empty()) done = fork_.record(*stream_);
  for (const Lane& lane : others) {
    if (done) done = lane.stream->wait(fork_);
  }
  for (int i = 0; i < repeats; ++i) {
    for (const Lane& lane : lanes_) {
      if (done) done = queue(way, lane, lane.buffers);
    }
  }
  for (const Lane& lane : others) {
    if (done) done = lane.end->record(*lane.stream);
    if (done) done = stream_->wait(*lane.end);
  }
  return done;
}

Result<void> Probe::set_reference(std::span<const StepRunner> way) {
  Lane& first = lanes_.front();
  if (Result<void> reserved = reserve(way, first); !reserved) return reserved;
  if (Result<void> queued = queue(way, first, reference_buffers_); !queued) return queued;
  return stream_->synchronize();
}

Result<float> Probe::difference(std::span<const StepRunner> way) {
  Lane& first = lanes_.front();
  if (Result<void> reserved = reserve(way, first); !reserved) {
    return std::unexpected(std::move(reserved).error());
  }
  if (Result<void> queued = queue(way, first, first.buffers); !queued) {
    return std::unexpected(std::move(queued).error());
  }
  std::array<float, 2> numbers{};
  const DeviceSpan worst = worst_.front().span();
  const std::uint64_t count = result_bytes_ / element_bytes(step_.outputs.front().view.type);
  Result<void> done = copy_to_device(worst, std::as_bytes(std::span(numbers)), *stream_);
  if (done) {
    done = compare_.launch(*stream_, flat_shape(), first.buffers.back(), reference_buffers_.back(),
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
    for (Lane& lane : lanes_) {
      if (Result<void> reserved = reserve(way, lane); !reserved) {
        return std::unexpected(std::move(reserved).error());
      }
    }
  }
  const auto captured = [&](const std::vector<StepRunner>& way, int repeats) {
    return CapturedGraph::capture(*stream_, [&] { return queue_beside(way, repeats); });
  };
  std::vector<Lap> laps;
  for (const std::vector<StepRunner>& way : ways) {
    // A handle may make something ready at its first run, which must not happen while that is recorded; the
    // first lane's has run each way.
    Result<void> warm = lanes_.size() > 1 ? queue_beside(way, 1) : Result<void>();
    if (warm) warm = stream_->synchronize();
    if (!warm) return std::unexpected(std::move(warm).error());
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
      lap.times.push_back(*time / (lap.repeats * runs_beside()));
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
