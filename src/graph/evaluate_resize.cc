// SPDX-License-Identifier: Apache-2.0
#include "graph/elements.h"
#include "graph/evaluate_kernels.h"
#include "graph/infer_types.h"
#include "graph/strides.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

namespace takt::graph {
namespace {

// One dimension of a Resize: every dimension is resized by itself.
struct Axis {
  std::int64_t input = 0, output = 0;  // sizes
  double scale = 1;
  double start = 0, end = 1;  // the region of interest
};

Axis axis_of(const Resize& op, const Shape& input, std::size_t d) {
  Axis axis{.input = input[d], .output = op.sizes[d], .scale = op.scales[d]};
  if (op.roi.size() == 2 * input.size()) {
    axis.start = op.roi[d];
    axis.end = op.roi[input.size() + d];
  }
  return axis;
}

// The output's size before it was cut down to an integer. A scale that was computed from the size,
// or has only an FP32's digits, stands for the size itself.
double exact_output(const Axis& axis) {
  const double exact = axis.scale * static_cast<double>(axis.input);
  const auto size = static_cast<double>(axis.output);
  return std::abs(exact - size) < 1e-6 * size ? size : exact;
}

double crop_coordinate(const Axis& axis, double x) {
  const auto last = static_cast<double>(axis.input - 1);
  if (axis.output == 1) return 0.5 * (axis.start + axis.end) * last;
  return axis.start * last +
         x * (axis.end - axis.start) * last / static_cast<double>(axis.output - 1);
}

// Where the output's element x lies in the input.
double coordinate(const Axis& axis, ResizeCoordinates coordinates, double x) {
  const auto input = static_cast<double>(axis.input);
  const double half_pixel = (x + 0.5) / axis.scale - 0.5;
  switch (coordinates) {
    case ResizeCoordinates::half_pixel:
      return half_pixel;
    case ResizeCoordinates::half_pixel_symmetric: {
      const double adjustment = static_cast<double>(axis.output) / exact_output(axis);
      return input / 2 * (1 - adjustment) + half_pixel;
    }
    case ResizeCoordinates::pytorch_half_pixel:
      return axis.output > 1 ? half_pixel : 0;
    case ResizeCoordinates::align_corners: {
      const double last = exact_output(axis) - 1;
      return last == 0 ? 0 : x * (input - 1) / last;
    }
    case ResizeCoordinates::asymmetric:
      return x / axis.scale;
    case ResizeCoordinates::crop_and_resize:
      return crop_coordinate(axis, x);
  }
  std::unreachable();
}

// Nothing where the extrapolation value is wanted.
std::optional<double> source_of(const Axis& axis, ResizeCoordinates coordinates, std::int64_t x) {
  const double source = coordinate(axis, coordinates, static_cast<double>(x));
  const bool outside = source < 0 || source > static_cast<double>(axis.input - 1);
  if (outside && coordinates == ResizeCoordinates::crop_and_resize) return std::nullopt;
  return source;
}

double rounded(double x, ResizeRounding rounding) {
  switch (rounding) {
    case ResizeRounding::round_prefer_floor:
      return std::ceil(x - 0.5);
    case ResizeRounding::round_prefer_ceil:
      return std::floor(x + 0.5);
    case ResizeRounding::floor:
      return std::floor(x);
    case ResizeRounding::ceil:
      return std::ceil(x);
  }
  std::unreachable();
}

// For each of the output's elements that of the input; -1: the extrapolation value.
std::vector<std::int64_t> nearest_sources(const Resize& op, const Axis& axis) {
  std::vector<std::int64_t> sources;
  for (std::int64_t x = 0; x < axis.output; ++x) {
    const std::optional<double> source = source_of(axis, op.coordinates, x);
    const double nearest = source ? rounded(*source, op.rounding) : -1;
    const auto last = static_cast<double>(axis.input - 1);
    sources.push_back(source ? static_cast<std::int64_t>(std::clamp(nearest, 0.0, last)) : -1);
  }
  return sources;
}

// The filters, of the distance from the sampled place.
double triangle(double distance) {
  return std::max(1 - std::abs(distance), 0.0);
}
// Keys, "Cubic Convolution Interpolation for Digital Image Processing", equation 4.
double cubic(double distance, double a) {
  const double x = std::abs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

// An element of the output as a sum of elements of the input.
struct Tap {
  std::int64_t source = 0;
  double weight = 0;
};
using Taps = std::vector<Tap>;

bool changes_weights(const Resize& op) {
  return op.antialias || op.exclude_outside;
}

// An antialiasing filter is as many times wider as the output is smaller.
Taps taps_at(const Resize& op, const Axis& axis, double source) {
  const double stretch = op.antialias ? std::min(axis.scale, 1.0) : 1.0;
  const double radius = (op.mode == ResizeMode::cubic ? 2 : 1) / stretch;
  // Half of an even number of elements lies on each side, on the right also what is met exactly.
  const double right = std::ceil(source);
  const double reach = std::ceil(radius);
  Taps taps;
  double sum = 0;
  for (double place = right - reach; place < right + reach; ++place) {
    const double distance = (place - source) * stretch;
    double weight = op.mode == ResizeMode::cubic ? cubic(distance, op.cubic_a) : triangle(distance);
    const double inside = std::clamp(place, 0.0, static_cast<double>(axis.input - 1));
    if (op.exclude_outside && inside != place) weight = 0;
    sum += weight;
    if (weight != 0) taps.push_back({static_cast<std::int64_t>(inside), weight});
  }
  for (Tap& tap : taps) tap.weight = changes_weights(op) ? tap.weight / sum : tap.weight;
  return taps;
}

// Of each of the output's elements; none: the extrapolation value.
std::vector<Taps> taps_of(const Resize& op, const Axis& axis) {
  std::vector<Taps> taps;
  for (std::int64_t x = 0; x < axis.output; ++x) {
    const std::optional<double> source = source_of(axis, op.coordinates, x);
    taps.push_back(source ? taps_at(op, axis, *source) : Taps{});
  }
  return taps;
}

bool is_identity(const Axis& axis, std::span<const Taps> taps) {
  if (axis.input != axis.output) return false;
  for (std::size_t i = 0; i < taps.size(); ++i) {
    if (taps[i].size() != 1 || taps[i][0].weight != 1) return false;
    if (taps[i][0].source != static_cast<std::int64_t>(i)) return false;
  }
  return true;
}

std::vector<double> interpolate(std::span<const double> input, const Lanes& lanes,
                                std::span<const Taps> taps, double extrapolation) {
  std::vector<double> output(static_cast<std::size_t>(lanes.count()) * taps.size(), 0.0);
  double* target = output.data();
  for (std::int64_t outer = 0; outer < lanes.outer; ++outer) {
    for (const Taps& element : taps) {
      if (element.empty()) std::fill_n(target, lanes.inner, extrapolation);
      for (const Tap& tap : element) {
        const double* source = input.data() + (outer * lanes.length + tap.source) * lanes.inner;
        for (std::int64_t i = 0; i < lanes.inner; ++i) target[i] += tap.weight * source[i];
      }
      target += lanes.inner;
    }
  }
  return output;
}

// Dimensions that become smaller come first: nothing between has more elements than both ends.
std::vector<std::size_t> order_of(const Resize& op, const Shape& input) {
  std::vector<std::size_t> order(input.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_partition(order, [&](std::size_t d) { return op.sizes[d] <= input[d]; });
  return order;
}

Constant resize_nearest(const Resize& op, const Constant& input) {
  Constant output = input;
  const std::vector<std::byte> fill =
      from_doubles({output.type.type, {}}, std::array{op.extrapolation}).bytes;
  for (const std::size_t d : order_of(op, input.type.shape)) {
    const Axis axis = axis_of(op, input.type.shape, d);
    output = take(output, static_cast<int>(d), nearest_sources(op, axis), fill);
  }
  return output;
}

Constant resize_smoothly(const Resize& op, const Constant& input, const TensorType& type) {
  std::vector<double> numbers = to_doubles(input);
  Shape shape = input.type.shape;
  for (const std::size_t d : order_of(op, input.type.shape)) {
    const Axis axis = axis_of(op, input.type.shape, d);
    const std::vector<Taps> taps = taps_of(op, axis);
    if (!is_identity(axis, taps)) {
      numbers = interpolate(numbers, Lanes(shape, static_cast<int>(d)), taps, op.extrapolation);
    }
    shape[d] = axis.output;
  }
  if (!is_floating(type.type)) {
    for (double& number : numbers) number = std::nearbyint(number);
  }
  return from_doubles(type, numbers);
}

}  // namespace

Constants compute(const Resize& op, Inputs inputs, Types outputs) {
  const Constant& input = *inputs[0];
  if (product(outputs[0].shape) == 0) return only(zeros(outputs[0]));
  if (product(input.type.shape) == 0) {
    return fail(ErrorKind::invalid_input,
                fmt::format("{} is empty: it can't be resized to {}", to_string(input.type),
                            to_string(outputs[0])));
  }
  if (op.mode == ResizeMode::nearest) return only(resize_nearest(op, input));
  return only(resize_smoothly(op, input, outputs[0]));
}

}  // namespace takt::graph
