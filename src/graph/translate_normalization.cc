// SPDX-License-Identifier: Apache-2.0
#include "graph/composition.h"
#include "graph/translate_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace takt::graph {
namespace {

// What constants and statistics are computed in before they become x's type.
DataType wide(DataType type) {
  return type == DataType::fp64 ? DataType::fp64 : DataType::fp32;
}

// A shape with which [C] broadcasts along dimension 1 of x.
Shape channel_shape(const Shape& x, std::int64_t channels) {
  Shape shape(x.size() - 1, 1);
  shape.front() = channels;
  return shape;
}

Result<void> check_channels(const NodeReader& node, std::size_t first, std::size_t last) {
  const Shape& x = node.shape(0);
  if (x.size() < 2) {
    return NodeReader::refuse(fmt::format("input {}; expected [N,C,...]", takt::to_string(x)));
  }
  for (std::size_t i = first; i <= last; ++i) {
    if (node.shape(i) == Shape{x[1]}) continue;
    return NodeReader::refuse(
        fmt::format("input {} has shape {}; expected [{}], one for each channel", i,
                    takt::to_string(node.shape(i)), x[1]));
  }
  return {};
}

Result<int> axis_of(const NodeReader& node, std::int64_t otherwise) {
  return node.axis(node.integer("axis", otherwise), node.rank(0));
}

struct Statistics {
  ValueId mean, variance;  // [C]
};

// Of all that x [N,C,...] has of each channel.
Statistics statistics_of(Composition& made, ValueId x) {
  std::vector<int> axes = first_axes(static_cast<int>(made.shape(x).size()));
  axes.erase(axes.begin() + 1);
  const ValueId mean = made.reduce(ReduceKind::mean, x, axes);
  const ValueId centred = made.binary(BinaryKind::sub, x, mean);
  const ValueId square = made.binary(BinaryKind::mul, centred, centred);
  return {made.squeeze(mean, axes),
          made.squeeze(made.reduce(ReduceKind::mean, square, axes), axes)};
}

}  // namespace

// y = x * a + b with a = scale / sqrt(variance + epsilon) and b = bias - mean * a. In training mode mean and
// variance are x's own: exporters standardise weights so.
Values translate_batch_normalization(const NodeReader& node) {
  if (auto checked = node.check_inputs(5, 5); !checked) return std::unexpected(checked.error());
  const bool training = node.integer("training_mode", 0) != 0;
  const bool of_weights = node.builder().constant(node.input(0)) != nullptr;
  if ((training && !of_weights) || node.output_count() > 1) {
    return NodeReader::refuse("it is in training mode; export the model for inference");
  }
  if (auto checked = check_channels(node, 1, 4); !checked) return std::unexpected(checked.error());
  Composition made(node.builder());
  const DataType type = node.type(0).type;
  const auto parameter = [&](std::size_t i) { return made.cast(node.input(i), wide(type)); };
  const Statistics of_channels =
      training ? statistics_of(made, parameter(0)) : Statistics{parameter(3), parameter(4)};
  const ValueId variance =
      made.binary(BinaryKind::add, of_channels.variance, node.number("epsilon", 1e-5F));
  const ValueId factor =
      made.binary(BinaryKind::div, parameter(1), made.unary(UnaryKind::sqrt, variance));
  const ValueId shift = made.binary(BinaryKind::sub, parameter(2),
                                    made.binary(BinaryKind::mul, of_channels.mean, factor));
  const Shape shape = channel_shape(node.shape(0), node.shape(0)[1]);
  const auto along_channels = [&](ValueId value) {
    return made.reshape(made.cast(value, type), shape);
  };
  const ValueId scaled = made.binary(BinaryKind::mul, node.input(0), along_channels(factor));
  return made.finish({made.binary(BinaryKind::add, scaled, along_channels(shift))});
}

