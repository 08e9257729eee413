// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/resize_taps.h"

#include "backend/cuda/kernels/movement_kernel.h"
#include "backend/cuda/kernels/pointwise_expressions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace takt::cuda {
namespace {

using graph::Resize;
using graph::ResizeCoordinates;
using graph::ResizeMode;
using graph::ResizeRounding;

constexpr double kReachMax = 1 << 16;  // elements on each side

// The output's size before it was cut down to an integer. A scale that was computed from the size,
// or has only an FP32's digits, stands for the size itself.
double exact_output(const ResizeAxis& axis) {
  const double exact = axis.scale * static_cast<double>(axis.input);
  const auto size = static_cast<double>(axis.output);
  return std::abs(exact - size) < 1e-6 * size ? size : exact;
}

Coordinates half_pixel(const ResizeAxis& axis, double base) {
  return {0.5, 1, 1, axis.scale, -0.5, base, false};
}

Coordinates constant_place(double place) {
  return {0, 0, 1, 1, 0, place, false};
}

Coordinates aligned_corners(const ResizeAxis& axis) {
  const double last = exact_output(axis) - 1;
  if (last == 0) return constant_place(0);
  return {0, static_cast<double>(axis.input - 1), 1, last, 0, 0, false};
}

Coordinates cropped(const ResizeAxis& axis, double start, double end) {
  const auto last = static_cast<double>(axis.input - 1);
  Coordinates coordinates{0, end - start,  last, static_cast<double>(axis.output - 1),
                          0, start * last, true};
  if (axis.output == 1) coordinates = constant_place(0.5 * (start + end) * last);
  coordinates.crops = true;
  return coordinates;
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

std::string rounded_text(ResizeRounding rounding) {
  switch (rounding) {
    case ResizeRounding::round_prefer_floor:
      return "ceil(source - 0.5)";
    case ResizeRounding::round_prefer_ceil:
      return "floor(source + 0.5)";
    case ResizeRounding::floor:
      return "floor(source)";
    case ResizeRounding::ceil:
      return "ceil(source)";
  }
  std::unreachable();
}

// How far an antialiasing filter is pressed together: it is as many times wider as the output is smaller.
double stretch_of(const Resize& op, const ResizeAxis& axis) {
  return op.antialias ? std::min(axis.scale, 1.0) : 1.0;
}

// Keys, "Cubic Convolution Interpolation for Digital Image Processing", equation 4; otherwise a triangle.
double filter(const Resize& op, double distance) {
  const double x = std::abs(distance);
  if (op.mode != ResizeMode::cubic) return std::max(1 - x, 0.0);
  const double a = op.cubic_a;
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

std::string filter_text(const Resize& op) {
  if (op.mode != ResizeMode::cubic) return "fmax(1 - x, 0.0)";
  return fmt::format(
      "(x <= 1 ? (({0} + 2) * x - ({0} + 3)) * x * x + 1\n"
      "        : x < 2 ? (({0} * x - 5 * {0}) * x + 8 * {0}) * x - 4 * {0} : 0)",
      literal(DataType::fp64, op.cubic_a));
}

bool changes_weights(const Resize& op) {
  return op.antialias || op.exclude_outside;
}

bool has_source(const ResizeAxis& axis, double source) {
  return !axis.coordinates.crops || (source >= 0 && source <= static_cast<double>(axis.input - 1));
}

// Half of an even number of elements lies on each side, on the right also what is met exactly.
void add_taps(const Resize& op, const ResizeAxis& axis, double source, TapTable& table) {
  const double begin = std::ceil(source) - table.taps / 2;
  const double stretch = stretch_of(op, axis);
  std::vector<double> weights;
  double sum = 0;
  for (int k = 0; k < table.taps; ++k) {
    const double place = begin + k;
    const bool outside = place < 0 || place > static_cast<double>(axis.input - 1);
    const double weight =
        op.exclude_outside && outside ? 0 : filter(op, (place - source) * stretch);
    weights.push_back(weight);
    sum += weight;
  }
  const bool any = sum != 0;  // nothing is left where all are outside
  const double divisor = any && changes_weights(op) ? sum : 1;
  for (const double weight : weights) table.weights.push_back(weight / divisor);
  const double nearer =
      std::clamp(begin, -static_cast<double>(table.taps), static_cast<double>(axis.input));
  table.first.push_back(any ? static_cast<std::int32_t>(nearer) : kNoSource);
}

// As add_taps.
std::string weights_text(const Resize& op, const ResizeAxis& axis, int taps, DataType number) {
  const auto weight = fmt::format(
      "    const double x = fabs((begin + k - source) * {});\n"
      "    {}const double weight = {};\n",
      literal(DataType::fp64, stretch_of(op, axis)),
      op.exclude_outside
          ? fmt::format("if (begin + k < 0 || begin + k > {}) continue;\n    ", axis.input - 1)
          : "",
      filter_text(op));
  return fmt::format(
      "  const double begin = ceil(source) - {1};\n  double sum = 0;\n"
      "  for (int k = 0; k < {0}; ++k) {{\n    weights[t * {0}ull + k] = 0;\n{2}"
      "    sum += weight;\n  }}\n"
      "  const bool any = sum != 0;\n  const double divisor = {3};\n"
      "  for (int k = 0; any && k < {0}; ++k) {{\n{2}"
      "    weights[t * {0}ull + k] = static_cast<{4}>(weight / divisor);\n  }}\n"
      "  first[t] = any ? static_cast<int>(fmin(fmax(begin, -{0}.0), {5}.0)) : {6};\n",
      taps, taps / 2, weight, changes_weights(op) ? "sum" : "1", computed_type(number), axis.input,
      kNoSource);
}

std::string source_text(const Coordinates& c) {
  const auto number = [](double value) { return literal(DataType::fp64, value); };
  return fmt::format(
      "  const double scaled = __ddiv_rn(__dmul_rn(__dmul_rn(__dadd_rn(t, {}), {}), {}), {});\n"
      "  const double source = __dadd_rn({}, __dadd_rn(scaled, {}));\n",
      number(c.shift), number(c.factor), number(c.factor2), number(c.divisor), number(c.base),
      number(c.bias));
}

}  // namespace

bool ResizeAxis::keeps_places() const {
  if (input != output) return false;
  for (std::int64_t x = 0; x < output; ++x) {
    if (coordinates.at(x) != static_cast<double>(x)) return false;
  }
  return true;
}

ResizeAxis resize_axis(const Resize& op, const Shape& input, std::size_t dim) {
  ResizeAxis axis{input[dim], op.sizes[dim], op.scales[dim], {}};
  switch (op.coordinates) {
    case ResizeCoordinates::half_pixel:
      axis.coordinates = half_pixel(axis, 0);
      break;
    case ResizeCoordinates::half_pixel_symmetric: {
      const double adjustment = static_cast<double>(axis.output) / exact_output(axis);
      axis.coordinates = half_pixel(axis, static_cast<double>(axis.input) / 2 * (1 - adjustment));
      break;
    }
    case ResizeCoordinates::pytorch_half_pixel:
      axis.coordinates = axis.output > 1 ? half_pixel(axis, 0) : constant_place(0);
      break;
    case ResizeCoordinates::align_corners:
      axis.coordinates = aligned_corners(axis);
      break;
    case ResizeCoordinates::asymmetric:
      axis.coordinates = {0, 1, 1, axis.scale, 0, 0, false};
      break;
    case ResizeCoordinates::crop_and_resize:
      axis.coordinates = cropped(axis, op.roi[dim], op.roi[input.size() + dim]);
      break;
  }
  return axis;
}

std::int32_t nearest_source(const Resize& op, const ResizeAxis& axis, std::int64_t x) {
  const double source = axis.coordinates.at(x);
  if (!has_source(axis, source)) return kNoSource;
  const auto last = static_cast<double>(axis.input - 1);
  return static_cast<std::int32_t>(std::clamp(rounded(source, op.rounding), 0.0, last));
}

Result<int> tap_count(const Resize& op, const ResizeAxis& axis) {
  // Places rise or fall with x, so that those between two finite ones are finite.
  const bool finite = std::isfinite(axis.coordinates.at(0)) &&
                      std::isfinite(axis.coordinates.at(axis.output - 1)) &&
                      std::isfinite(op.cubic_a);
  if (!finite) {
    return fail(ErrorKind::invalid_input,
                fmt::format("a scale of {}, a region of interest or a cubic coefficient that gives "
                            "no finite places",
                            axis.scale));
  }
  if (op.mode == ResizeMode::nearest) return 0;
  const double reach = std::ceil((op.mode == ResizeMode::cubic ? 2 : 1) / stretch_of(op, axis));
  if (reach <= kReachMax) return 2 * static_cast<int>(reach);
  return fail(ErrorKind::invalid_input,
              fmt::format("an antialiasing filter over {} elements (scale {}); takt takes up to {}",
                          2 * reach, axis.scale, 2 * kReachMax));
}

TapTable tap_table(const Resize& op, const ResizeAxis& axis, int taps) {
  TapTable table{taps, {}, {}};
  for (std::int64_t x = 0; x < axis.output; ++x) {
    const double source = axis.coordinates.at(x);
    if (taps == 0) {
      table.first.push_back(nearest_source(op, axis, x));
    } else if (!has_source(axis, source)) {
      table.first.push_back(kNoSource);
      table.weights.resize(table.weights.size() + static_cast<std::size_t>(taps));
    } else {
      add_taps(op, axis, source, table);
    }
  }
  return table;
}

KernelSource tap_kernel(const Resize& op, const ResizeAxis& axis, int taps, DataType number,
                        const std::string& step) {
  std::string name = kernel_name(step);
  std::string text = thread_text(
      name,
      taps == 0 ? "int* first" : fmt::format("int* first, {}* weights", computed_type(number)),
      axis.output);
  text += source_text(axis.coordinates);
  if (axis.coordinates.crops) {
    text += fmt::format(
        "  if (!(source >= 0 && source <= {})) {{\n    first[t] = {};\n    return;\n  }}\n",
        axis.input - 1, kNoSource);
  }
  text += taps == 0 ? fmt::format("  first[t] = static_cast<int>(fmin(fmax({}, 0.0), {}.0));\n",
                                  rounded_text(op.rounding), axis.input - 1)
                    : weights_text(op, axis, taps, number);
  return {std::move(name), text + "}\n", movement_blocks(axis.output), kMovementThreads, 1};
}

}  // namespace takt::cuda
