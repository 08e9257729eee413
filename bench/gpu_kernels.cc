// SPDX-License-Identifier: Apache-2.0
// takt-bench-gpu: time and memory throughput of generated kernels on the first GPU, beside a plain copy.
// bench/README.md says what is measured. TAKT_CUDA_FOLDERS names more folders with NVIDIA's libraries.
#include "backend/cuda/captured_graph.h"
#include "backend/cuda/context.h"
#include "backend/cuda/device.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/module.h"
#include "backend/cuda/nvrtc.h"
#include "backend/cuda/pointwise.h"
#include "backend/cuda/rows.h"
#include "backend/cuda/stream.h"
#include "backend/cuda/windows.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;
constexpr int kLaunches =
    20;  // of the kernel in one graph, so that starting the graph counts little
constexpr std::size_t kAlignment = 256;

struct Lab {
  std::shared_ptr<const Driver> driver;
  std::shared_ptr<const Context> context;
  std::optional<Nvrtc> nvrtc;
  std::optional<Context::Scope> scope;
  std::optional<Stream> stream;
  std::string missing;  // why there is none
};

std::vector<std::filesystem::path> configured_folders() {
  const char* const text = std::getenv("TAKT_CUDA_FOLDERS");
  std::istringstream words(text == nullptr ? "" : text);
  std::vector<std::filesystem::path> folders;
  for (std::string folder; std::getline(words, folder, ':');) folders.emplace_back(folder);
  return folders;
}

Result<void> open(Lab& lab) {
  const LibrarySearch search =
      library_search(configured_folders(), std::filesystem::read_symlink("/proc/self/exe"));
  Result<std::shared_ptr<const Driver>> driver = Driver::open(search);
  if (!driver) return std::unexpected(std::move(driver).error());
  lab.driver = std::move(*driver);
  Result<Device> device = find_device(*lab.driver, 0);
  if (!device) return std::unexpected(std::move(device).error());
  Result<Nvrtc> nvrtc = Nvrtc::open(search, lab.driver->version() / 1000);
  if (!nvrtc) return std::unexpected(std::move(nvrtc).error());
  lab.nvrtc.emplace(std::move(*nvrtc));
  auto context = Context::create(lab.driver, *device);
  if (!context) return std::unexpected(std::move(context).error());
  lab.context = std::move(*context);
  auto scope = lab.context->enter();
  if (!scope) return std::unexpected(std::move(scope).error());
  lab.scope.emplace(std::move(*scope));
  auto stream = Stream::create(lab.context);
  if (!stream) return std::unexpected(std::move(stream).error());
  lab.stream.emplace(std::move(*stream));
  return {};
}

Lab& lab() {
  static Lab opened = [] {
    Lab made;
    if (const Result<void> done = open(made); !done) made.missing = done.error().message;
    return made;
  }();
  return opened;
}

// A kernel and the sizes of its inputs and outputs; each is read or written once.
struct Case {
  KernelSource source;
  std::vector<std::size_t> bytes;
};

Result<void> measure(benchmark::State& state, const Case& one) {
  Lab& gpu = lab();
  const auto cubin = gpu.nvrtc->compile("#include <takt_kernel.h>\n" + one.source.text,
                                        one.source.name, gpu.context->device().capability);
  if (!cubin) return std::unexpected(cubin.error());
  const auto module = Module::load(gpu.context, *cubin);
  if (!module) return std::unexpected(module.error());
  const auto kernel = module->kernel(one.source.name);
  if (!kernel) return std::unexpected(kernel.error());
  std::vector<DeviceMemory> buffers;
  std::vector<std::uint64_t> addresses;
  for (const std::size_t bytes : one.bytes) {
    auto buffer = DeviceMemory::allocate(gpu.context, bytes);
    if (!buffer) return std::unexpected(std::move(buffer).error());
    addresses.push_back(buffer->span().address);
    buffers.push_back(std::move(*buffer));
  }
  const LaunchShape shape{{one.source.blocks, 1, 1},
                          {one.source.threads_x, one.source.threads_y, 1}};
  const auto graph = CapturedGraph::capture(*gpu.stream, [&]() -> Result<void> {
    Result<void> queued;
    for (int i = 0; i < kLaunches && queued; ++i) {
      queued = kernel->launch_with_addresses(*gpu.stream, shape, addresses);
    }
    return queued;
  });
  if (!graph) return std::unexpected(graph.error());
  const auto begin = Event::create(gpu.context, EventUse::timing);
  const auto end = Event::create(gpu.context, EventUse::timing);
  if (!begin || !end) return std::unexpected(begin ? end.error() : begin.error());
  Result<void> done = graph->launch(*gpu.stream);  // warms up
  for (auto unused : state) {
    if (done) done = begin->record(*gpu.stream);
    if (done) done = graph->launch(*gpu.stream);
    if (done) done = end->record(*gpu.stream);
    if (done) done = end->synchronize();
    if (!done) return done;
    const auto elapsed = Event::elapsed(*begin, *end);
    if (!elapsed) return std::unexpected(elapsed.error());
    state.SetIterationTime(std::chrono::duration<double>(*elapsed).count() / kLaunches);
  }
  const auto bytes = std::accumulate(one.bytes.begin(), one.bytes.end(), std::size_t{0});
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
  return done;
}

