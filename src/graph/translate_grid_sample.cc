// SPDX-License-Identifier: Apache-2.0
// GridSample as a weighted sum of pixels that are gathered.
#include "graph/composition.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace takt::graph {
namespace {

enum class Padding : std::uint8_t { zeros, border, reflection };

struct Sampling {
  ResizeMode mode{};
  Padding padding{};
  bool align_corners = false;
};

// One of the pixels that a sample is made of, along one dimension or along several that count as one.
struct Tap {
  ValueId index;                  // INT32 [N,samples,1], within the dimension
  std::optional<ValueId> weight;  // FP32 [N,samples,1]; none: 1
};

// Up to opset 19 the modes have other names.
constexpr Words<ResizeMode, 5> kModes{{{"linear", ResizeMode::linear},
                                       {"bilinear", ResizeMode::linear},
                                       {"nearest", ResizeMode::nearest},
                                       {"cubic", ResizeMode::cubic},
                                       {"bicubic", ResizeMode::cubic}}};
constexpr Words<Padding, 3> kPaddings{
    {{"zeros", Padding::zeros}, {"border", Padding::border}, {"reflection", Padding::reflection}}};

Result<Sampling> sampling_of(const NodeReader& node) {
  const Result<ResizeMode> mode = word_of(node, "mode", kModes);
  if (!mode) return std::unexpected(mode.error());
  const Result<Padding> padding = word_of(node, "padding_mode", kPaddings);
  if (!padding) return std::unexpected(padding.error());
  return Sampling{*mode, *padding, node.integer("align_corners", 0) != 0};
}

// X [N,C,spatial...] and grid [N,samples...,spatial dimensions].
Result<void> check_shapes(const NodeReader& node, const Sampling& sampling) {
  const Shape& x = node.shape(0);
  const Shape& grid = node.shape(1);
  const std::size_t rank = x.size();
  const bool fits = (rank == 4 || rank == 5) && grid.size() == rank && grid[0] == x[0] &&
                    std::cmp_equal(grid.back(), rank - 2);
  if (!fits || !is_floating(node.type(0).type) || !is_floating(node.type(1).type)) {
    return NodeReader::refuse(fmt::format(
        "it samples {} at {}; expected floating point, [N,C,H,W] at [N,height,width,2] or "
        "[N,C,D,H,W] at [N,depth,height,width,3]",
        to_string(node.type(0)), to_string(node.type(1))));
  }
  const Result<std::size_t> pixels = element_count(Shape(x.begin() + 2, x.end()));
  if (!pixels) return std::unexpected(pixels.error());
  if (*pixels == 0 || std::cmp_greater(*pixels, std::numeric_limits<std::int32_t>::max())) {
    return NodeReader::refuse(fmt::format("it samples {} pixels; expected 1 to {}", *pixels,
                                          std::numeric_limits<std::int32_t>::max()));
  }
  if (sampling.mode == ResizeMode::cubic && rank != 4) {
    return NodeReader::refuse(fmt::format("cubic interpolation of {}; expected [N,C,H,W]; {}",
                                          to_string(node.type(0)), kOpenvinoAdvice));
  }
  return {};
}

// From -1..1 to pixels. -1 and 1 are the centres of the outermost pixels, or their outer edges.
ValueId in_pixels(Composition& made, ValueId x, double length, bool align_corners) {
  const ValueId from_edge = made.binary(BinaryKind::add, x, 1.0);
  if (align_corners) return made.binary(BinaryKind::mul, from_edge, (length - 1) / 2);
  const ValueId twice =
      made.binary(BinaryKind::sub, made.binary(BinaryKind::mul, from_edge, length), 1.0);
  return made.binary(BinaryKind::mul, twice, 0.5);
}

// Thrown back at either end, as often as it takes.
ValueId reflected(Composition& made, ValueId x, double length, bool align_corners) {
  const double low = align_corners ? 0 : -0.5;
  const double span = align_corners ? length - 1 : length;
  if (span == 0) return made.binary(BinaryKind::mul, x, 0.0);
  const ValueId distance = made.unary(UnaryKind::abs, made.binary(BinaryKind::sub, x, low));
  const ValueId in_period = made.binary(BinaryKind::fmod, distance, 2 * span);
  const ValueId from_high =
      made.unary(UnaryKind::abs, made.binary(BinaryKind::sub, in_period, span));
  return made.binary(BinaryKind::sub, made.constant(DataType::fp32, span + low), from_high);
}

// How far x is from the pixel before it. Through integers, so that a coordinate isn't taken for a number on the
// way to a product, which may be stored in 16 bits: large ones would lose what lies between pixels.
ValueId fraction(Composition& made, ValueId x, ValueId before) {
  constexpr double scale = 1 << 24;  // as many bits as FP32 has
  const ValueId part = made.binary(BinaryKind::mul, made.binary(BinaryKind::sub, x, before), scale);
  const ValueId rounded = made.cast(made.cast(part, DataType::int32), DataType::fp32);
  return made.binary(BinaryKind::mul, rounded, 1 / scale);
}

// c[3] t^3 + c[2] t^2 + c[1] t + c[0]
ValueId polynomial(Composition& made, ValueId t, const std::array<double, 4>& c) {
  ValueId sum = made.binary(BinaryKind::mul, t, c[3]);
  for (std::size_t i = 2; i > 0; --i) {
    sum = made.binary(BinaryKind::mul, made.binary(BinaryKind::add, sum, c[i]), t);
  }
  return made.binary(BinaryKind::add, sum, c[0]);
}

// Of the pixels -1, 0, 1 and 2 from the one before: Keys, "Cubic convolution interpolation for digital image
// processing" (1981), with a = -0.75.
constexpr std::array<std::array<double, 4>, 4> kCubicWeights{
    {{0, -0.75, 1.5, -0.75}, {1, 0, -2.25, 1.25}, {0, 0.75, 1.5, -1.25}, {0, 0, -0.75, 0.75}}};

// The pixel at `place`, a whole number that may lie outside.
Tap tap_at(Composition& made, ValueId place, std::optional<ValueId> weight, double length,
           const Sampling& sampling) {
  if (sampling.padding == Padding::reflection) {
    place = reflected(made, place, length, sampling.align_corners);
  }
  const ValueId held = made.add(Unary{UnaryKind::clip, 0, static_cast<float>(length - 1)}, {place});
  if (sampling.padding == Padding::zeros) {
    const ValueId inside = made.cast(made.binary(BinaryKind::equal, held, place), DataType::fp32);
    weight = weight ? made.binary(BinaryKind::mul, *weight, inside) : inside;
  }
  return {made.cast(held, DataType::int32), weight};
}

// Along one dimension, of samples at x pixels.
std::vector<Tap> taps_of(Composition& made, ValueId x, double length, const Sampling& sampling) {
  const auto tap = [&](ValueId place, std::optional<ValueId> weight) {
    return tap_at(made, place, weight, length, sampling);
  };
  if (sampling.mode == ResizeMode::nearest) return {tap(made.unary(UnaryKind::round, x), {})};
  const ValueId before = made.unary(UnaryKind::floor, x);
  const ValueId t = fraction(made, x, before);
  if (sampling.mode == ResizeMode::linear) {
    const ValueId rest = made.binary(BinaryKind::sub, made.constant(DataType::fp32, 1), t);
    return {tap(before, rest), tap(made.binary(BinaryKind::add, before, 1.0), t)};
  }
  std::vector<Tap> taps;
  for (std::size_t i = 0; i < kCubicWeights.size(); ++i) {
    const ValueId place = made.binary(BinaryKind::add, before, static_cast<double>(i) - 1);
    taps.push_back(tap(place, polynomial(made, t, kCubicWeights[i])));
  }
  return taps;
}

// Every tap of the dimensions so far with every one of the next, whose pixels lie beside each other.
std::vector<Tap> combined(Composition& made, const std::vector<Tap>& outer,
                          const std::vector<Tap>& inner, double length) {
  std::vector<Tap> all;
  for (const Tap& a : outer) {
    const ValueId row = made.binary(BinaryKind::mul, a.index, length);
    for (const Tap& b : inner) {
      std::optional<ValueId> weight = a.weight ? a.weight : b.weight;
      if (a.weight && b.weight) weight = made.binary(BinaryKind::mul, *a.weight, *b.weight);
      all.push_back({made.binary(BinaryKind::add, row, b.index), weight});
    }
  }
  return all;
}

// Of all spatial dimensions of `x`, as indices of its pixels row by row. `grid` is FP32 [N,samples,dimensions].
std::vector<Tap> taps_of_grid(Composition& made, const Shape& x, ValueId grid,
                              const Sampling& sampling) {
  const Shape& shape = made.shape(grid);
  const auto dimensions = static_cast<std::int64_t>(x.size()) - 2;
  std::vector<Tap> taps;
  for (std::int64_t i = 0; i < dimensions; ++i) {
    const auto length = static_cast<double>(x[static_cast<std::size_t>(i + 2)]);
    // The grid has the last dimension first.
    const ValueId coordinate =
        made.add(Slice{{0, 0, dimensions - 1 - i}, {1, 1, 1}, {shape[0], shape[1], 1}}, {grid});
    const ValueId place = in_pixels(made, coordinate, length, sampling.align_corners);
    std::vector<Tap> next = taps_of(made, place, length, sampling);
    taps = i == 0 ? std::move(next) : combined(made, taps, next, length);
  }
  return taps;
}

// A tensor of which dimension 1 becomes the last, or the last becomes dimension 1.
std::vector<int> channels_moved(std::size_t rank, bool to_end) {
  std::vector<int> permutation = first_axes(static_cast<int>(rank));
  const auto second = permutation.begin() + 1;
  std::rotate(second, to_end ? second + 1 : permutation.end() - 1, permutation.end());
  return permutation;
}

}  // namespace

