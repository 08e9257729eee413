// SPDX-License-Identifier: Apache-2.0
// Which operators of a graph run together as one step.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "backend/cuda/compile/program.h"
#include "backend/cuda/device.h"
#include "graph/graph.h"

#include <cstddef>
#include <vector>

namespace takt::cuda {

struct Group {
  StepKind kind{};
  std::vector<std::size_t>
      nodes;  // indices of Graph::nodes, ascending; the last computes the result
};

// Conv, ConvTranspose and MatMul that are worth a tuned kernel, and not a handful of numbers.
[[nodiscard]] bool is_contraction(const graph::Graph& graph, const graph::Node& node);
// Unary, Binary, Cast and Select.
[[nodiscard]] bool is_pointwise(const graph::Operator& op);

// Every node is in one group; groups stand behind those that they need. What a group computes on the way is
// needed by it alone, so a group has the outputs of its last node. Attention (attention.h) is a group where its
// kernel takes products of `product_type` on a device of this capability. Contractions take what follows them first;
// element-wise operators of one shape join the one that needs them. Softmax over few channels and the weighted
// mean of its result are a group of kind single.
[[nodiscard]] std::vector<Group> fuse(const graph::Graph& graph,
                                      DataType product_type = DataType::fp32,
                                      ComputeCapability capability = kCapabilityMin);

}  // namespace takt::cuda
