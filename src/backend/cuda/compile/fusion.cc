// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/fusion.h"

#include "backend/cuda/compile/attention.h"
#include "backend/cuda/kernels/attention.h"
#include "graph/operators.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

namespace takt::cuda {
namespace {

using graph::Binary;
using graph::BinaryKind;
using graph::Graph;
using graph::Node;
using graph::Unary;
using graph::UnaryKind;
using graph::ValueId;

constexpr std::size_t kPointwiseNodesMax =
    64;  // of one kernel, so that its text and registers stay few
constexpr std::size_t kPointwiseInputsMax = 32;  // pointers of one kernel
constexpr std::int64_t kFewOutputs = 4;  // what is not worth a tuned kernel: channels that come out
constexpr std::int64_t kFewProducts = 64;  // and products that each is the sum of

bool may_end_contraction(UnaryKind kind) {
  switch (kind) {
    case UnaryKind::relu:
    case UnaryKind::leaky_relu:
    case UnaryKind::clip:
    case UnaryKind::sigmoid:
    case UnaryKind::tanh:
    case UnaryKind::silu:
    case UnaryKind::gelu:
    case UnaryKind::gelu_tanh:
    case UnaryKind::elu:
    case UnaryKind::softplus:
    case UnaryKind::hard_sigmoid:
    case UnaryKind::hard_swish:
      return true;
    default:
      return false;
  }
}

class Fusion {
 public:
  Fusion(const Graph& graph, DataType product_type, ComputeCapability capability)
      : graph_(graph),
        product_type_(product_type),
        capability_(capability),
        consumers_(graph.values.size()),
        is_output_(graph.values.size()),
        grouped_(graph.nodes.size()) {
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      for (const ValueId id : graph.nodes[i].inputs) consumers_[id.value].push_back(i);
    }
    for (const ValueId id : graph.outputs) is_output_[id.value] = true;
  }

