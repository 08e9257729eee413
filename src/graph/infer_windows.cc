// SPDX-License-Identifier: Apache-2.0
#include "graph/infer_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace takt::graph {
namespace {

constexpr std::size_t kSpatial = 2;  // the first spatial dimension

Result<void> check_window(const Window& window, const TensorType& x) {
  const std::size_t rank = window.kernel.size();
  const bool complete = window.strides.size() == rank && window.dilations.size() == rank &&
                        window.pads_begin.size() == rank && window.pads_end.size() == rank;
  if (!complete || rank == 0 || x.shape.size() != rank + kSpatial) {
    return refuse(fmt::format("a window of {} dimensions on {}", rank, takt::to_string(x.shape)));
  }
  const auto within = [](std::int64_t least) {
    return [least](std::int64_t value) { return value >= least && value < kDimensionMax; };
  };
  const bool fits = std::ranges::all_of(window.kernel, within(1)) &&
                    std::ranges::all_of(window.strides, within(1)) &&
                    std::ranges::all_of(window.dilations, within(1)) &&
                    std::ranges::all_of(window.pads_begin, within(0)) &&
                    std::ranges::all_of(window.pads_end, within(0)) &&
                    std::ranges::all_of(x.shape, within(0));
  if (fits) return {};
  return refuse(
      "kernel, strides and dilations must be positive, padding not negative, all below 2^31");
}

// Of one spatial dimension, dilation counted.
std::int64_t extent(const Window& window, std::size_t i) {
  return (window.kernel[i] - 1) * window.dilations[i] + 1;
}

Result<void> check_bias(InputTypes inputs, std::int64_t channels) {
  for (const TensorType& input : inputs.subspan(1)) {
    if (input.type != inputs[0].type) {
      return refuse(
          fmt::format("{} beside {}; expected one type", to_string(input), to_string(inputs[0])));
    }
  }
  if (inputs.size() < 3 || inputs[2].shape == Shape{channels}) return {};
  return refuse(
      fmt::format("a bias of {} for {} channels", takt::to_string(inputs[2].shape), channels));
}

Result<void> check_floating(const TensorType& x) {
  if (is_floating(x.type)) return {};
  return refuse(fmt::format("{}; expected floating point", to_string(x)));
}

Result<void> check_weights(const Window& window, std::int64_t groups, InputTypes inputs) {
  if (auto checked = check_window(window, inputs[0]); !checked) return checked;
  if (auto checked = check_floating(inputs[0]); !checked) return checked;
  const Shape& weights = inputs[1].shape;
  const bool fits = weights.size() == inputs[0].shape.size() && groups >= 1 &&
                    groups < kDimensionMax && weights[1] < kDimensionMax &&
                    std::equal(window.kernel.begin(), window.kernel.end(),
                               weights.begin() + kSpatial, weights.end());
  if (fits) return {};
  return refuse(fmt::format("weights {} in {} groups don't fit the input {}",
                            takt::to_string(weights), groups, takt::to_string(inputs[0].shape)));
}

std::unexpected<Error> refuse_channels(InputTypes inputs, std::int64_t groups) {
  return refuse(fmt::format("the channels of the input {} and the weights {} don't fit {} groups",
                            takt::to_string(inputs[0].shape), takt::to_string(inputs[1].shape),
                            groups));
}

double elements(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), 1.0, std::multiplies<>());
}

}  // namespace

