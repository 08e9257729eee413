// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/step_runner.h"

#include "graph/operators.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace takt::cuda {

std::string step_label(const Step& step) {
  if (step.kind == StepKind::pointwise) return step.ops.empty() ? "copy" : "pointwise";
  if (step.kind == StepKind::attention) return "attention";
  std::string label = graph::describe(step.ops.front().op);
  for (char& letter : label) {
    const auto byte = static_cast<unsigned char>(letter);
    letter = std::isalnum(byte) != 0 ? static_cast<char>(std::tolower(byte)) : '_';
  }
  return label;
}

Result<StepRunner> StepRunner::with_kernels(const Step& step, KernelCache& cache) {
  Result<StepCode> code = step_code(step, step_label(step));
  if (!code) return std::unexpected(std::move(code).error());
  return with_code(step, *std::move(code), cache);
}

Result<StepRunner> StepRunner::with_product(const Step& step, const ProductTiling& tiling,
                                            KernelCache& cache) {
  Result<StepCode> code =
      product_code(step, tiling, cache.context()->device().capability, step_label(step));
  if (!code) return std::unexpected(std::move(code).error());
  Result<StepRunner> runner = with_code(step, *std::move(code), cache);
  if (runner) runner->implementation_ += " " + to_string(tiling);
  return runner;
}

Result<StepRunner> StepRunner::with_code(const Step& step, StepCode code, KernelCache& cache) {
  StepRunner runner(step);
  runner.workspace_bytes_ = code.scratch_bytes;
  for (KernelCall& call : code.calls) {
    Result<Kernel> kernel = cache.kernel(call.source);
    if (!kernel) return std::unexpected(std::move(kernel).error());
    const LaunchShape shape{
        {call.source.blocks, 1, 1}, {call.source.threads_x, call.source.threads_y, 1}, 0};
    if (!runner.implementation_.empty()) runner.implementation_ += " + ";
    runner.implementation_ += call.source.name;
    runner.calls_.push_back({*std::move(kernel), shape, std::move(call.operands)});
  }
  return runner;
}

StepRunner StepRunner::with_plan(const Step& step, CudnnPlan plan) {
  StepRunner runner(step);
  runner.workspace_bytes_ = plan.workspace_bytes();
  runner.implementation_ = "cudnn " + plan.name();
  runner.plan_ = std::move(plan);
  return runner;
}

std::uint64_t StepRunner::address(const View& view, const StepQueue& queue) {
  return queue.buffers[static_cast<std::size_t>(view.buffer)] +
         static_cast<std::uint64_t>(view.offset) * element_bytes(view.type);
}

Result<void> StepRunner::queue(const StepQueue& queue) const {
  if (!plan_) return queue_calls(queue);
  if (queue.cudnn == nullptr) return fail(ErrorKind::internal, "no cuDNN for " + step_.name);
  std::vector<std::uint64_t> addresses;
  for (const View& view : step_.inputs) addresses.push_back(address(view, queue));
  for (const StepOutput& output : step_.outputs) addresses.push_back(address(output.view, queue));
  return plan_->run(*queue.cudnn, addresses, queue.workspace);
}

Result<void> StepRunner::queue_calls(const StepQueue& queue) const {
  for (const Call& call : calls_) {
    std::vector<std::uint64_t> addresses;
    for (const Operand& operand : call.operands) {
      const auto index = static_cast<std::size_t>(operand.index);
      switch (operand.kind) {
        case OperandKind::input:
          addresses.push_back(address(step_.inputs[index], queue));
          break;
        case OperandKind::output:
          addresses.push_back(address(step_.outputs[index].view, queue));
          break;
        case OperandKind::scratch:
          addresses.push_back(queue.workspace.address + operand.offset);
          break;
      }
    }
    Result<void> launched = call.kernel.launch_with_addresses(*queue.stream, call.shape, addresses);
    if (!launched) return launched;
  }
  return {};
}

}  // namespace takt::cuda
