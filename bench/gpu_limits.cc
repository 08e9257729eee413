// SPDX-License-Identifier: Apache-2.0
#include "gpu_limits.h"

#include "backend/cuda/captured_graph.h"
#include "backend/cuda/compile/contraction_forms.h"
#include "backend/cuda/compile/kernel_cache.h"
#include "backend/cuda/compile/step_runner.h"
#include "backend/cuda/cudnn.h"
#include "backend/cuda/memory.h"
#include "graph/operators.h"

#include <algorithm>
#include <array>

namespace takt::cuda {
namespace {

constexpr std::int64_t kSide = 8192;                     // of the matrices
constexpr std::int64_t kCopied = std::int64_t{1} << 29;  // elements
constexpr auto kF16 = DataType::fp16;

View dense(int buffer, Shape shape) {
  std::vector<std::int64_t> strides = dense_strides(shape);
  return {buffer, 0, kF16, std::move(shape), std::move(strides)};
}

Step matrix_product() {
  Step step{"matmul", StepKind::contraction, {}, {}, {}};
  for (const int buffer : {0, 1}) step.inputs.push_back(dense(buffer, {kSide, kSide}));
  const graph::TensorType result{DataType::fp32, {kSide, kSide}};
  step.ops.push_back({graph::MatMul{}, {0, 1}, {result}});
  step.outputs.push_back({2, dense(2, {kSide, kSide})});
  return step;
}

Step copy() {
  return {"copy", StepKind::pointwise, {dense(0, {kCopied})}, {}, {{0, dense(1, {kCopied})}}};
}

// Noise, because zeros cost less power and run at a higher clock.
DeviceMemory noise(const Stream& stream, std::int64_t elements) {
  constexpr std::size_t kPart = std::size_t{1} << 22;
  const PinnedMemory host = must(PinnedMemory::allocate(stream.context(), kPart));
  fill_with_noise(host.bytes(), kF16, 1);
  const auto bytes = static_cast<std::size_t>(elements) * element_bytes(kF16);
  DeviceMemory memory = must(DeviceMemory::allocate(stream.context(), bytes));
  const DeviceSpan whole = memory.span();
  for (std::size_t at = 0; at < bytes; at += kPart) {
    const std::size_t count = std::min(kPart, bytes - at);
    must(copy_to_device({whole.address + at, count}, host.bytes().first(count), stream));
  }
  must(stream.synchronize());
  return memory;
}

double seconds_of(const StepRunner& runner, const StepQueue& queue) {
  constexpr int kRounds = 5;
  constexpr int kRepeats = 10;
  const auto& context = queue.stream->context();
  const Event begin = must(Event::create(context, EventUse::timing));
  const Event end = must(Event::create(context, EventUse::timing));
  std::vector<double> seconds;
  for (int round = 0; round <= kRounds; ++round) {
    must(begin.record(*queue.stream));
    for (int i = 0; i < kRepeats; ++i) must(runner.queue(queue));
    must(end.record(*queue.stream));
    must(end.synchronize());
    if (round > 0)
      seconds.push_back(microseconds(must(Event::elapsed(begin, end))) / 1e6 / kRepeats);
  }
  return median(std::move(seconds));
}

double measure_products(const OpenedDevice& device, const Stream& stream) {
  if (!device.cudnn) return 0;
  const CudnnHandle handle = must(CudnnHandle::create(*device.cudnn, stream));
  const Step step = matrix_product();
  const CudnnPlans found = must(cudnn_plans(handle, step, {}));
  std::size_t workspace_bytes = 256;
  for (const CudnnPlan& plan : found.plans) {
    workspace_bytes = std::max(workspace_bytes, plan.workspace_bytes());
  }
  const DeviceMemory workspace = must(DeviceMemory::allocate(device.context, workspace_bytes));
  const std::array<DeviceMemory, 3> matrices{
      noise(stream, kSide * kSide), noise(stream, kSide * kSide), noise(stream, kSide * kSide)};
  const std::array buffers{matrices[0].span().address, matrices[1].span().address,
                           matrices[2].span().address};
  double best = 0;
  for (const CudnnPlan& plan : found.plans) {
    const StepRunner runner = StepRunner::with_plan(step, plan);
    const double seconds = seconds_of(runner, {&stream, &handle, buffers, workspace.span()});
    best = std::max(best, floating_point_operations(step) / seconds);
  }
  return best;
}

double measure_copies(const OpenedDevice& device, const Stream& stream) {
  PieceStore pieces;
  KernelCache cache(device.context, pieces, device.nvrtc ? &*device.nvrtc : nullptr);
  const Step step = copy();
  const StepRunner runner = must(StepRunner::with_kernels(step, cache));
  const std::array<DeviceMemory, 2> memory{noise(stream, kCopied), noise(stream, kCopied)};
  const std::array buffers{memory[0].span().address, memory[1].span().address};
  return bytes_moved(step) / seconds_of(runner, {&stream, nullptr, buffers, {}});
}

}  // namespace

DeviceLimits measure_limits(const OpenedDevice& device) {
  const auto scope = must(device.context->enter());
  const Stream stream = must(Stream::create(device.context));
  return {measure_products(device, stream), measure_copies(device, stream)};
}

}  // namespace takt::cuda
