// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_tests/node_programs.h"

#include "backend/cuda/compile/lowering.h"
#include "backend/cuda/compile/step_runner.h"
#include "backend/cuda/kernels/step_code.h"

#include <algorithm>
#include <utility>

namespace takt::cuda {
namespace {

bool is_quantized(const graph::Graph& graph) {
  return std::ranges::any_of(graph.nodes, [](const graph::Node& node) {
    return std::holds_alternative<graph::Quantize>(node.op) ||
           std::holds_alternative<graph::Dequantize>(node.op);
  });
}

}  // namespace

Result<std::variant<Program, graph::NotRun>> node_program(const graph::Graph& graph) {
  Result<Program> program = lower(graph, {});
  if (!program && is_quantized(graph)) return graph::NotRun{"refused", "a quantised model"};
  if (!program) return std::unexpected(std::move(program).error());
  for (const Step& step : program->steps) {
    if (Result<StepCode> code = step_code(step, step_label(step)); !code) {
      return std::unexpected(std::move(code).error().within(step.name));
    }
  }
  return *std::move(program);
}

std::vector<KernelSource> node_kernels(const Program& program) {
  std::vector<KernelSource> sources;
  for (const Step& step : program.steps) {
    Result<StepCode> code = step_code(step, step_label(step));
    if (!code) continue;  // node_program() refuses it
    for (KernelCall& call : code->calls) sources.push_back(std::move(call.source));
  }
  return sources;
}

}  // namespace takt::cuda