Inferred infer(const Conv& op, InputTypes inputs) {
  if (auto checked = check_weights(op.window, op.groups, inputs); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Shape& x = inputs[0].shape;
  const Shape& w = inputs[1].shape;
  if (w[0] % op.groups != 0 || w[1] * op.groups != x[1]) return refuse_channels(inputs, op.groups);
  if (auto checked = check_bias(inputs, w[0]); !checked) return std::unexpected(checked.error());
  Shape shape{x[0], w[0]};
  for (std::size_t i = 0; i < op.window.kernel.size(); ++i) {
    const std::int64_t padded = x[i + kSpatial] + op.window.pads_begin[i] + op.window.pads_end[i];
    const std::int64_t room = padded - extent(op.window, i);
    if (room < 0) {
      return refuse(fmt::format("a kernel of {} is larger than the padded input of {}",
                                extent(op.window, i), padded));
    }
    shape.push_back(room / op.window.strides[i] + 1);
  }
  return one(inputs[0].type, std::move(shape));
}

Inferred infer(const ConvTranspose& op, InputTypes inputs) {
  if (auto checked = check_weights(op.window, op.groups, inputs); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Shape& x = inputs[0].shape;
  const Shape& w = inputs[1].shape;
  if (w[0] != x[1] || x[1] % op.groups != 0) return refuse_channels(inputs, op.groups);
  if (op.output_padding.size() != op.window.kernel.size()) {
    return refuse("an output padding for each spatial dimension is needed");
  }
  const std::int64_t channels = w[1] * op.groups;
  if (auto checked = check_bias(inputs, channels); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  Shape shape{x[0], channels};
  for (std::size_t i = 0; i < op.window.kernel.size(); ++i) {
    const std::int64_t size = op.window.strides[i] * (x[i + kSpatial] - 1) + op.output_padding[i] +
                              extent(op.window, i) - op.window.pads_begin[i] -
                              op.window.pads_end[i];
    if (size < 0 || op.output_padding[i] < 0) {
      return refuse(fmt::format("dimension {} would have {} elements", i + kSpatial, size));
    }
    shape.push_back(size);
  }
  return one(inputs[0].type, std::move(shape));
}

Inferred infer(const Pool& op, InputTypes inputs) {
  if (auto checked = check_window(op.window, inputs[0]); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Shape& x = inputs[0].shape;
  Shape shape{x[0], x[1]};
  if (op.sizes.size() != op.window.kernel.size()) {
    return refuse("a size for each dimension is needed");
  }
  for (std::size_t i = 0; i < op.sizes.size(); ++i) {
    // No window may lie in the padding as a whole: there would be nothing to take the largest or the mean of.
    const std::int64_t reach = extent(op.window, i);
    if (op.window.pads_begin[i] >= reach || op.window.pads_end[i] >= reach) {
      return refuse(
          fmt::format("padding of {} and {} on dimension {}, expected less than the kernel, which "
                      "reaches over {}",
                      op.window.pads_begin[i], op.window.pads_end[i], i + kSpatial, reach));
    }
    const std::int64_t last = (std::min(op.sizes[i], kDimensionMax) - 1) * op.window.strides[i];
    const std::int64_t end = x[i + kSpatial] + op.window.pads_begin[i] + op.window.pads_end[i];
    if (op.sizes[i] < 0 || op.sizes[i] > kDimensionMax || (op.sizes[i] > 0 && last >= end)) {
      return refuse(fmt::format("{} windows on dimension {} of {}", op.sizes[i], i + kSpatial,
                                takt::to_string(x)));
    }
    shape.push_back(op.sizes[i]);
  }
  return one(inputs[0].type, std::move(shape));
}

Inferred infer(const Resize& op, InputTypes inputs) {
  const Shape& x = inputs[0].shape;
  const bool complete =
      op.sizes.size() == x.size() && op.scales.size() == x.size() &&
      (op.coordinates != ResizeCoordinates::crop_and_resize || op.roi.size() == 2 * x.size());
  const auto positive = [](double scale) { return scale > 0; };
  if (complete && std::ranges::all_of(op.scales, positive)) return one(inputs[0].type, op.sizes);
  return refuse(
      fmt::format("{} sizes and {} scales for {}; expected one for each dimension, scales "
                  "above 0",
                  op.sizes.size(), op.scales.size(), takt::to_string(x)));
}

Inferred infer(const MatMul& op, InputTypes inputs) {
  Shape a = inputs[0].shape;
  Shape b = inputs[1].shape;
  const bool matrices = a.size() >= 2 && b.size() >= 2 && inputs[0].type == inputs[1].type;
  if (matrices && op.transpose_a) std::swap(a.end()[-1], a.end()[-2]);
  if (matrices && op.transpose_b) std::swap(b.end()[-1], b.end()[-2]);
  if (!matrices || a.end()[-1] != b.end()[-2] || inputs[0].type == DataType::boolean) {
    return refuse(fmt::format("{}{} times {}{}", to_string(inputs[0]),
                              op.transpose_a ? " transposed" : "", to_string(inputs[1]),
                              op.transpose_b ? " transposed" : ""));
  }
  Result<Shape> shape = broadcast(Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2));
  if (!shape) return std::unexpected(std::move(shape).error());
  shape->push_back(a.end()[-2]);
  shape->push_back(b.end()[-1]);
  return one(inputs[0].type, std::move(*shape));
}

Inferred infer(const LayerNorm& op, InputTypes inputs) {
  const Shape& x = inputs[0].shape;
  if (auto checked = check_axis(op.axis, x); !checked) return std::unexpected(checked.error());
  if (auto checked = check_floating(inputs[0]); !checked) return std::unexpected(checked.error());
  const Shape block(x.begin() + op.axis, x.end());
  for (const TensorType& factor : inputs.subspan(1)) {
    const Result<Shape> shape = broadcast(block, factor.shape);
    if (shape && *shape == block && is_floating(factor.type)) continue;
    return refuse(fmt::format("{} doesn't fit {} from axis {} on", to_string(factor),
                              to_string(inputs[0]), op.axis));
  }
  return std::vector<TensorType>{inputs[0]};
}

Inferred infer(const GroupNorm& op, InputTypes inputs) {
  const Shape& x = inputs[0].shape;
  if (auto checked = check_floating(inputs[0]); !checked) return std::unexpected(checked.error());
  const bool grouped = x.size() >= 2 && op.groups >= 1 && x[1] % op.groups == 0;
  if (!grouped || inputs[1].shape != Shape{x[1]} || inputs[2].shape != Shape{x[1]}) {
    return refuse(fmt::format("scale {} and bias {} for {} in {} groups",
                              takt::to_string(inputs[1].shape), takt::to_string(inputs[2].shape),
                              takt::to_string(x), op.groups));
  }
  return std::vector<TensorType>{inputs[0]};
}

Inferred infer(const LocalResponseNorm& op, InputTypes inputs) {
  if (auto checked = check_floating(inputs[0]); !checked) return std::unexpected(checked.error());
  if (inputs[0].shape.size() >= 2 && op.size >= 1) return std::vector<TensorType>{inputs[0]};
  return refuse(fmt::format("{} neighbours of the channels of {}", op.size, to_string(inputs[0])));
}

double work(const Operator& op, std::span<const TensorType> inputs,
            std::span<const TensorType> outputs) {
  const double results = elements(outputs.front().shape);
  if (std::holds_alternative<Conv>(op)) {
    const Shape& w = inputs[1].shape;
    return results * elements(w) / static_cast<double>(std::max<std::int64_t>(w[0], 1));
  }
  if (std::holds_alternative<ConvTranspose>(op)) {
    const Shape& w = inputs[1].shape;
    const double taps = elements(w) / static_cast<double>(std::max<std::int64_t>(w[0], 1));
    return std::max({elements(inputs[0].shape) * taps, taps, results});
  }
  if (std::holds_alternative<NonMaxSuppression>(op)) {
    const Shape& scores = inputs[1].shape;
    return elements(scores) * static_cast<double>(scores[2]);
  }
  if (const auto* norm = std::get_if<LocalResponseNorm>(&op)) {
    return results * static_cast<double>(std::min(norm->size, outputs[0].shape[1]));
  }
  if (const auto* product = std::get_if<MatMul>(&op)) {
    const Shape& a = inputs[0].shape;
    return results * static_cast<double>(product->transpose_a ? a.end()[-2] : a.end()[-1]);
  }
  if (const auto* pool = std::get_if<Pool>(&op)) return results * elements(pool->window.kernel);
  double most = results;
  for (const TensorType& input : inputs) most = std::max(most, elements(input.shape));
  return most;
}

}  // namespace takt::graph