// Pixels are rows of channels, which on the device lie beside each other.
Values translate_grid_sample(const NodeReader& node) {
  if (auto checked = node.check_inputs(2, 2); !checked) return std::unexpected(checked.error());
  const Result<Sampling> sampling = sampling_of(node);
  if (!sampling) return std::unexpected(sampling.error());
  if (auto checked = check_shapes(node, *sampling); !checked) {
    return std::unexpected(checked.error());
  }
  const Shape x = node.shape(0);
  Shape output = node.shape(1);
  output.back() = x[1];
  const std::int64_t samples = product(Shape(output.begin() + 1, output.end() - 1));
  Composition made(node.builder());
  const ValueId grid =
      made.reshape(made.cast(node.input(1), DataType::fp32), {x[0], samples, node.shape(1).back()});
  const ValueId pixels = made.reshape(made.transpose(node.input(0), channels_moved(x.size(), true)),
                                      {x[0], product(Shape(x.begin() + 2, x.end())), x[1]});
  std::optional<ValueId> sum;
  for (const Tap& tap : taps_of_grid(made, x, grid, *sampling)) {
    ValueId part = made.add(GatherNd{1}, {pixels, tap.index});
    if (tap.weight) {
      part = made.binary(BinaryKind::mul, part, made.cast(*tap.weight, node.type(0).type));
    }
    sum = sum ? made.binary(BinaryKind::add, *sum, part) : part;
  }
  if (made.failed()) return made.finish({});
  const ValueId rows = made.reshape(*sum, std::move(output));
  return made.finish({made.transpose(rows, channels_moved(x.size(), false))});
}

}  // namespace takt::graph
