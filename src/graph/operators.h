// SPDX-License-Identifier: Apache-2.0
// The operators of a Graph: one dialect for every opset of ONNX. Whatever a file says by attributes,
// constant inputs or defaults is a member here, axes are not negative, and sizes are resolved.
// Thread-safe: plain values.
// Owns: plain values.
#pragma once

#include "core/tensor.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace takt::graph {

// Element by element; the output has the input's shape and, but for the last four, its type.
enum class UnaryKind : std::uint8_t {
  abs,
  neg,
  exp,
  log,
  sqrt,
  reciprocal,
  floor,
  ceil,
  round,  // of halves the even
  sign,
  erf,
  sin,
  cos,
  tan,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  tanh,
  asinh,
  acosh,
  atanh,
  relu,
  sigmoid,
  softplus,
  softsign,
  mish,
  gelu,
  gelu_tanh,
  hard_swish,
  silu,              // x * sigmoid(alpha * x)
  leaky_relu,        // x < 0 ? alpha * x : x
  elu,               // x < 0 ? alpha * (exp(x) - 1) : x
  celu,              // max(0, x) + min(0, alpha * (exp(x / alpha) - 1))
  selu,              // x > 0 ? beta * x : beta * (alpha * exp(x) - alpha)
  hard_sigmoid,      // clip(alpha * x + beta, 0, 1)
  thresholded_relu,  // x > alpha ? x : 0
  clip,              // to [alpha, beta]; floating point only
  shrink,            // x < -alpha ? x + beta : x > alpha ? x - beta : 0
  bitwise_not,
  logical_not,  // BOOL
  is_nan,       // to BOOL, as the next two
  is_positive_infinity,
  is_negative_infinity,
};
struct Unary {
  UnaryKind kind{};
  float alpha = 0;
  float beta = 0;
};

// Of two inputs of one type, broadcast as numpy does.
enum class BinaryKind : std::uint8_t {
  add,
  sub,
  mul,
  div,   // of integers towards zero
  pow,   // the exponent's type may be another; the result has the base's
  mod,   // the sign is the divisor's
  fmod,  // the sign is the dividend's
  minimum,
  maximum,
  prelu,  // x < 0 ? slope * x : x
  bitwise_and,
  bitwise_or,
  bitwise_xor,
  shift_left,
  shift_right,
  equal,
  less,
  less_equal,
  greater,
  greater_equal,  // to BOOL
  logical_and,
  logical_or,
  logical_xor,  // of BOOL
};
struct Binary {
  BinaryKind kind{};
};

// Floating point to integers towards zero.
struct Cast {
  DataType to = DataType::fp32;
};

// Inputs: condition (BOOL), then, otherwise; broadcast.
struct Select {};

// The same elements, row by row.
struct Reshape {
  Shape shape;
};
struct Transpose {
  std::vector<int> permutation;  // output dimension i is input dimension permutation[i]
};
struct Expand {
  Shape shape;  // the output's
};
struct Concat {
  int axis = 0;
};
// Output [i0, i1, ...] is input [starts[0] + i0 * steps[0], ...]; the steps may be negative.
struct Slice {
  std::vector<std::int64_t> starts, steps;
  Shape sizes;  // the output's shape
};
enum class PadMode : std::uint8_t { constant, reflect, edge, wrap };
struct Pad {
  std::vector<std::int64_t> begins, ends;  // of each dimension, not negative
  PadMode mode = PadMode::constant;
  double value = 0;
};
// Inputs: data, indices (INT32 or INT64; negative ones count from the end), as ONNX defines each.
struct Gather {
  int axis = 0;
};
struct GatherElements {
  int axis = 0;
};
struct GatherNd {
  int batch_dims = 0;
};

// Of the spatial dimensions (all behind batch and channels), in their order.
struct Window {
  std::vector<std::int64_t> kernel, strides, dilations, pads_begin, pads_end;
};
// Inputs: X [N,C,spatial...], W [M,C/groups,kernel...], optionally B [M].
struct Conv {
  Window window;
  std::int64_t groups = 1;
};
// Inputs: X [N,C,spatial...], W [C,M/groups,kernel...], optionally B [M]. Of each spatial dimension the
// output has strides * (size - 1) + output_padding + (kernel - 1) * dilations + 1 - pads elements.
struct ConvTranspose {
  Window window;
  std::vector<std::int64_t> output_padding;
  std::int64_t groups = 1;
};
enum class PoolKind : std::uint8_t { max, average, lp };
// `sizes` are the output's spatial ones: with ceil_mode the last window may leave the padding.
struct Pool {
  PoolKind kind{};
  Window window;
  std::vector<std::int64_t> sizes;
  bool count_padding = false;  // average: padding counts as elements
  double p = 2;                // lp
};

