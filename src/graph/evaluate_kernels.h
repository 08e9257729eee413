// SPDX-License-Identifier: Apache-2.0
// The evaluator's parts, one a family of operators: each computes the outputs, whose types
// infer_types has given. Thread-safe: pure functions. Owns: nothing. Private to this layer.
#pragma once

#include "graph/graph.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace takt::graph {

using Inputs = std::span<const Constant* const>;
using Types = std::span<const TensorType>;  // of the outputs
using Constants = Result<std::vector<Constant>>;

// The outputs of what has one.
[[nodiscard]] inline std::vector<Constant> only(Constant constant) {
  std::vector<Constant> outputs;
  outputs.push_back(std::move(constant));
  return outputs;
}

// evaluate_elementwise.cc
[[nodiscard]] Constants compute(const Unary& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Binary& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Cast& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Select& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Quantize& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Dequantize& op, Inputs inputs, Types outputs);
// evaluate_layout.cc
[[nodiscard]] Constants compute(const Reshape& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Transpose& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Expand& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Concat& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Slice& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Pad& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Gather& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const GatherElements& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const GatherNd& op, Inputs inputs, Types outputs);
// Along `axis`, element i is the input's at sources[i], or `fill` (one element) where that is -1.
[[nodiscard]] Constant take(const Constant& input, int axis, std::span<const std::int64_t> sources,
                            std::span<const std::byte> fill);
// evaluate_convolution.cc
[[nodiscard]] Constants compute(const Conv& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const ConvTranspose& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Pool& op, Inputs inputs, Types outputs);
// evaluate_resize.cc
[[nodiscard]] Constants compute(const Resize& op, Inputs inputs, Types outputs);
// evaluate_algebra.cc
[[nodiscard]] Constants compute(const MatMul& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const LayerNorm& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const GroupNorm& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const LocalResponseNorm& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Softmax& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const Reduce& op, Inputs inputs, Types outputs);
// evaluate_selection.cc
[[nodiscard]] Constants compute(const ArgReduce& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const TopK& op, Inputs inputs, Types outputs);
[[nodiscard]] Constants compute(const NonMaxSuppression& op, Inputs inputs, Types outputs);

}  // namespace takt::graph
