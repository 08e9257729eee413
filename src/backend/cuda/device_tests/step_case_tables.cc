// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/device_tests/step_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <random>
#include <utility>

namespace takt::cuda {
namespace {

using graph::Binary;
using graph::BinaryKind;
using graph::Unary;
using graph::UnaryKind;

constexpr auto kF16 = DataType::fp16;
constexpr auto kF32 = DataType::fp32;
constexpr auto kF64 = DataType::fp64;
constexpr auto kB16 = DataType::bf16;

enum class Images : std::uint8_t { rows, channels_last, sliced };
enum class Filters : std::uint8_t { rows, channels_last, outputs_last };
enum class After : std::uint8_t { nothing, relu, silu, add, add_relu, silu_add };

struct Convolution {
  std::string name;
  Shape x;
  std::int64_t outputs = 1;
  graph::Window window;
  std::int64_t groups = 1;
  After after = After::nothing;
  Images images = Images::channels_last;
  Filters filters = Filters::channels_last;
  DataType type = kF16;
  DataType stored_result = kF16;
  bool bias = true;
  std::optional<std::int64_t> output_padding = std::nullopt;  // of a ConvTranspose
};

Layout image_layout(Images images, std::size_t rank) {
  switch (images) {
    case Images::rows:
      return {};
    case Images::channels_last:
      return channels_innermost(rank);
    case Images::sliced:
      break;
  }
  return channels_innermost(rank, 8);
}

Layout filter_layout(Filters filters, std::size_t rank) {
  if (filters == Filters::rows) return {};
  if (filters == Filters::channels_last) return channels_innermost(rank);
  Layout layout;
  for (std::size_t dim = 1; dim < rank; ++dim) layout.order.push_back(static_cast<int>(dim));
  layout.order.push_back(0);
  return layout;
}

// The steps behind a sum that is value `sum`; the residual is the last input.
std::vector<Link> links_after(After after, graph::Operator op, std::vector<int> arguments,
                              int inputs) {
  const int sum = inputs;
  const int residual = inputs - 1;
  std::vector<Link> links{{std::move(op), std::move(arguments)}};
  const Binary add{BinaryKind::add};
  const Unary silu{UnaryKind::silu, 1, 0};
  const Unary relu{UnaryKind::relu, 0, 0};
  if (after == After::relu) links.push_back({relu, {sum}});
  if (after == After::silu || after == After::silu_add) links.push_back({silu, {sum}});
  if (after == After::silu_add) links.push_back({add, {residual, sum + 1}});
  if (after == After::add || after == After::add_relu) links.push_back({add, {sum, residual}});
  if (after == After::add_relu) links.push_back({relu, {sum + 1}});
  return links;
}

bool adds(After after) {
  return after == After::add || after == After::add_relu || after == After::silu_add;
}

StepCase case_of(const Convolution& one) {
  const std::size_t rank = one.x.size();
  Shape w{one.outputs, one.x[1] / one.groups};
  if (one.output_padding) w = {one.x[1], one.outputs / one.groups};
  w.insert(w.end(), one.window.kernel.begin(), one.window.kernel.end());
  std::vector<Stored> inputs{{one.type, one.x, image_layout(one.images, rank)},
                             {one.type, w, filter_layout(one.filters, rank)}};
  if (one.bias) inputs.push_back({one.type == kF64 ? kF64 : kF32, {one.outputs}, {}});
  graph::Operator op = graph::Conv{one.window, one.groups};
  if (one.output_padding) {
    const std::vector<std::int64_t> padding(one.window.kernel.size(), *one.output_padding);
    op = graph::ConvTranspose{one.window, padding, one.groups};
  }
  std::vector<int> arguments{0, 1};
  if (one.bias) arguments.push_back(2);
  if (adds(one.after)) {
    // As long as nothing comes behind the sum, its output is the residual's shape.
    const auto links = links_after(After::nothing, op, arguments, static_cast<int>(inputs.size()));
    const Step bare = chain_step(StepKind::contraction, inputs, links, kF32, {});
    inputs.push_back(
        {one.stored_result, bare.outputs[0].view.shape, image_layout(one.images, rank)});
  }
  const auto count = static_cast<int>(inputs.size());
  return {one.name, chain_step(StepKind::contraction, inputs,
                               links_after(one.after, std::move(op), std::move(arguments), count),
                               one.stored_result, image_layout(one.images, rank))};
}

graph::Window square(std::int64_t kernel, std::int64_t stride, std::int64_t pad,
                     std::int64_t dilation = 1) {
  return {{kernel, kernel}, {stride, stride}, {dilation, dilation}, {pad, pad}, {pad, pad}};
}

std::vector<Convolution> convolutions() {
  using enum After;
  const graph::Window uneven{{2, 3}, {3, 1}, {1, 2}, {0, 2}, {1, 0}};
  const graph::Window line{{3}, {2}, {1}, {1}, {1}};
  const graph::Window cube{{2, 3, 2}, {1, 2, 1}, {1, 1, 1}, {1, 1, 0}, {0, 1, 1}};
  constexpr auto kLast = Images::channels_last;
  constexpr auto kRows = Images::rows;
  constexpr auto kSliced = Images::sliced;
  constexpr auto kByRows = Filters::rows;
  constexpr auto kByChannels = Filters::channels_last;
  constexpr auto kByOutputs = Filters::outputs_last;
  return {
      {"first layer", {1, 3, 17, 19}, 16, square(7, 2, 3), 1, silu},
      {"residual", {2, 16, 9, 11}, 24, square(3, 1, 1), 1, add_relu},
      {"residual behind", {1, 16, 9, 11}, 16, square(3, 1, 1), 1, silu_add},
      {"rows", {2, 16, 9, 11}, 24, square(3, 1, 1), 1, add, kRows, kByRows, kF32, kF32},
      {"weights by outputs", {1, 24, 9, 7}, 40, square(3, 1, 1), 1, relu, kSliced, kByOutputs},
      {"slices", {2, 24, 9, 7}, 17, square(3, 2, 1), 1, add, kSliced, kByChannels},
      {"groups", {1, 24, 9, 9}, 36, square(3, 1, 2, 2), 3, silu},
      {"many groups", {1, 32, 7, 7}, 32, square(3, 1, 1), 8, relu, kRows, kByRows},
      {"large tiles", {1, 16, 96, 96}, 64, square(3, 1, 1), 1, relu},
      {"wide tiles", {1, 8, 96, 96}, 32, square(3, 1, 1), 1, relu, kRows, kByRows, kF32, kF32},
      {"narrow tiles", {1, 16, 96, 96}, 5, square(3, 1, 1), 1, nothing},
      {"many channels", {1, 130, 6, 5}, 70, square(3, 1, 1), 1, nothing},
      {"picks rows", {1, 32, 11, 13}, 48, square(1, 2, 0), 1, silu},
      {"few outputs", {2, 32, 11, 13}, 3, square(1, 1, 0), 1, silu, kSliced},
      {"few outputs of rows", {2, 12, 11, 13}, 1, square(1, 2, 0), 1, nothing, kRows, kByRows},
      {"few outputs of groups", {2, 36, 9, 7}, 6, square(1, 1, 0), 3, add, kSliced},
      {"picks rows of groups", {2, 32, 6, 6}, 48, square(1, 1, 0), 2, add, kSliced},
      {"squeezed", {2, 128, 1, 1}, 40, square(1, 1, 0), 1, silu},
      {"padded 1x1", {1, 16, 5, 5}, 8, square(1, 1, 1), 1, relu},
      {"uneven", {1, 12, 14, 15}, 10, uneven, 1, relu},
      {"line", {2, 12, 31}, 20, line, 1, relu},
      {"cube", {1, 6, 5, 7, 4}, 9, cube, 3, add, kLast, kByChannels, kF32, kF32},
      {"BF16", {1, 16, 8, 8}, 16, square(3, 1, 1), 1, relu, kLast, kByChannels, kB16, kB16},
      {"FP64", {1, 16, 8, 8}, 16, square(3, 1, 1), 1, silu, kLast, kByChannels, kF64, kF64},
      {"FP16 into FP32",
       {1, 16, 8, 8},
       16,
       square(3, 1, 1),
       1,
       silu,
       kLast,
       kByChannels,
       kF16,
       kF32},
      {"FP32 into FP16",
       {1, 16, 8, 8},
       16,
       square(3, 1, 1),
       1,
       silu,
       kRows,
       kByChannels,
       kF32,
       kF16},
      {"without bias",
       {1, 16, 8, 8},
       16,
       square(3, 1, 1),
       1,
       nothing,
       kLast,
       kByChannels,
       kF16,
       kF16,
       false},
      {"depthwise", {2, 32, 13, 15}, 32, square(3, 1, 1), 32, silu},
      {"depthwise of few pixels", {1, 16, 1, 1}, 16, square(3, 1, 1), 16, silu},
      {"depthwise by twos", {1, 32, 14, 15}, 32, square(3, 2, 1), 32, relu, kSliced, kByOutputs},
      {"depthwise in tiles", {1, 64, 96, 96}, 64, square(3, 1, 1), 64, relu, kLast, kByOutputs},
      {"depthwise 5x5", {1, 24, 11, 12}, 24, square(5, 1, 4, 2), 24, silu, kLast, kByRows},
      {"depthwise 7x7", {1, 12, 17, 12}, 12, square(7, 1, 3), 12, add, kSliced, kByOutputs},
      {"depthwise by threes", {1, 16, 17, 16}, 16, square(3, 3, 0), 16, nothing, kLast, kByOutputs},
      {"depthwise rows", {2, 6, 13, 15}, 6, square(3, 1, 1), 6, silu, kRows, kByRows, kF32, kF32},
      {"depthwise FP32",
       {1, 8, 13, 15},
       8,
       square(3, 1, 1),
       8,
       add_relu,
       kLast,
       kByOutputs,
       kF32,
       kF32},
      {"depthwise line", {1, 16, 33}, 16, {{5}, {1}, {1}, {2}, {2}}, 16, relu},
      {"depthwise uneven", {1, 8, 14, 15}, 8, uneven, 8, relu},
      {"two of each channel", {1, 8, 9, 9}, 16, square(3, 1, 1), 8, relu},
      {"transposed",
       {1, 16, 7, 9},
       12,
       square(4, 2, 1),
       1,
       silu,
       kLast,
       kByChannels,
       kF16,
       kF16,
       true,
       0},
      {"transposed, padded",
       {2, 8, 5, 6},
       8,
       square(3, 2, 1),
       1,
       add,
       kSliced,
       kByRows,
       kF16,
       kF16,
       true,
       1},
      {"transposed groups",
       {1, 12, 5, 6},
       18,
       square(3, 3, 0, 2),
       3,
       relu,
       kRows,
       kByRows,
       kF32,
       kF32,
       true,
       0},
      {"transposed without gaps",
       {1, 16, 7, 9},
       12,
       square(2, 2, 0),
       1,
       relu,
       kLast,
       kByOutputs,
       kF16,
       kF16,
       true,
       0},
      {"transposed depthwise",
       {1, 8, 5, 6},
       8,
       square(4, 2, 1),
       8,
       relu,
       kLast,
       kByRows,
       kF16,
       kF16,
       true,
       0},
      {"transposed line", {1, 6, 9}, 8, line, 2, relu, kLast, kByRows, kF32, kF32, false, 1},
  };
}

struct Product {
  std::string name;
  Shape a, b;
  DataType type = kF16;
  bool transpose_a = false, transpose_b = false;
  std::vector<int> a_order = {}, b_order = {};
  After after = After::nothing;
};

StepCase case_of(const Product& one) {
  std::vector<Stored> inputs{{one.type, one.a, {one.a_order, 0}},
                             {one.type, one.b, {one.b_order, 0}}};
  const graph::MatMul op{one.transpose_a, one.transpose_b};
  if (adds(one.after)) {
    const Step bare = single_step(op, inputs, one.type, {});
    inputs.push_back({one.type, bare.outputs[0].view.shape, {}});
  }
  const auto count = static_cast<int>(inputs.size());
  return {one.name, chain_step(StepKind::contraction, inputs,
                               links_after(one.after, op, {0, 1}, count), one.type, {})};
}

std::vector<Product> products() {
  using enum After;
  return {
      {"product", {37, 33}, {33, 65}, kF32, false, false, {}, {}, add},
      {"rows of a batch", {2, 5, 32}, {32, 24}, kF16, false, false, {}, {}, silu},
      {"batches", {2, 3, 5, 16}, {2, 3, 16, 6}, kF16},
      {"batches of heads",
       {2, 3, 9, 16},
       {2, 3, 16, 9},
       kF16,
       false,
       false,
       {0, 2, 1, 3},
       {0, 3, 1, 2}},
      {"broadcast batches", {1, 3, 5, 16}, {2, 1, 16, 6}, kF32},
      {"one matrix for many", {5, 16}, {4, 16, 8}, kF32},
      {"transposed factors", {3, 20, 9}, {3, 11, 20}, kF16, true, true},
      {"FP64", {9, 20}, {20, 11}, kF64, false, false, {}, {}, add_relu},
      {"INT32", {9, 20}, {20, 11}, DataType::int32, false, false, {}, {}, add_relu},
      {"INT8 wraps", {9, 200}, {200, 11}, DataType::int8},
      {"UINT64", {9, 20}, {11, 20}, DataType::uint64, false, true},
      {"classifier", {3, 256}, {256, 100}, kF16, false, false, {}, {}, add},
      {"classifier of rows", {3, 256}, {100, 256}, kF16, false, true, {}, {}, add_relu},
      {"one row", {1, 520}, {520, 33}, kF16},
      {"one row, odd sizes", {1, 131}, {131, 33}, kF32, false, false, {}, {}, silu},
      {"one row of rows, odd sizes", {1, 131}, {33, 131}, kF32, false, true},
      {"one column", {70, 64}, {64, 1}, kF16},
      {"few rows of batches", {3, 4, 128}, {3, 128, 24}, kF16},
      {"few rows of batches of rows", {3, 1, 128}, {3, 24, 128}, kF16, false, true},
      {"few rows of INT32", {2, 100}, {100, 9}, DataType::int32},
      {"no channels", {3, 0}, {0, 4}, kF32},
      {"several rounds", {1, 4096}, {4096, 1000}, kF16, false, false, {}, {}, add},
      {"several rounds, odd sizes", {2, 1500}, {1500, 75}, kF32},
      {"ten columns", {1, 2050}, {2050, 10}, kF16, false, false, {}, {}, add},
      {"eight rows", {8, 640}, {640, 200}, kF16, false, false, {}, {}, silu},
      {"several rounds of rows", {1, 2048}, {1000, 2048}, kF16, false, true, {}, {}, add},
      {"several warps a column", {3, 4104}, {10, 4104}, kF16, false, true, {}, {}, add},
      {"one warp a column", {1, 392}, {1101, 392}, kF32, false, true},
      {"eight rows of rows", {8, 640}, {200, 640}, kF16, false, true, {}, {}, silu},
      {"few columns", {1000, 16}, {16, 1}, kF16, false, false, {}, {}, add},
      {"few columns of batches", {3, 70, 20}, {3, 20, 3}, kF32, false, false, {}, {}, silu},
      {"few columns of rows", {300, 64}, {4, 64}, kF16, false, true},
  };
}

template <typename T>
const T& any_of(const std::vector<T>& values, std::mt19937& random) {
  return values[std::uniform_int_distribution<std::size_t>(0, values.size() - 1)(random)];
}

// Sizes are such that the window fits.
Convolution random_convolution(int number, std::mt19937& random) {
  const auto from = [&random](std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random);
  };
  const std::int64_t groups = any_of<std::int64_t>({1, 1, 2, 4}, random);
  const auto rank = static_cast<std::size_t>(any_of<std::int64_t>({1, 2, 2, 3}, random));
  Convolution one;
  one.name = fmt::format("random {}", number);
  one.x = {from(1, 2), groups * from(1, 9)};
  one.outputs = groups * from(1, 9);
  for (std::size_t dim = 0; dim < rank; ++dim) {
    one.window.kernel.push_back(from(1, 4));
    one.window.strides.push_back(from(1, 3));
    one.window.dilations.push_back(from(1, 2));
    one.window.pads_begin.push_back(from(0, 2));
    one.window.pads_end.push_back(from(0, 2));
    one.x.push_back(from(7, 12));
  }
  one.groups = groups;
  one.after = static_cast<After>(from(0, 5));
  one.images = static_cast<Images>(from(0, 2));
  one.filters = static_cast<Filters>(from(0, 2));
  one.type = any_of<DataType>({kF16, kF32}, random);
  one.stored_result = any_of<DataType>({kF16, kF32}, random);
  one.bias = from(0, 1) == 1;
  if (from(0, 3) == 0) one.output_padding = from(0, 1);
  return one;
}

std::vector<StepCase> pointwise_cases() {
  const Unary silu{UnaryKind::silu, 1, 0};
  const Binary add{BinaryKind::add};
  const Shape image{2, 8, 5, 6};
  const Layout last = channels_innermost(4);
  const Layout slice = channels_innermost(4, 8);
  Step scaled = chain_step(StepKind::pointwise, {{kF16, image, last}, {kF32, image, {}}},
                           {{Binary{BinaryKind::mul}, {0, 1}}, {silu, {2}}, {add, {3, 0}}}, kF16,
                           slice, {4, 3});
  scaled.inputs[1].strides = {0, 1, 0, 0};  // a number for each channel
  const auto copy = [&](DataType from, DataType to) {
    return chain_step(StepKind::pointwise, {{from, image, last}}, {}, to, slice, {0});
  };
  // Neighbours of the inputs aren't the output's.
  const auto turned = [&](DataType from, const Shape& shape, const Layout& layout, DataType to) {
    return chain_step(StepKind::pointwise, {{from, shape, layout}}, {{silu, {0}}}, to, {});
  };
  Step both = chain_step(
      StepKind::pointwise,
      {{kF16, {2, 40, 9, 10}, last}, {kF32, {2, 40, 9, 10}, {}}, {kF32, {2, 40, 9, 10}, last}},
      {{Binary{BinaryKind::mul}, {0, 1}}, {add, {3, 2}}}, kF16, {});
  return {{"chain of two outputs", scaled},
          {"channels into rows", turned(kF16, {1, 80, 840}, channels_innermost(3), kF32)},
          {"channels into rows, odd sizes", turned(kF16, {2, 37, 5, 13}, last, kF16)},
          {"sliced channels into rows", turned(kF16, {2, 72, 6, 12}, slice, kF32)},
          {"few channels into rows", turned(kF16, {2, 3, 30, 20}, last, kF32)},
          {"many channels of few pixels", turned(kF32, {3, 1100, 2, 1}, last, kF32)},
          {"rows and channels", std::move(both)},
          {"BF16 into rows", turned(kB16, {1, 64, 8, 8}, last, kB16)},
          {"rows into channels",
           chain_step(StepKind::pointwise, {{kF32, {2, 48, 8, 9}, {}}}, {}, kF16, last, {0})},
          {"rows into few channels",
           chain_step(StepKind::pointwise, {{kF32, {2, 3, 17, 20}, {}}}, {}, kF16, last, {0})},
          {"bytes into channels",
           chain_step(StepKind::pointwise, {{DataType::uint8, {1, 40, 9, 16}, {}}}, {}, kF32, slice,
                      {0})},
          {"FP64 into channels",
           chain_step(StepKind::pointwise, {{kF64, {1, 40, 9, 16}, {}}}, {}, kF64, last, {0})},
          {"copy into other types", copy(kF16, kF32)},
          {"copy into integers", copy(kF32, DataType::int8)},
          {"copy from integers", copy(DataType::uint8, kF16)},
          {"copy into BOOL", copy(DataType::int32, DataType::boolean)},
          {"comparison", chain_step(StepKind::pointwise, {{kF16, image, last}, {kF32, image, {}}},
                                    {{Binary{BinaryKind::less}, {0, 1}},
                                     {graph::Select{}, {2, 1, 0}},
                                     {graph::Cast{DataType::int32}, {3}}},
                                    kF16, {})},
          {"one operator", single_step(silu, {{kF16, image, last}}, kF16, slice)}};
}

// Softmax over the channels and its weighted mean.
Step mean_of_bins(const Stored& x, DataType type) {
  const graph::Window pixel{{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}};
  return chain_step(StepKind::single, {x, {kF32, {1, x.shape[1], 1, 1}, {}}},
                    {{graph::Softmax{1, false}, {0}}, {graph::Conv{pixel, 1}, {2, 1}}}, type, {});
}

std::vector<StepCase> row_cases() {
  using graph::ReduceKind;
  const Layout last = channels_innermost(4);
  const Stored x{kF16, {2, 24, 5, 6}, last};
  std::vector<StepCase> cases;
  const auto add = [&](const std::string& name, graph::Operator op,
                       const std::vector<Stored>& inputs, DataType type, const Layout& layout) {
    cases.push_back({name, single_step(std::move(op), inputs, type, layout)});
  };
  for (const std::vector<int>& axes : {std::vector<int>{2, 3}, {1}, {0, 2}, {0, 1, 2, 3}, {}}) {
    add("mean", graph::Reduce{ReduceKind::mean, axes}, {x}, kF32, {});
  }
  add("largest of INT32", graph::Reduce{ReduceKind::max, {1, 3}},
      {{DataType::int32, x.shape, last}}, kF32, {});
  add("squares", graph::Reduce{ReduceKind::l2, {1}}, {x}, kF16, last);
  add("arg max", graph::ArgReduce{true, 1, false}, {x}, kF16, last);
  add("arg min", graph::ArgReduce{false, 3, true}, {{kF32, {3, 2, 4, 50}, {}}}, kF16, {});
  add("softmax", graph::Softmax{1, false}, {x}, kF16, last);
  add("log softmax", graph::Softmax{3, true}, {x}, kF32, {});
  // Bins that lie side by side, as the scales of a detector leave them, and others.
  const Layout bins{{0, 3, 2, 1}, 0};
  for (const std::int64_t size : {2, 5, 16, 32, 40, 197}) {
    const Stored many{kF16, {2, size, 4, 70}, bins};
    add("softmax of bins", graph::Softmax{1, false}, {many}, kF32, bins);
    add("softmax of rows", graph::Softmax{1, true}, {{kF32, many.shape, {}}}, kF32, {});
    add("arg max of bins", graph::ArgReduce{true, 1, false}, {many}, kF16, bins);
    add("largest of bins", graph::Reduce{ReduceKind::max, {1}}, {many}, kF16, {});
    add("norm of bins", graph::LayerNorm{2, 1e-5},
        {{kF16, {3, 70, size}, {}}, {kF32, {size}, {}}, {kF32, {size}, {}}}, kF16, {});
    for (const Layout& layout : {bins, Layout{}}) {
      cases.push_back({"mean of bins", mean_of_bins({kF16, many.shape, layout}, kF32)});
    }
  }
  cases.push_back({"mean of bins into FP16", mean_of_bins({kF16, {1, 16, 4, 70}, bins}, kF16)});
  add("mean of pixels", graph::Reduce{ReduceKind::mean, {2, 3}}, {{kF16, {1, 2048, 7, 7}, last}},
      kF16, last);
  const Stored tokens{kF16, {2, 7, 96}, {}};
  add("layer norm", graph::LayerNorm{2, 1e-5}, {tokens, {kF32, {96}, {}}, {kF32, {96}, {}}}, kF16,
      {});
  add("layer norm without bias", graph::LayerNorm{1, 1e-5}, {tokens, {kF16, {7, 1}, {}}}, kF32, {});
  add("layer norm of one scale", graph::LayerNorm{2, 1e-5}, {tokens, {kF16, {}, {}}}, kF32, {});
  const graph::Window window{{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}};
  const graph::Pool pool{graph::PoolKind::max, window, {3, 3}, false, 2};
  add("pool", pool, {x}, kF16, channels_innermost(4, 8));
  // Neighbours along the width share what they read, channels are wide or narrow.
  const graph::Window wide{{5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}};
  for (const std::int64_t channels : {3, 20, 64, 256}) {
    const Shape shape{2, channels, 19, 21};
    add("pool of five", graph::Pool{graph::PoolKind::max, wide, {19, 21}, false, 2},
        {{kF16, shape, channels_innermost(4, 8)}}, kF16, channels_innermost(4, 8));
    add("pool of three", graph::Pool{graph::PoolKind::max, window, {10, 11}, false, 2},
        {{kF32, shape, last}}, kF16, last);
  }
  const Stored bytes{DataType::int8, {2, 16, 9, 9}, last};
  add("pool of INT8", graph::Pool{graph::PoolKind::max, window, {5, 5}, false, 2}, {bytes}, kF16,
      last);
  add("pool of BF16", graph::Pool{graph::PoolKind::max, wide, {19, 21}, false, 2},
      {{kB16, {2, 256, 19, 21}, last}}, kB16, last);
  add("pool of rows", graph::Pool{graph::PoolKind::max, wide, {40, 60}, false, 2},
      {{kF16, {2, 9, 40, 60}, {}}}, kF32, {});
  const graph::Window line{{4}, {2}, {1}, {1}, {1}};
  add("pool of a line", graph::Pool{graph::PoolKind::max, line, {15}, false, 2},
      {{kF16, {2, 24, 30}, channels_innermost(3)}}, kF16, channels_innermost(3));
  const graph::Window cube{{2, 3, 2}, {1, 2, 1}, {1, 1, 1}, {1, 1, 0}, {0, 1, 1}};
  add("pool of a cube", graph::Pool{graph::PoolKind::max, cube, {5, 4, 4}, false, 2},
      {{kF32, {1, 6, 5, 7, 4}, channels_innermost(5)}}, kF32, channels_innermost(5));
  const graph::Window gaps{{3, 3}, {1, 2}, {2, 2}, {2, 1}, {1, 2}};
  add("pool with gaps", graph::Pool{graph::PoolKind::max, gaps, {4, 3}, false, 2}, {x}, kF16, last);
  const graph::Window whole{{9, 9}, {1, 1}, {1, 1}, {4, 4}, {4, 4}};
  add("pool of nine", graph::Pool{graph::PoolKind::max, whole, {5, 6}, false, 2}, {x}, kF16, last);
  add("average pool", graph::Pool{graph::PoolKind::average, window, {3, 3}, true, 2}, {x}, kF32,
      {});
  return cases;
}

std::vector<StepCase> norm_cases() {
  struct Norm {
    Shape x;
    std::int64_t groups;
    Layout layout;
    DataType type;
    DataType result;
  };
  const std::vector<Norm> norms{
      {{2, 32, 9, 11}, 8, channels_innermost(4), kF16, kF16},
      {{1, 64, 40, 40}, 64, channels_innermost(4), kF16, kF16},  // several chunks
      {{1, 320, 12, 10}, 32, channels_innermost(4, 8), kF16, kF32},
      {{2, 24, 9, 11}, 1, channels_innermost(4), kF32, kF16},
      {{2, 6, 9, 11}, 3, channels_innermost(4), kF16, kF16},
      {{2, 256, 3}, 256, channels_innermost(3), kF16, kF16},
      {{1, 16, 3, 4, 5}, 2, channels_innermost(5), kF64, kF64},
      {{2, 3000}, 4, {}, kF32, kF32},
      {{2, 4096, 2, 2}, 1, channels_innermost(4), kF32, kF32},  // more channels than a block has
      {{2, 12, 9, 11}, 4, {}, kF16, kF16}};
  std::vector<StepCase> cases;
  for (const Norm& norm : norms) {
    const DataType factor = norm.type == kF64 ? kF64 : kF32;
    const Shape channels{norm.x[1]};
    cases.push_back(
        {"group norm of " + takt::to_string(norm.x),
         single_step(
             graph::GroupNorm{norm.groups, 1e-5},
             {{norm.type, norm.x, norm.layout}, {factor, channels, {}}, {factor, channels, {}}},
             norm.result, norm.layout)});
  }
  for (const std::int64_t size : {1, 4, 5, 99}) {
    cases.push_back(
        {"response norm", single_step(graph::LocalResponseNorm{size, 0.3, 0.75, 2},
                                      {{kF16, {2, 13, 5, 6}, channels_innermost(4)}}, kF32, {})});
  }
  return cases;
}

}  // namespace

std::vector<StepCase> contraction_cases() {
  std::vector<StepCase> cases;
  for (const Convolution& one : convolutions()) cases.push_back(case_of(one));
  for (const Product& one : products()) cases.push_back(case_of(one));
  return cases;
}

std::vector<StepCase> random_contraction_cases() {
  std::mt19937 random(1);
  std::vector<StepCase> cases;
  for (int number = 0; number < 60; ++number)
    cases.push_back(case_of(random_convolution(number, random)));
  return cases;
}

std::vector<StepCase> other_cases() {
  std::vector<StepCase> cases = pointwise_cases();
  std::ranges::move(row_cases(), std::back_inserter(cases));
  std::ranges::move(norm_cases(), std::back_inserter(cases));
  return cases;
}

}  // namespace takt::cuda
