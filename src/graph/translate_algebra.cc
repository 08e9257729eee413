// SPDX-License-Identifier: Apache-2.0
#include "graph/composition.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace takt::graph {
namespace {

// A vector on the left is a row, one on the right a column; the product loses that dimension again.
Values translate_matmul(const NodeReader& node) {
  if (auto checked = node.check_inputs(2, 2); !checked) return std::unexpected(checked.error());
  const Shape& a = node.shape(0);
  const Shape& b = node.shape(1);
  if (a.empty() || b.empty()) {
    return NodeReader::refuse(fmt::format("a product of {} and {}; expected one dimension and more",
                                          takt::to_string(a), takt::to_string(b)));
  }
  Composition made(node.builder());
  const ValueId left = a.size() == 1 ? made.reshape(node.input(0), {1, a[0]}) : node.input(0);
  const ValueId right = b.size() == 1 ? made.reshape(node.input(1), {b[0], 1}) : node.input(1);
  const ValueId product = made.add(MatMul{}, {left, right});
  std::vector<int> lost;
  const int rank = static_cast<int>(made.shape(product).size());
  if (a.size() == 1) lost.push_back(rank - 2);
  if (b.size() == 1) lost.push_back(rank - 1);
  return made.finish({made.squeeze(product, lost)});
}

// Of integers only by an integer.
ValueId scaled(Composition& made, ValueId x, float factor) {
  if (factor == 1) return x;
  const DataType type = made.type(x).type;
  const bool floating = type == DataType::fp16 || type == DataType::bf16 ||
                        type == DataType::fp32 || type == DataType::fp64;
  if (!floating && factor != std::trunc(factor)) {
    made.refuse(fmt::format("{} times {}", takt::to_string(type), factor));
  }
  return made.binary(BinaryKind::mul, x, factor);
}

// alpha goes to the smaller place: into constant weights, so that it costs nothing later.
Values translate_gemm(const NodeReader& node) {
  if (auto checked = node.check_inputs(2, 3); !checked) return std::unexpected(checked.error());
  if (node.rank(0) != 2 || node.rank(1) != 2) {
    return NodeReader::refuse(fmt::format("a product of {} and {}; expected two dimensions",
                                          takt::to_string(node.shape(0)),
                                          takt::to_string(node.shape(1))));
  }
  Composition made(node.builder());
  const float alpha = node.number("alpha", 1);
  const bool constant_weights = node.builder().constant(node.input(1)) != nullptr;
  const ValueId b = constant_weights ? scaled(made, node.input(1), alpha) : node.input(1);
  const MatMul op{node.integer("transA", 0) != 0, node.integer("transB", 0) != 0};
  ValueId y = made.add(op, {node.input(0), b});
  if (!constant_weights) y = scaled(made, y, alpha);
  if (!node.has_input(2) || made.failed()) return made.finish({y});
  const Shape shape = made.shape(y);
  y = made.binary(BinaryKind::add, y, scaled(made, node.input(2), node.number("beta", 1)));
  if (!made.failed() && made.shape(y) != shape) {
    made.refuse(fmt::format("C {} doesn't broadcast to {}", takt::to_string(node.shape(2)),
                            takt::to_string(shape)));
  }
  return made.finish({y});
}

// Ascending; all where none are named, unless those mean none.
Result<std::vector<int>> reduced_axes(const NodeReader& node) {
  const Result<std::vector<std::int64_t>> said = node.integers_of("axes", 1);
  if (!said) return std::unexpected(said.error());
  if (said->empty()) {
    return first_axes(node.integer("noop_with_empty_axes", 0) != 0 ? 0 : node.rank(0));
  }
  std::vector<int> axes;
  for (const std::int64_t one : *said) {
    const Result<int> axis = node.axis(one, node.rank(0));
    if (!axis) return std::unexpected(axis.error());
    axes.push_back(*axis);
  }
  std::ranges::sort(axes);
  axes.erase(std::ranges::unique(axes).begin(), axes.end());
  return axes;
}

// A reduction over no dimension still applies to each element what the sum would be taken of.
ValueId reduce_nothing(Composition& made, ReduceKind kind, ValueId x) {
  switch (kind) {
    case ReduceKind::l1:
    case ReduceKind::l2:
      return made.unary(UnaryKind::abs, x);
    case ReduceKind::log_sum:
      return made.unary(UnaryKind::log, x);
    case ReduceKind::sum_square:
      return made.binary(BinaryKind::mul, x, x);
    default:
      return x;
  }
}

Values translate_reduce(const NodeReader& node, ReduceKind kind) {
  if (auto checked = node.check_inputs(1, 2); !checked) return std::unexpected(checked.error());
  const Result<std::vector<int>> axes = reduced_axes(node);
  if (!axes) return std::unexpected(axes.error());
  Composition made(node.builder());
  const ValueId x = node.input(0);
  if (axes->empty()) return made.finish({reduce_nothing(made, kind, x)});
  const ValueId y = made.reduce(kind, x, *axes);
  const bool keeps = node.integer("keepdims", 1) != 0;
  return made.finish({keeps ? y : made.squeeze(y, *axes)});
}

template <ReduceKind kind>
Values translate_reduce(const NodeReader& node) {
  return translate_reduce(node, kind);
}

Values translate_arg(const NodeReader& node, bool maximum) {
  if (auto checked = node.check_inputs(1, 1); !checked) return std::unexpected(checked.error());
  const Result<int> axis = node.axis(node.integer("axis", 0), node.rank(0));
  if (!axis) return std::unexpected(axis.error());
  Composition made(node.builder());
  const ArgReduce op{.maximum = maximum,
                     .axis = *axis,
                     .last_of_equals = node.integer("select_last_index", 0) != 0};
  const ValueId y = made.add(op, {node.input(0)});
  const bool keeps = node.integer("keepdims", 1) != 0;
  return made.finish({keeps ? y : made.squeeze(y, {&*axis, 1})});
}

Values translate_arg_max(const NodeReader& node) {
  return translate_arg(node, true);
}
Values translate_arg_min(const NodeReader& node) {
  return translate_arg(node, false);
}

Result<int> summed_axis(const NodeReader& node) {
  const Result<std::vector<std::int64_t>> said = node.integers_of(1);
  if (!said) return std::unexpected(said.error());
  if (said->size() != 1) return NodeReader::refuse("more than one axis; expected one");
  return node.axis(said->front(), node.rank(0));
}

// x moved by `places` along an axis, away from its beginning or towards it; zeros follow.
ValueId moved(Composition& made, ValueId x, std::size_t axis, std::int64_t places, bool towards) {
  const Shape shape = made.shape(x);
  Slice slice{std::vector<std::int64_t>(shape.size(), 0),
              std::vector<std::int64_t>(shape.size(), 1), shape};
  slice.sizes[axis] -= places;
  slice.starts[axis] = towards ? places : 0;
  Pad pad{std::vector<std::int64_t>(shape.size(), 0), std::vector<std::int64_t>(shape.size(), 0)};
  (towards ? pad.ends : pad.begins)[axis] = places;
  return made.add(std::move(pad), {made.add(std::move(slice), {x})});
}

// Sums of one element, of two, of four ...: each step adds those that end where the present ones begin
// (Hillis and Steele, "Data Parallel Algorithms", 1986).
Values translate_cum_sum(const NodeReader& node) {
  if (auto checked = node.check_inputs(2, 2); !checked) return std::unexpected(checked.error());
  const Result<int> said = summed_axis(node);
  if (!said) return std::unexpected(said.error());
  const auto axis = static_cast<std::size_t>(*said);
  const std::int64_t count = node.shape(0)[axis];
  const bool reverse = node.integer("reverse", 0) != 0;
  Composition made(node.builder());
  ValueId sums = node.input(0);
  for (std::int64_t step = 1; step < count; step *= 2) {
    sums = made.binary(BinaryKind::add, sums, moved(made, sums, axis, step, reverse));
  }
  const bool exclusive = node.integer("exclusive", 0) != 0 && count > 0;
  return made.finish({exclusive ? moved(made, sums, axis, 1, reverse) : sums});
}

Values translate_top_k(const NodeReader& node) {
  if (auto checked = node.check_inputs(2, 2); !checked) return std::unexpected(checked.error());
  const Result<int> axis = node.axis(node.integer("axis", -1), node.rank(0));
  if (!axis) return std::unexpected(axis.error());
  const Result<std::vector<std::int64_t>> k = node.integers_of(1);
  if (!k) return std::unexpected(k.error());
  if (k->size() != 1) return NodeReader::refuse(fmt::format("{} numbers for k", k->size()));
  const TopK op{.k = k->front(),
                .axis = *axis,
                .largest = node.integer("largest", 1) != 0,
                .sorted = node.integer("sorted", 1) != 0};
  return node.builder().add_all(op, {node.input(0)});
}

constexpr std::array<Translation, 27> kTranslations{
    {{"ArgMax", translate_arg_max},
     {"ArgMin", translate_arg_min},
     {"BatchNormalization", translate_batch_normalization},
     {"CumSum", translate_cum_sum},
     {"Einsum", translate_einsum},
     {"Gemm", translate_gemm},
     {"GroupNormalization", translate_group_normalization},
     {"Hardmax", translate_hardmax},
     {"InstanceNormalization", translate_instance_normalization},
     {"LRN", translate_local_response},
     {"LayerNormalization", translate_layer_normalization},
     {"LogSoftmax", translate_log_softmax},
     {"LpNormalization", translate_lp_normalization},
     {"MatMul", translate_matmul},
     {"MeanVarianceNormalization", translate_mean_variance},
     {"ReduceL1", translate_reduce<ReduceKind::l1>},
     {"ReduceL2", translate_reduce<ReduceKind::l2>},
     {"ReduceLogSum", translate_reduce<ReduceKind::log_sum>},
     {"ReduceLogSumExp", translate_reduce<ReduceKind::log_sum_exp>},
     {"ReduceMax", translate_reduce<ReduceKind::max>},
     {"ReduceMean", translate_reduce<ReduceKind::mean>},
     {"ReduceMin", translate_reduce<ReduceKind::min>},
     {"ReduceProd", translate_reduce<ReduceKind::prod>},
     {"ReduceSum", translate_reduce<ReduceKind::sum>},
     {"ReduceSumSquare", translate_reduce<ReduceKind::sum_square>},
     {"Softmax", translate_softmax},
     {"TopK", translate_top_k}}};

}  // namespace

std::span<const Translation> algebra_translations() {
  return kTranslations;
}

}  // namespace takt::graph
