// SPDX-License-Identifier: Apache-2.0
// takt-bench-gpu: time and memory throughput of generated kernels on the first GPU, beside a plain copy.
// bench/README.md says what is measured. TAKT_CUDA_FOLDERS names more folders with NVIDIA's libraries.
#include "backend/cuda/captured_graph.h"
#include "backend/cuda/context.h"
#include "backend/cuda/device.h"
#include "backend/cuda/kernels/pointwise.h"
#include "backend/cuda/kernels/rows.h"
#include "backend/cuda/kernels/step_code.h"
#include "backend/cuda/kernels/windows.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/module.h"
#include "backend/cuda/nvrtc.h"
#include "backend/cuda/stream.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
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

Result<void> open(Lab& lab) {
  const LibrarySearch search =
      library_search(folders_of_environment(), std::filesystem::read_symlink("/proc/self/exe"));
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

// Of the spatial pyramid of a detector: from channels of a wider tensor to others. The whole one counts.
Case pool_of_slices(std::int64_t images) {
  const Shape shape{images, 128, 20, 20};
  const Shape whole{images, 512, 20, 20};
  const graph::Window window{{5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}};
  const graph::Pool op{graph::PoolKind::max, window, {20, 20}, false, 2};
  const Access slice = channels_last(whole, kF16);
  return {pool_kernel({op, shape, slice, slice}, "pool"),
          {bytes_of(whole, kF16), bytes_of(whole, kF16)}};
}

// A detector's distributions over 16 bins, [images,16,4,8400] with the bins innermost.
constexpr std::int64_t kBins = 16;
RowSpace rows_of_bins(std::int64_t images) {
  return {{images, 4, 8400}, {kBins}};
}
Access bins(DataType type) {
  return {type, {8400 * 4 * kBins, kBins, 4 * kBins, 1}, kAlignment};
}

Case softmax_of_bins(std::int64_t images) {
  const Shape shape{images, kBins, 4, 8400};
  return {softmax_kernel({rows_of_bins(images), false, bins(kF16), bins(kF32)}, "softmax"),
          {bytes_of(shape, kF16), bytes_of(shape, kF32)}};
}

Case mean_of_bins(std::int64_t images) {
  const Access weights{kF32, {0, 0, 0, 1}, kAlignment};
  const Access mean{kF32, {8400 * 4, 8400, 1, 0}, kAlignment};
  return {softmax_mean_kernel({rows_of_bins(images), bins(kF16), weights, mean}, "mean"),
          {bytes_of({images, kBins, 4, 8400}, kF16), bytes_of({kBins}, kF32),
           bytes_of({images, 4, 8400}, kF32)}};
}

// A step of one sum of products; each of its views begins a buffer.
Case product(graph::Operator op, std::vector<View> inputs, const View& output) {
  std::vector<std::size_t> bytes;
  std::vector<int> arguments;
  for (const View& input : inputs) {
    arguments.push_back(static_cast<int>(arguments.size()));
    bytes.push_back(bytes_of(input.shape, input.type));
  }
  const int value = static_cast<int>(inputs.size());
  bytes.push_back(bytes_of(output.shape, output.type));
  const Step step{"product",
                  StepKind::contraction,
                  std::move(inputs),
                  {{std::move(op), std::move(arguments), {{kF32, output.shape}}}},
                  {{value, output}}};
  return {step_code(step, "product").value().calls.front().source, std::move(bytes)};
}

View view(const Shape& shape, const Access& access) {
  return {0, 0, access.type, shape, access.strides};
}

// The other half of mean_of_bins without fusion.
Case convolution_of_bins(std::int64_t images) {
  const Shape shape{images, kBins, 4, 8400};
  const Shape weights{1, kBins, 1, 1};
  const Shape mean{images, 1, 4, 8400};
  const Access from{kF32, {8400 * 4 * kBins, 1, kBins, 4 * kBins}, kAlignment};
  const graph::Window pixel{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
  return product(graph::Conv{pixel, 1},
                 {view(shape, from), view(weights, row_major(weights, kF32))},
                 view(mean, row_major(mean, kF32)));
}

// [rows,channels] times weights that lie column after column (as Gemm of transB has it) or row after row.
Case classifier(std::int64_t rows, std::int64_t channels, std::int64_t columns, bool by_columns) {
  const Shape a{rows, channels};
  const Shape b{channels, columns};
  const Shape y{rows, columns};
  Access weights = row_major(b, kF16);
  if (by_columns) weights.strides = {1, channels};
  return product(graph::MatMul{false, false}, {view(a, row_major(a, kF16)), view(b, weights)},
                 view(y, row_major(y, kF16)));
}

// A detector's scores leave the channels' order and become FP32.
Case to_rows(const Shape& shape) {
  const Access from{kF16, {shape[1] * shape[2], 1, shape[1]}, kAlignment};
  return {pointwise_kernel({shape, {from}, {}, {{0, row_major(shape, kF32)}}}, "to_rows"),
          {bytes_of(shape, kF16), bytes_of(shape, kF32)}};
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
    add("max_pool/5x5_of_128x20x20" + images, [n] { return pool_of_slices(n); });
    add("softmax/of_16_bins" + images, [n] { return softmax_of_bins(n); });
    add("conv/of_16_bins" + images, [n] { return convolution_of_bins(n); });
    add("softmax_mean/of_16_bins" + images, [n] { return mean_of_bins(n); });
    add("to_rows/80x8400" + images, [n] { return to_rows({n, 80, 8400}); });
    add("to_channels_last/64x80x80" + images, [n] { return to_channels_last({n, 64, 80, 80}); });
  }
  for (const std::int64_t n : {1, 8, 32}) {
    const std::string images = "/" + std::to_string(n);
    for (const bool by_columns : {false, true}) {
      const std::string layout = by_columns ? "_by_columns" : "_by_rows";
      add("matmul/2048x1000" + layout + images,
          [=] { return classifier(n, 2048, 1000, by_columns); });
      add("matmul/4096x4096" + layout + images,
          [=] { return classifier(n, 4096, 4096, by_columns); });
      add("matmul/512x10" + layout + images, [=] { return classifier(n, 512, 10, by_columns); });
    }
  }
  return true;
}();

}  // namespace
}  // namespace takt::cuda