Values translate_instance_normalization(const NodeReader& node) {
  if (auto checked = node.check_inputs(3, 3); !checked) return std::unexpected(checked.error());
  if (auto checked = check_channels(node, 1, 2); !checked) return std::unexpected(checked.error());
  Composition made(node.builder());
  const GroupNorm norm{.groups = node.shape(0)[1], .epsilon = node.number("epsilon", 1e-5F)};
  return made.finish({made.add(norm, {node.input(0), node.input(1), node.input(2)})});
}

// Up to opset 20 scale and bias are given for each group, since then for each channel.
Values translate_group_normalization(const NodeReader& node) {
  if (auto checked = node.check_inputs(3, 3); !checked) return std::unexpected(checked.error());
  const std::int64_t groups = node.integer("num_groups", 0);
  const Shape x = node.shape(0);
  if (x.size() < 2 || groups < 1 || x[1] % groups != 0) {
    return NodeReader::refuse(
        fmt::format("{} groups of the channels of {}", groups, takt::to_string(x)));
  }
  Composition made(node.builder());
  const auto of_channels = [&](ValueId parameter) {
    if (node.opset() >= 21) return parameter;
    const ValueId column = made.reshape(parameter, {groups, 1});
    return made.reshape(made.expand(column, {groups, x[1] / groups}), {x[1]});
  };
  const GroupNorm norm{.groups = groups, .epsilon = node.number("epsilon", 1e-5F)};
  const ValueId scale = of_channels(node.input(1));
  const ValueId bias = of_channels(node.input(2));
  return made.finish({made.add(norm, {node.input(0), scale, bias})});
}

// The further outputs, Mean and InvStdDev, are of FP32 (stash_type 1) and keep the dimensions.
Values translate_layer_normalization(const NodeReader& node) {
  if (auto checked = node.check_inputs(2, 3); !checked) return std::unexpected(checked.error());
  const Result<int> axis = axis_of(node, -1);
  if (!axis) return std::unexpected(axis.error());
  const double epsilon = node.number("epsilon", 1e-5F);
  std::vector<ValueId> inputs{node.input(0), node.input(1)};
  if (node.has_input(2)) inputs.push_back(node.input(2));
  Composition made(node.builder());
  const ValueId y = made.add(LayerNorm{.axis = *axis, .epsilon = epsilon}, std::move(inputs));
  if (node.output_count() == 1) return made.finish({y});
  std::vector<int> axes = first_axes(node.rank(0));
  axes.erase(axes.begin(), axes.begin() + *axis);
  const ValueId x = made.cast(node.input(0), DataType::fp32);
  const ValueId mean = made.reduce(ReduceKind::mean, x, axes);
  const ValueId centred = made.binary(BinaryKind::sub, x, mean);
  const ValueId variance =
      made.reduce(ReduceKind::mean, made.binary(BinaryKind::mul, centred, centred), axes);
  const ValueId deviation =
      made.unary(UnaryKind::sqrt, made.binary(BinaryKind::add, variance, epsilon));
  return made.finish({y, mean, made.unary(UnaryKind::reciprocal, deviation)});
}

Values translate_local_response(const NodeReader& node) {
  if (auto checked = node.check_inputs(1, 1); !checked) return std::unexpected(checked.error());
  Composition made(node.builder());
  const LocalResponseNorm norm{.size = node.integer("size", 0),
                               .alpha = node.number("alpha", 1e-4F),
                               .beta = node.number("beta", 0.75F),
                               .bias = node.number("bias", 1)};
  return made.finish({made.add(norm, {node.input(0)})});
}

// x / |x|, and 0 where the norm is.
Values translate_lp_normalization(const NodeReader& node) {
  if (auto checked = node.check_inputs(1, 1); !checked) return std::unexpected(checked.error());
  const Result<int> axis = axis_of(node, -1);
  if (!axis) return std::unexpected(axis.error());
  const std::int64_t p = node.integer("p", 2);
  if (p != 1 && p != 2) return NodeReader::refuse(fmt::format("p {}; expected 1 or 2", p));
  Composition made(node.builder());
  const ValueId x = node.input(0);
  const ValueId norm = made.reduce(p == 1 ? ReduceKind::l1 : ReduceKind::l2, x, {*axis});
  const ValueId zero = made.binary(BinaryKind::equal, norm, 0.0);
  const ValueId one = made.constant(node.type(0).type, 1);
  const ValueId divisor = made.add(Select{}, {zero, one, norm});
  return made.finish({made.binary(BinaryKind::div, x, divisor)});
}