  std::vector<Group> run() {
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!grouped_[i]) take_attention(i);
    }
    // From the end: of two convolutions that are added, the later one takes the sum.
    for (std::size_t i = graph_.nodes.size(); i-- > 0;) {
      if (!grouped_[i] && is_contraction(graph_, graph_.nodes[i])) take(contraction(i));
    }
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (const auto mean = mean_of_softmax(i)) take({StepKind::single, {i, *mean}});
    }
    for (std::size_t i = graph_.nodes.size(); i-- > 0;) {
      if (!grouped_[i] && is_pointwise(graph_.nodes[i].op)) take(pointwise(i));
    }
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!grouped_[i]) take({StepKind::single, {i}});
    }
    std::ranges::sort(groups_, {}, [](const Group& group) { return group.nodes.back(); });
    return std::move(groups_);
  }

 private:
  void take(Group group) {
    for (const std::size_t node : group.nodes) grouped_[node] = true;
    groups_.push_back(std::move(group));
  }

  [[nodiscard]] const Shape& shape(ValueId id) const { return graph_.value(id).type.shape; }

  // The only node that needs the value, if it is free.
  [[nodiscard]] std::optional<std::size_t> only_consumer(ValueId id) const {
    const std::vector<std::size_t>& nodes = consumers_[id.value];
    if (nodes.size() != 1 || is_output_[id.value] || grouped_[nodes.front()]) return {};
    return nodes.front();
  }

  void take_attention(std::size_t first) {
    const auto next = [&](ValueId id) { return only_consumer(id); };
    std::optional<Attention> found = attention_from(graph_, first, next);
    if (!found) return;
    const auto is_tuned = [&](std::size_t node) {
      return is_contraction(graph_, graph_.nodes[node]);
    };
    if (!is_tuned(found->nodes.front()) || !is_tuned(found->nodes.back())) return;
    const Shape& key = shape(found->key.value);
    const Shape& value = shape(found->value.value);
    const std::int64_t key_size = key.end()[found->key.transposed ? -1 : -2];
    const std::int64_t value_size = value.end()[found->value.transposed ? -2 : -1];
    if (!attention_supported(product_type_, capability_, key_size, value_size)) return;
    take({StepKind::attention, std::move(found->nodes)});
  }

  [[nodiscard]] Group contraction(std::size_t first) const {
    Group group{StepKind::contraction, {first}};
    bool has_sum = false;
    bool has_activation = false;
    ValueId value = graph_.nodes[first].outputs.front();
    while (const auto next = only_consumer(value)) {
      const Node& node = graph_.nodes[*next];
      const auto* const unary = std::get_if<Unary>(&node.op);
      if (unary != nullptr && !has_activation && may_end_contraction(unary->kind)) {
        has_activation = true;
      } else if (!has_sum && adds_residual(node, value)) {
        has_sum = true;
      } else {
        break;
      }
      group.nodes.push_back(*next);
      value = node.outputs.front();
    }
    return group;
  }

  [[nodiscard]] bool adds_residual(const Node& node, ValueId value) const {
    const auto* const binary = std::get_if<Binary>(&node.op);
    if (binary == nullptr || binary->kind != BinaryKind::add) return false;
    if (node.inputs[0] == node.inputs[1]) return false;
    return shape(node.outputs.front()) == shape(value);
  }

  // The convolution that weighs what Softmax makes of the channels, as detectors do with the bins of a
  // distribution.
  [[nodiscard]] std::optional<std::size_t> mean_of_softmax(std::size_t node) const {
    const auto* const softmax = std::get_if<graph::Softmax>(&graph_.nodes[node].op);
    if (softmax == nullptr || softmax->log || softmax->axis != 1) return {};
    const ValueId value = graph_.nodes[node].outputs.front();
    const auto next = only_consumer(value);
    if (!next) return {};
    const Node& mean = graph_.nodes[*next];
    const auto* const conv = std::get_if<graph::Conv>(&mean.op);
    if (conv == nullptr || conv->groups != 1 || mean.inputs.size() != 2) return {};
    if (mean.inputs[0] != value) return {};
    Shape expected = shape(value);
    expected[1] = 1;
    const auto all_are = [](const std::vector<std::int64_t>& values, std::int64_t number) {
      return std::ranges::all_of(values, [=](std::int64_t v) { return v == number; });
    };
    const graph::Window& window = conv->window;
    const bool pixel_by_pixel =
        all_are(window.kernel, 1) && all_are(window.strides, 1) && all_are(window.pads_begin, 0);
    if (!pixel_by_pixel || shape(mean.outputs.front()) != expected) return {};
    return next;
  }

  [[nodiscard]] Group pointwise(std::size_t last) const {
    Group group{StepKind::pointwise, {last}};
    std::vector<bool> member(graph_.nodes.size());
    member[last] = true;
    std::size_t inputs = graph_.nodes[last].inputs.size();
    const Shape& space = shape(graph_.nodes[last].outputs.front());
    for (std::size_t i = last; i-- > 0 && group.nodes.size() < kPointwiseNodesMax;) {
      const Node& node = graph_.nodes[i];
      if (grouped_[i] || !is_pointwise(node.op)) continue;
      const ValueId result = node.outputs.front();
      const std::vector<std::size_t>& needed_by = consumers_[result.value];
      if (is_output_[result.value] || needed_by.empty() || shape(result) != space) continue;
      if (!std::ranges::all_of(needed_by, [&](std::size_t n) { return member[n]; })) continue;
      // Its result is no longer one; what several nodes need counts more than once.
      const std::size_t more = inputs - needed_by.size() + node.inputs.size();
      if (more > kPointwiseInputsMax) continue;
      inputs = more;
      member[i] = true;
      group.nodes.push_back(i);
    }
    std::ranges::sort(group.nodes);
    return group;
  }

  const Graph& graph_;
  const DataType product_type_;
  const ComputeCapability capability_;
  std::vector<std::vector<std::size_t>> consumers_;  // of each value
  std::vector<bool> is_output_;
  std::vector<bool> grouped_;
  std::vector<Group> groups_;
};

}  // namespace

bool is_contraction(const graph::Graph& graph, const graph::Node& node) {
  const bool kind = std::holds_alternative<graph::Conv>(node.op) ||
                    std::holds_alternative<graph::ConvTranspose>(node.op) ||
                    std::holds_alternative<graph::MatMul>(node.op);
  if (!kind) return false;
  const graph::TensorType& type = graph.value(node.outputs.front()).type;
  if (!is_floating(type.type) || type.type == DataType::fp64) return false;
  const auto is_empty = [&](ValueId id) {
    const Shape& shape = graph.value(id).type.shape;
    return std::ranges::find(shape, 0) != shape.end();
  };
  if (std::ranges::any_of(node.inputs, is_empty)) return false;
  const auto* const conv = std::get_if<graph::Conv>(&node.op);
  if (conv == nullptr) return true;
  const Shape& weights = graph.value(node.inputs[1]).type.shape;
  std::int64_t products = 1;
  for (std::size_t i = 1; i < weights.size(); ++i) products *= weights[i];
  return weights.front() > kFewOutputs || products > kFewProducts;
}

bool is_pointwise(const graph::Operator& op) {
  return std::holds_alternative<Unary>(op) || std::holds_alternative<Binary>(op) ||
         std::holds_alternative<graph::Cast>(op) || std::holds_alternative<graph::Select>(op);
}

std::vector<Group> fuse(const graph::Graph& graph, DataType product_type,
                        ComputeCapability capability) {
  return Fusion(graph, product_type, capability).run();
}

}  // namespace takt::cuda
