// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/attention.h"

#include "graph/operators.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <variant>

namespace takt::cuda {
namespace {

using graph::Graph;
using graph::Node;
using graph::ValueId;

constexpr std::size_t kBiasesMax = 2;  // of positions, and the mask of a window

// That `fine` cuts each dimension of `coarse` into some of its own.
bool cuts(std::span<const std::int64_t> fine, std::span<const std::int64_t> coarse) {
  std::size_t next = 0;
  for (const std::int64_t size : coarse) {
    std::int64_t reached = 1;
    while (reached < size && next < fine.size()) reached *= fine[next++];
    if (reached != size) return false;
  }
  return std::all_of(fine.begin() + static_cast<std::ptrdiff_t>(next), fine.end(),
                     [](std::int64_t size) { return size == 1; });
}

bool swaps_last_two(const std::vector<int>& permutation) {
  std::vector<int> expected(permutation.size());
  std::iota(expected.begin(), expected.end(), 0);
  if (expected.size() < 2) return false;
  std::swap(expected.end()[-1], expected.end()[-2]);
  return permutation == expected;
}

// Goes from the scores to the result, node after node.
class Walk {
 public:
  explicit Walk(const Graph& graph) : graph_(graph) {}

  std::optional<Attention> run(std::size_t first, const NextNode& next) {
    if (!begin(first)) return {};
    while (!ended_) {
      const std::optional<std::size_t> node = next(value_);
      if (!node || !take(*node)) return {};
    }
    return std::move(found_);
  }

 private:
  [[nodiscard]] const Shape& shape(ValueId id) const { return graph_.value(id).type.shape; }

  bool begin(std::size_t first) {
    const Node& node = graph_.nodes[first];
    const auto* const product = std::get_if<graph::MatMul>(&node.op);
    if (product == nullptr || !are_matrices(node)) return false;
    found_.query = {node.inputs[0], product->transpose_a};
    found_.key = {node.inputs[1], product->transpose_b};
    found_.product = shape(node.outputs.front());
    found_.scores = found_.product;
    step_to(first);
    return true;
  }

  bool take(std::size_t index) {
    const Node& node = graph_.nodes[index];
    bool fits = false;
    if (const auto* const reshape = std::get_if<graph::Reshape>(&node.op)) {
      fits = !transposed_ && take_reshape(*reshape);
    } else if (const auto* const binary = std::get_if<graph::Binary>(&node.op)) {
      fits = !weighted_ && take_term(*binary, node);
    } else if (const auto* const softmax = std::get_if<graph::Softmax>(&node.op)) {
      const auto last = static_cast<int>(shape(value_).size()) - 1;
      fits = !weighted_ && !softmax->log && softmax->axis == last;
      weighted_ = true;
    } else if (const auto* const transpose = std::get_if<graph::Transpose>(&node.op)) {
      fits = weighted_ && !transposed_ && swaps_last_two(transpose->permutation);
      found_.weights = shape(value_);
      transposed_ = true;
    } else if (const auto* const product = std::get_if<graph::MatMul>(&node.op)) {
      fits = weighted_ && are_matrices(node) && take_product(*product, node);
      ended_ = true;
    }
    if (fits) step_to(index);
    return fits;
  }

  void step_to(std::size_t index) {
    found_.nodes.push_back(index);
    value_ = graph_.nodes[index].outputs.front();
  }

  [[nodiscard]] bool are_matrices(const Node& node) const {
    return std::ranges::all_of(node.inputs, [&](ValueId id) { return shape(id).size() >= 2; });
  }

  bool take_reshape(const graph::Reshape& reshape) {
    const Shape& to = reshape.shape;
    Shape& finest = found_.scores;
    if (to.size() < 2 || !std::equal(to.end() - 2, to.end(), finest.end() - 2)) return false;
    const auto leading = [](const Shape& of) { return std::span(of).first(of.size() - 2); };
    if (cuts(leading(finest), leading(to))) return true;
    if (!cuts(leading(to), leading(finest))) return false;
    finest = to;
    return true;
  }

  bool take_term(const graph::Binary& binary, const Node& node) {
    const bool first = node.inputs[0] == value_;
    const ValueId other = first ? node.inputs[1] : node.inputs[0];
    if (other == value_ || shape(node.outputs.front()) != shape(value_)) return false;
    AttentionTerm term{other, shape(value_)};
    if (binary.kind == graph::BinaryKind::add) {
      found_.biases.push_back(std::move(term));
      return found_.biases.size() <= kBiasesMax;
    }
    const bool divides = binary.kind == graph::BinaryKind::div && first;
    if (binary.kind != graph::BinaryKind::mul && !divides) return false;
    // Behind a bias it would multiply that too.
    if (found_.factor || !found_.biases.empty()) return false;
    const Shape& sizes = shape(other);
    const std::size_t leading = sizes.size() - std::min<std::size_t>(2, sizes.size());
    const bool one_number = std::all_of(sizes.begin() + static_cast<std::ptrdiff_t>(leading),
                                        sizes.end(), [](std::int64_t size) { return size == 1; });
    found_.factor = std::move(term);
    found_.divides = divides;
    return one_number;
  }

  bool take_product(const graph::MatMul& product, const Node& node) {
    if (!transposed_) found_.weights = shape(value_);
    const bool first = node.inputs[0] == value_;
    if (node.inputs[0] == node.inputs[1]) return false;
    // weights * values, or (values * weights^T), which is the transposed of that.
    const bool is_transposed = transposed_ != (first ? product.transpose_a : product.transpose_b);
    if (is_transposed == first) return false;
    found_.value = first ? AttentionMatrix{node.inputs[1], product.transpose_b}
                         : AttentionMatrix{node.inputs[0], !product.transpose_a};
    found_.result_transposed = !first;
    const Shape& result = shape(node.outputs.front());
    return std::equal(result.begin(), result.end() - 2, found_.weights.begin(),
                      found_.weights.end() - 2);
  }

  const Graph& graph_;
  Attention found_;
  ValueId value_;
  bool weighted_ = false;    // softmax has been
  bool transposed_ = false;  // what softmax gives
  bool ended_ = false;
};

}  // namespace

std::optional<Attention> attention_from(const Graph& graph, std::size_t first,
                                        const NextNode& next) {
  return Walk(graph).run(first, next);
}

std::optional<Attention> attention_of(const Graph& graph, std::span<const std::size_t> nodes) {
  std::size_t taken = 0;
  return attention_from(graph, nodes.front(), [&](ValueId) -> std::optional<std::size_t> {
    if (++taken == nodes.size()) return {};
    return nodes[taken];
  });
}

}  // namespace takt::cuda
