// SPDX-License-Identifier: Apache-2.0
// Arithmetic with constants that moves into the weights of what computes its input.
#include "graph/simplify_rules.h"

#include <algorithm>
#include <array>
#include <utility>

namespace takt::graph {
namespace {

using Ids = std::span<const ValueId>;

std::unexpected<Error> moved(Error error) {
  return std::unexpected(std::move(error));
}

// A constant that scales or shifts each channel of [N,channels,...] by one number: brought to `shape`,
// which has `channels` elements. Nothing for another.
Result<std::optional<ValueId>> of_channels(Rewriter& rewriter, ValueId id, std::int64_t channels,
                                           std::size_t rank, Shape shape) {
  if (rewriter.builder().constant(id) == nullptr) return {};
  const Shape& from = rewriter.shape(id);
  if (from.size() > rank) return {};
  std::int64_t count = 1;
  for (std::size_t back = 1; back <= from.size(); ++back) {
    const std::int64_t size = from[from.size() - back];
    const bool is_channel = back == rank - 1;
    if (size != 1 && !(is_channel && size == channels)) return {};
    count *= size;
  }
  Result<ValueId> flat = rewriter.builder().add(Reshape{{count}}, {id});
  if (flat) flat = rewriter.builder().add(Expand{{channels}}, {*flat});
  if (flat) flat = rewriter.builder().add(Reshape{std::move(shape)}, {*flat});
  if (!flat) return moved(std::move(flat).error());
  return *flat;
}

// The shape in which a vector over the output channels multiplies the weights [M,C,kernel...].
Shape along_weights(std::int64_t channels, std::size_t rank) {
  Shape shape(rank, 1);
  shape.front() = channels;
  return shape;
}

struct Convolution {
  Conv conv;
  std::vector<ValueId> inputs;
};

// What computes `id`, where its weights are known and nobody else needs it.
std::optional<Convolution> convolution(const Rewriter& rewriter, ValueId id) {
  const Conv* const conv = rewriter.producer<Conv>(id);
  if (conv == nullptr || !rewriter.used_once(id)) return {};
  const std::vector<ValueId>& inputs = rewriter.inputs(id);
  const auto is_known = [&rewriter](ValueId weight) {
    return rewriter.builder().constant(weight) != nullptr;
  };
  if (!std::all_of(inputs.begin() + 1, inputs.end(), is_known)) return {};
  return Convolution{*conv, inputs};
}

Rewritten scaled(Rewriter& rewriter, Convolution found, BinaryKind kind, ValueId factor) {
  GraphBuilder& builder = rewriter.builder();
  const Shape weights = rewriter.shape(found.inputs[1]);
  auto scale = of_channels(rewriter, factor, weights[0], weights.size(),
                           along_weights(weights[0], weights.size()));
  if (!scale) return moved(std::move(scale).error());
  if (!*scale) return {};
  Result<ValueId> product = builder.add(Binary{kind}, {found.inputs[1], **scale});
  if (!product) return moved(std::move(product).error());
  found.inputs[1] = *product;
  if (found.inputs.size() > 2) {
    auto flat = of_channels(rewriter, factor, weights[0], weights.size(), {weights[0]});
    if (!flat) return moved(std::move(flat).error());
    Result<ValueId> bias = builder.add(Binary{kind}, {found.inputs[2], **flat});
    if (!bias) return moved(std::move(bias).error());
    found.inputs[2] = *bias;
  }
  // Weights that are too large to fold would be multiplied again in every inference.
  if (builder.constant(*product) == nullptr) return {};
  Result<ValueId> added = builder.add(found.conv, std::move(found.inputs));
  if (!added) return moved(std::move(added).error());
  return *added;
}

Rewritten shifted(Rewriter& rewriter, Convolution found, BinaryKind kind, ValueId term) {
  GraphBuilder& builder = rewriter.builder();
  const Shape& weights = rewriter.shape(found.inputs[1]);
  const std::int64_t channels = weights[0];
  auto shift = of_channels(rewriter, term, channels, weights.size(), {channels});
  if (!shift) return moved(std::move(shift).error());
  if (!*shift) return {};
  ValueId bias = **shift;
  if (found.inputs.size() > 2) {
    Result<ValueId> sum = builder.add(Binary{kind}, {found.inputs[2], bias});
    if (!sum) return moved(std::move(sum).error());
    bias = *sum;
  } else if (kind == BinaryKind::sub) {
    Result<ValueId> negative = builder.add(Unary{UnaryKind::neg}, {bias});
    if (!negative) return moved(std::move(negative).error());
    bias = *negative;
  }
  found.inputs.resize(2);
  found.inputs.push_back(bias);
  Result<ValueId> added = builder.add(found.conv, std::move(found.inputs));
  if (!added) return moved(std::move(added).error());
  return *added;
}

Rewritten fold_into_convolutions(Rewriter& rewriter, const Operator& op, Ids inputs) {
  const auto* const binary = std::get_if<Binary>(&op);
  if (binary == nullptr) return {};
  const bool sum = binary->kind == BinaryKind::add;
  const bool product = binary->kind == BinaryKind::mul;
  const bool ordered = binary->kind == BinaryKind::sub || binary->kind == BinaryKind::div;
  if (!sum && !product && !ordered) return {};
  ValueId image = inputs[0];
  ValueId other = inputs[1];
  if (!ordered && rewriter.builder().constant(image) != nullptr) std::swap(image, other);
  std::optional<Convolution> found = convolution(rewriter, image);
  if (!found) return {};
  const bool scales = product || binary->kind == BinaryKind::div;
  return scales ? scaled(rewriter, std::move(*found), binary->kind, other)
                : shifted(rewriter, std::move(*found), binary->kind, other);
}

// Zeros around an image are the convolution's own padding.
Rewritten fold_padding(Rewriter& rewriter, const Operator& op, Ids inputs) {
  const auto* const conv = std::get_if<Conv>(&op);
  if (conv == nullptr) return {};
  const Pad* const pad = rewriter.producer<Pad>(inputs[0]);
  if (pad == nullptr || pad->mode != PadMode::constant || pad->value != 0) return {};
  if (pad->begins[0] + pad->begins[1] + pad->ends[0] + pad->ends[1] != 0) return {};
  Conv padded = *conv;
  for (std::size_t i = 0; i < padded.window.kernel.size(); ++i) {
    padded.window.pads_begin[i] += pad->begins[i + 2];
    padded.window.pads_end[i] += pad->ends[i + 2];
  }
  std::vector<ValueId> from(inputs.begin(), inputs.end());
  from[0] = rewriter.inputs(inputs[0]).front();
  Result<ValueId> added = rewriter.builder().add(std::move(padded), std::move(from));
  if (!added) return moved(std::move(added).error());
  return *added;
}

// Scale and bias behind a LayerNorm that has none of its own yet, or some.
Rewritten fold_into_layer_norms(Rewriter& rewriter, const Operator& op, Ids inputs) {
  const auto* const binary = std::get_if<Binary>(&op);
  if (binary == nullptr) return {};
  if (binary->kind != BinaryKind::mul && binary->kind != BinaryKind::add) return {};
  GraphBuilder& builder = rewriter.builder();
  const bool first = rewriter.producer<LayerNorm>(inputs[0]) != nullptr;
  const ValueId image = first ? inputs[0] : inputs[1];
  const ValueId other = first ? inputs[1] : inputs[0];
  const LayerNorm* const norm = rewriter.producer<LayerNorm>(image);
  if (norm == nullptr || !rewriter.used_once(image) || builder.constant(other) == nullptr)
    return {};
  const Shape& shape = rewriter.shape(image);
  const Shape block(shape.begin() + norm->axis, shape.end());
  if (rewriter.shape(other) != block) return {};
  const LayerNorm same = *norm;
  std::vector<ValueId> from = rewriter.inputs(image);
  const bool scales = binary->kind == BinaryKind::mul;
  for (std::size_t i = scales ? 1 : 2; i < from.size(); ++i) {
    Result<ValueId> folded = builder.add(Binary{binary->kind}, {from[i], other});
    if (!folded) return moved(std::move(folded).error());
    from[i] = *folded;
  }
  if (!scales && from.size() == 2) from.push_back(other);
  Result<ValueId> added = builder.add(same, std::move(from));
  if (!added) return moved(std::move(added).error());
  return *added;
}

constexpr std::array<Rule, 3> kRules{&fold_into_convolutions, &fold_padding,
                                     &fold_into_layer_norms};

}  // namespace

std::span<const Rule> folding_rules() {
  return kRules;
}

}  // namespace takt::graph
