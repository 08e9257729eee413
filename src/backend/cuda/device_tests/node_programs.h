// SPDX-License-Identifier: Apache-2.0
// ONNX's own node tests as programs for the device.
// Thread-safe: functions that only read files.
// Owns: plain values.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/kernels/kernel_source.h"
#include "core/result.h"
#include "graph/node_cases.h"

#include <variant>
#include <vector>

namespace takt::cuda {

// In FP32. NotRun where a model is quantised, which the device doesn't do. Errors: lower() or step_code()
// refuses what the device should do; the message names the node.
[[nodiscard]] Result<std::variant<Program, graph::NotRun>> node_program(const graph::Graph& graph);

// Of all its steps.
[[nodiscard]] std::vector<KernelSource> node_kernels(const Program& program);

}  // namespace takt::cuda