// As numpy.matmul, for inputs of two dimensions and more; the last two of an input swapped where it
// says so.
struct MatMul {
  bool transpose_a = false;
  bool transpose_b = false;
};

// Inputs: X, scale, optionally bias, whose shapes broadcast to that of X's dimensions from `axis` on.
// Mean and variance are of each [axis:] block.
struct LayerNorm {
  int axis = -1;
  double epsilon = 1e-5;
};
// Inputs: X [N,C,...], scale [C], bias [C]. Mean and variance are of each image's group of channels.
struct GroupNorm {
  std::int64_t groups = 1;
  double epsilon = 1e-5;
};
// y = x / (bias + alpha / size * sum of x^2 over `size` neighbouring channels)^beta
struct LocalResponseNorm {
  std::int64_t size = 1;
  double alpha = 1e-4, beta = 0.75, bias = 1;
};
struct Softmax {
  int axis = -1;
  bool log = false;
};

enum class ReduceKind : std::uint8_t {
  sum,
  mean,
  max,
  min,
  prod,
  l1,
  l2,
  log_sum,
  log_sum_exp,
  sum_square
};
// Reduced dimensions stay, with size 1.
struct Reduce {
  ReduceKind kind{};
  std::vector<int> axes;  // ascending
};
// To INT64; the dimension stays, with size 1.
struct ArgReduce {
  bool maximum = true;
  int axis = 0;
  bool last_of_equals = false;
};
// Outputs: values, indices (INT64). Of equal elements the first comes first.
struct TopK {
  std::int64_t k = 1;
  int axis = -1;
  bool largest = true;
  bool sorted = true;
};

enum class ResizeMode : std::uint8_t { nearest, linear, cubic };
enum class ResizeCoordinates : std::uint8_t {
  half_pixel,
  half_pixel_symmetric,
  pytorch_half_pixel,
  align_corners,
  asymmetric,
  crop_and_resize
};
enum class ResizeRounding : std::uint8_t { round_prefer_floor, round_prefer_ceil, floor, ceil };
// As ONNX defines Resize in opset 19, of every dimension.
struct Resize {
  ResizeMode mode{};
  ResizeCoordinates coordinates{};
  ResizeRounding rounding{};
  Shape sizes;                 // the output's shape
  std::vector<double> scales;  // as many; what the coordinates are computed with
  std::vector<double> roi;     // crop_and_resize: the starts and then the ends, in 0..1
  double cubic_a = -0.75;
  double extrapolation = 0;
  bool exclude_outside = false;
  bool antialias = false;
};

// Inputs: boxes [N,boxes,4], scores [N,classes,boxes]. Output INT64 [rows,3] (batch, class, box), whose
// number of rows depends on the data; the shape has the largest.
struct NonMaxSuppression {
  std::int64_t boxes_max = 0;  // of each class of each image
  float iou_threshold = 0;
  float score_threshold = 0;
  bool has_score_threshold = false;
  bool centers =
      false;  // boxes are (x, y, width, height), otherwise two opposite corners (y, x, y, x)
};

// Inputs: x, scale, zero point (of type `to`). Of shape [] each, or along `axis`.
struct Quantize {
  DataType to = DataType::uint8;
  int axis = 1;
};
// Inputs: x, scale, zero point.
struct Dequantize {
  int axis = 1;
};

using Operator =
    std::variant<Unary, Binary, Cast, Select, Reshape, Transpose, Expand, Concat, Slice, Pad,
                 Gather, GatherElements, GatherNd, Conv, ConvTranspose, Pool, MatMul, LayerNorm,
                 GroupNorm, LocalResponseNorm, Softmax, Reduce, ArgReduce, TopK, Resize,
                 NonMaxSuppression, Quantize, Dequantize>;

[[nodiscard]] std::string_view to_string(UnaryKind kind) noexcept;
[[nodiscard]] std::string_view to_string(BinaryKind kind) noexcept;
[[nodiscard]] std::string_view to_string(ReduceKind kind) noexcept;
// "Conv", "Unary relu", "Reduce mean"
[[nodiscard]] std::string describe(const Operator& op);

}  // namespace takt::graph