// (x - mean) / (deviation + 1e-9), as ONNX's function has it.
Values translate_mean_variance(const NodeReader& node) {
  if (auto checked = node.check_inputs(1, 1); !checked) return std::unexpected(checked.error());
  std::vector<std::int64_t> said = node.integers("axes");
  if (said.empty()) said = {0, 2, 3};
  std::vector<int> axes;
  for (const std::int64_t one : said) {
    const Result<int> axis = node.axis(one, node.rank(0));
    if (!axis) return std::unexpected(axis.error());
    axes.push_back(*axis);
  }
  std::ranges::sort(axes);
  Composition made(node.builder());
  const ValueId x = node.input(0);
  const ValueId centred = made.binary(BinaryKind::sub, x, made.reduce(ReduceKind::mean, x, axes));
  const ValueId variance =
      made.reduce(ReduceKind::mean, made.binary(BinaryKind::mul, centred, centred), axes);
  const ValueId deviation =
      made.binary(BinaryKind::add, made.unary(UnaryKind::sqrt, variance), 1e-9);
  return made.finish({made.binary(BinaryKind::div, centred, deviation)});
}

namespace {

// Up to opset 12 everything from `axis` on is one row; since then only `axis` is.
struct Rows {
  Shape shape;
  int axis = 0;
};

Result<Rows> rows_of(const NodeReader& node) {
  if (auto checked = node.check_inputs(1, 1); !checked) return std::unexpected(checked.error());
  const Shape& x = node.shape(0);
  const bool flattens = node.opset() < 13;
  const Result<int> axis = axis_of(node, flattens ? 1 : -1);
  if (!axis) return std::unexpected(axis.error());
  if (!flattens || *axis + 1 == node.rank(0)) return Rows{x, *axis};
  const auto from = static_cast<std::size_t>(*axis);
  const std::span<const std::int64_t> sizes(x);
  return Rows{{product(sizes.first(from)), product(sizes.subspan(from))}, 1};
}

Values softmax(const NodeReader& node, bool log) {
  const Result<Rows> rows = rows_of(node);
  if (!rows) return std::unexpected(rows.error());
  Composition made(node.builder());
  const ValueId x = made.reshape(node.input(0), rows->shape);
  const ValueId y = made.add(Softmax{.axis = rows->axis, .log = log}, {x});
  return made.finish({made.reshape(y, node.shape(0))});
}

}  // namespace

Values translate_softmax(const NodeReader& node) {
  return softmax(node, false);
}
Values translate_log_softmax(const NodeReader& node) {
  return softmax(node, true);
}

// One where the index is that of the row's first largest element.
Values translate_hardmax(const NodeReader& node) {
  const Result<Rows> rows = rows_of(node);
  if (!rows) return std::unexpected(rows.error());
  Composition made(node.builder());
  const ValueId x = made.reshape(node.input(0), rows->shape);
  const ValueId largest = made.add(ArgReduce{.axis = rows->axis}, {x});
  const auto axis = static_cast<std::size_t>(rows->axis);
  if (auto checked = check_made({rows->shape[axis]}); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  std::vector<double> indices;
  while (std::cmp_less(indices.size(), rows->shape[axis])) {
    indices.push_back(static_cast<double>(indices.size()));
  }
  Shape along(rows->shape.size(), 1);
  along[axis] = rows->shape[axis];
  const ValueId range = made.constant(DataType::int64, along, indices);
  const ValueId hit = made.binary(BinaryKind::equal, largest, range);
  return made.finish({made.reshape(made.cast(hit, node.type(0).type), node.shape(0))});
}

}  // namespace takt::graph