void run(benchmark::State& state, const std::function<Case()>& make) {
  if (!lab().missing.empty()) return state.SkipWithError(lab().missing.c_str());
  if (const Result<void> done = measure(state, make()); !done) {
    state.SkipWithError(done.error().message.c_str());
  }
}

std::size_t bytes_of(const Shape& shape, DataType type) {
  return byte_size(type, shape).value();
}

std::vector<std::int64_t> dense(const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0; stride *= shape[i]) strides[i] = stride;
  return strides;
}

// [N,C,H,W] as it lies in NHWC.
Access channels_last(const Shape& shape, DataType type) {
  const std::int64_t row = shape[3] * shape[1];
  return {type, {shape[2] * row, 1, row, shape[1]}, kAlignment};
}
Access row_major(const Shape& shape, DataType type) {
  return {type, dense(shape), kAlignment};
}

Case copy(std::int64_t bytes) {
  const Shape shape{bytes / 2};
  const Access access = row_major(shape, kF16);
  return {pointwise_kernel({shape, {access}, {}, {{0, access}}}, "copy"),
          {bytes_of(shape, kF16), bytes_of(shape, kF16)}};
}

// The model's input: planes of FP32 become FP16 in NHWC.
Case to_channels_last(const Shape& shape) {
  return {pointwise_kernel({shape, {row_major(shape, kF32)}, {}, {{0, channels_last(shape, kF16)}}},
                           "to_channels_last"),
          {bytes_of(shape, kF32), bytes_of(shape, kF16)}};
}

Case silu(const Shape& shape) {
  const Access image = channels_last(shape, kF16);
  return {
      pointwise_kernel(
          {shape, {image}, {{graph::Unary{graph::UnaryKind::silu, 1}, {0}, kF16}}, {{1, image}}},
          "silu"),
      {bytes_of(shape, kF16), bytes_of(shape, kF16)}};
}

Case residual(const Shape& shape) {
  const Access image = channels_last(shape, kF16);
  const graph::Binary add{graph::BinaryKind::add};
  const graph::Unary relu{graph::UnaryKind::relu};
  return {pointwise_kernel(
              {shape, {image, image}, {{add, {0, 1}, kF16}, {relu, {2}, kF16}}, {{3, image}}},
              "residual"),
          {bytes_of(shape, kF16), bytes_of(shape, kF16), bytes_of(shape, kF16)}};
}

Case max_pool(const Shape& shape) {
  const graph::Window window{{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}};
  const Shape pooled{shape[0], shape[1], shape[2] / 2, shape[3] / 2};
  const graph::Pool op{graph::PoolKind::max, window, {pooled[2], pooled[3]}, false, 2};
  return {pool_kernel({op, shape, channels_last(shape, kF16), channels_last(pooled, kF16)}, "pool"),
          {bytes_of(shape, kF16), bytes_of(pooled, kF16)}};
}

Case global_mean(const Shape& shape) {
  const Access image = channels_last(shape, kF16);
  const Access mean{kF16, {shape[1], 1, 0, 0}, kAlignment};
  const RowSpace space{{shape[0], shape[1]}, {shape[2], shape[3]}};
  return {reduce_kernel({space, graph::ReduceKind::mean, image, mean}, "mean"),
          {bytes_of(shape, kF16), bytes_of({shape[0], shape[1]}, kF16)}};
}

Case softmax(std::int64_t rows, std::int64_t length) {
  const Access access = row_major({rows, length}, kF16);
  return {softmax_kernel({{{rows}, {length}}, false, access, access}, "softmax"),
          {bytes_of({rows, length}, kF16), bytes_of({rows, length}, kF16)}};
}

Case layer_norm(std::int64_t rows, std::int64_t length) {
  const Access access = row_major({rows, length}, kF16);
  const Access along{kF16, {0, 1}, kAlignment};
  return {normalize_kernel({{{rows}, {length}}, 1e-5, access, along, along, access}, "norm"),
          {bytes_of({rows, length}, kF16), bytes_of({length}, kF16), bytes_of({length}, kF16),
           bytes_of({rows, length}, kF16)}};
}

void add(const std::string& name, std::function<Case()> make) {
  benchmark::RegisterBenchmark(
      name.c_str(), [make = std::move(make)](benchmark::State& state) { run(state, make); })
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond)
      ->MinTime(0.2);
}

// Sizes as in ResNet-50, YOLOv8n at 640 pixels and ViT-B/16, of one image and of 32.
const bool kRegistered = [] {
  add("copy/1_GiB", [] { return copy(std::int64_t{1} << 30); });
  add("copy/4_MiB", [] { return copy(std::int64_t{4} << 20); });
  for (const std::int64_t n : {1, 32}) {
    const std::string images = "/" + std::to_string(n);
    add("to_channels_last/3x640x640" + images, [n] { return to_channels_last({n, 3, 640, 640}); });
    add("silu/16x320x320" + images, [n] { return silu({n, 16, 320, 320}); });
    add("residual/256x56x56" + images, [n] { return residual({n, 256, 56, 56}); });
    add("max_pool/64x112x112" + images, [n] { return max_pool({n, 64, 112, 112}); });
    add("global_mean/2048x7x7" + images, [n] { return global_mean({n, 2048, 7, 7}); });
    add("softmax/12x197x197" + images, [n] { return softmax(n * 12 * 197, 197); });
    add("layer_norm/197x768" + images, [n] { return layer_norm(n * 197, 768); });
  }
  return true;
}();

}  // namespace
}  // namespace takt::cuda
