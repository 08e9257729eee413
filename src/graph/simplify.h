// SPDX-License-Identifier: Apache-2.0
// The same model in fewer operators: what exporters spell out becomes what it means.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/result.h"
#include "graph/graph.h"

namespace takt::graph {

// Inputs and outputs stay as they are; results may differ by rounding. What it does:
// - scales, shifts and paddings around a Conv become its weights, its bias and its padding;
// - x * sigmoid(x), x / 2 * (1 + erf(x / sqrt(2))) and the like become the activation that they are, and
//   (x - mean) / sqrt(variance + epsilon) with what follows a LayerNorm;
// - Reshape after Reshape and Transpose after Transpose become one, Gather of neighbouring rows a Slice, and what
//   changes nothing goes.
// Errors: internal where a node doesn't fit its types any more, which is a defect.
[[nodiscard]] Result<Graph> simplify(const Graph& graph);

}  // namespace takt::graph
