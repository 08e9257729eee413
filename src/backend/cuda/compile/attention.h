// SPDX-License-Identifier: Apache-2.0
// Attention as transformers export it: softmax(query * key * factor + biases) * value, found in a graph.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "graph/graph.h"

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace takt::cuda {

struct AttentionMatrix {
  graph::ValueId value;
  bool transposed = false;  // its last two dimensions are swapped
};

// What scores are multiplied with or what is added to them.
struct AttentionTerm {
  graph::ValueId value;
  Shape scores;  // to which it broadcasts: the scores where the graph takes it
};

struct Attention {
  std::vector<std::size_t>
      nodes;              // indices of Graph::nodes in their order, from product to product
  AttentionMatrix query;  // [...,N,D]
  AttentionMatrix key;    // [...,D,M]
  AttentionMatrix value;  // [...,M,E]
  Shape product;          // of query and key: [...,N,M]
  Shape weights;          // what multiplies the values: [...,N,M]
  Shape scores;           // the same elements; cuts the leading dimensions of all the others
  std::optional<AttentionTerm> factor;  // one number for each of the leading dimensions
  bool divides = false;                 // by the factor
  std::vector<AttentionTerm> biases;    // two at most
  bool result_transposed = false;       // the graph has [...,E,N]
};

// The node that needs a value and may join; nothing where there is none, or several.
using NextNode = std::function<std::optional<std::size_t>(graph::ValueId)>;

// Attention that begins with the product `first`. Between the products there may be, in this order, a factor,
// biases and softmax over the last dimension, with Reshapes of the leading dimensions among them (windows have
// masks of their own), and a Transpose of the weights.
[[nodiscard]] std::optional<Attention> attention_from(const graph::Graph& graph, std::size_t first,
                                                      const NextNode& next);
// The one that these nodes, which were found so, are.
[[nodiscard]] std::optional<Attention> attention_of(const graph::Graph& graph,
                                                    std::span<const std::size_t> nodes);

}  // namespace takt::cuda
