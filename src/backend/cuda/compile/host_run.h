// SPDX-License-Identifier: Apache-2.0
// Runs a program on the CPU with the reference of each operator, through the same buffers, views and arena as
// on a device: what lower() decided is right if the results are those of the graph. For tests.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "backend/cuda/compile/program.h"
#include "core/result.h"
#include "graph/graph.h"

#include <span>
#include <vector>

namespace takt::cuda {

// `inputs` have the types and shapes of the program's. One constant for each of the program's outputs.
[[nodiscard]] Result<std::vector<graph::Constant>> run_on_host(
    const Program& program, std::span<const graph::Constant> inputs);

}  // namespace takt::cuda
