// SPDX-License-Identifier: Apache-2.0
#include "graph/composition.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace takt::graph {
namespace {

using Sizes = std::vector<std::int64_t>;

// Of a window's attributes; products of two of them still fit into 64 bits.
constexpr std::int64_t kWindowMax = std::int64_t{1} << 30;

enum class AutoPad : std::uint8_t { none, upper, lower, valid };

Result<AutoPad> auto_pad_of(const NodeReader& node) {
  const std::string text = node.text("auto_pad", "NOTSET");
  if (text == "NOTSET") return AutoPad::none;
  if (text == "SAME_UPPER") return AutoPad::upper;
  if (text == "SAME_LOWER") return AutoPad::lower;
  if (text == "VALID") return AutoPad::valid;
  return NodeReader::refuse(
      fmt::format("auto_pad {}; expected NOTSET, SAME_UPPER, SAME_LOWER or VALID", text));
}

// One number for each of `count`, `otherwise` where the attribute is absent.
Result<Sizes> sizes_of(const NodeReader& node, std::string_view name, std::size_t count,
                       std::int64_t least, std::int64_t otherwise) {
  Sizes sizes = node.integers(name);
  if (sizes.empty()) return Sizes(count, otherwise);
  if (sizes.size() != count) {
    return NodeReader::refuse(
        fmt::format("{} has {} numbers; expected {}", name, sizes.size(), count));
  }
  const auto [smallest, largest] = std::ranges::minmax(sizes);
  if (smallest < least || largest > kWindowMax) {
    return NodeReader::refuse(fmt::format("{} {}; expected at least {} and at most {}", name,
                                          takt::to_string(sizes), least, kWindowMax));
  }
  return sizes;
}

// Behind batch and channels.
Sizes spatial(const Shape& shape) {
  return {shape.begin() + 2, shape.end()};
}

Result<void> check_image(const NodeReader& node) {
  const auto fits = [](std::int64_t size) { return size < kWindowMax; };
  if (node.rank(0) >= 3 && std::ranges::all_of(node.shape(0), fits)) return {};
  return NodeReader::refuse(fmt::format("input {}; expected [N,C,spatial dimensions...]",
                                        takt::to_string(node.shape(0))));
}

std::int64_t extent(const Window& window, std::size_t i) {
  return (window.kernel[i] - 1) * window.dilations[i] + 1;
}

// `total` on both sides together; the odd one at the end, or at the beginning for SAME_LOWER.
void split_padding(Window& window, std::size_t i, std::int64_t total, bool more_at_end) {
  const std::int64_t less = total / 2;
  window.pads_begin[i] = more_at_end ? less : total - less;
  window.pads_end[i] = total - window.pads_begin[i];
}

// With explicit padding, whatever auto_pad says.
Result<Window> window_of(const NodeReader& node, Sizes kernel) {
  const std::size_t count = kernel.size();
  Result<Sizes> strides = sizes_of(node, "strides", count, 1, 1);
  if (!strides) return std::unexpected(std::move(strides).error());
  Result<Sizes> dilations = sizes_of(node, "dilations", count, 1, 1);
  if (!dilations) return std::unexpected(std::move(dilations).error());
  const Result<Sizes> pads = sizes_of(node, "pads", 2 * count, 0, 0);
  if (!pads) return std::unexpected(pads.error());
  const auto middle = pads->begin() + static_cast<std::ptrdiff_t>(count);
  return Window{.kernel = std::move(kernel),
                .strides = std::move(*strides),
                .dilations = std::move(*dilations),
                .pads_begin = {pads->begin(), middle},
                .pads_end = {middle, pads->end()}};
}

// SAME: as many windows as strides begin in the input.
void apply_auto_pad(Window& window, AutoPad mode, const Sizes& input) {
  for (std::size_t i = 0; mode != AutoPad::none && i < input.size(); ++i) {
    const std::int64_t stride = window.strides[i];
    const std::int64_t windows = (input[i] + stride - 1) / stride;
    const std::int64_t needed = (windows - 1) * stride + extent(window, i) - input[i];
    const std::int64_t total = mode == AutoPad::valid ? 0 : std::max<std::int64_t>(0, needed);
    split_padding(window, i, total, mode == AutoPad::upper);
  }
}

// kernel_shape, which the weights [.., .., kernel...] say as well.
Result<Sizes> kernel_of(const NodeReader& node, const Shape& weights) {
  if (std::cmp_not_equal(weights.size(), node.rank(0))) {
    return NodeReader::refuse(fmt::format("weights {} for input {}", takt::to_string(weights),
                                          takt::to_string(node.shape(0))));
  }
  Sizes kernel = spatial(weights);
  if (std::ranges::any_of(kernel, [](std::int64_t size) { return size > kWindowMax; })) {
    return NodeReader::refuse(fmt::format("weights {}", takt::to_string(weights)));
  }
  const Sizes said = node.integers("kernel_shape");
  if (said.empty() || said == kernel) return kernel;
  return NodeReader::refuse(fmt::format("kernel_shape {}, but weights {}", takt::to_string(said),
                                        takt::to_string(weights)));
}

std::vector<ValueId> all_inputs(const NodeReader& node, std::size_t most) {
  std::vector<ValueId> inputs;
  for (std::size_t i = 0; i < most && node.has_input(i); ++i) inputs.push_back(node.input(i));
  return inputs;
}

Values one(Result<ValueId> value) {
  if (!value) return std::unexpected(std::move(value).error());
  return std::vector{*value};
}

Values translate_conv(const NodeReader& node) {
  if (auto checked = node.check_inputs(2, 3); !checked) return std::unexpected(checked.error());
  return one(add_conv(node, all_inputs(node, 3)));
}

// Where output_shape is larger than what the windows reach, the rest stands behind them.
void pad_to_output(ConvTranspose& op, const Sizes& input, const Sizes& output, bool more_at_end) {
  for (std::size_t i = 0; i < input.size(); ++i) {
    const std::int64_t reached =
        op.window.strides[i] * (input[i] - 1) + op.output_padding[i] + extent(op.window, i);
    const std::int64_t total = reached - output[i];
    split_padding(op.window, i, std::max<std::int64_t>(0, total), more_at_end);
    op.output_padding[i] += std::max<std::int64_t>(0, -total);
  }
}

// The output's spatial size where something fixes it: output_shape, or SAME, which multiplies by
// the strides. Empty: padding says it.
Result<Sizes> fixed_output(const NodeReader& node, const Sizes& input, const Sizes& strides,
                           AutoPad mode) {
  Result<Sizes> output = sizes_of(node, "output_shape", input.size(), 1, 0);
  const bool same = mode == AutoPad::upper || mode == AutoPad::lower;
  if (!output || node.has("output_shape")) return output;
  if (!same) return Sizes{};
  for (std::size_t i = 0; i < input.size(); ++i) (*output)[i] = input[i] * strides[i];
  return output;
}

Values translate_conv_transpose(const NodeReader& node) {
  if (auto checked = node.check_inputs(2, 3); !checked) return std::unexpected(checked.error());
  if (auto checked = check_image(node); !checked) return std::unexpected(checked.error());
  const Result<AutoPad> mode = auto_pad_of(node);
  if (!mode) return std::unexpected(mode.error());
  Result<Sizes> kernel = kernel_of(node, node.shape(1));
  if (!kernel) return std::unexpected(std::move(kernel).error());
  Result<Window> window = window_of(node, std::move(*kernel));
  if (!window) return std::unexpected(std::move(window).error());
  const Sizes input = spatial(node.shape(0));
  Result<Sizes> padding = sizes_of(node, "output_padding", input.size(), 0, 0);
  if (!padding) return std::unexpected(std::move(padding).error());
  const Result<Sizes> output = fixed_output(node, input, window->strides, *mode);
  if (!output) return std::unexpected(output.error());
  ConvTranspose op{std::move(*window), std::move(*padding), node.integer("group", 1)};
  if (*mode == AutoPad::valid) apply_auto_pad(op.window, *mode, input);
  if (!output->empty()) pad_to_output(op, input, *output, *mode == AutoPad::upper);
  return one(node.builder().add(std::move(op), all_inputs(node, 3)));
}

// How many windows there are. ceil_mode counts one more where elements are left over, and none that
// would begin in the padding behind the input (ONNX 22, and PyTorch before it).
std::int64_t window_count(const Window& window, std::size_t i, std::int64_t input, bool ceil_mode) {
  const std::int64_t stride = window.strides[i];
  const std::int64_t room = input + window.pads_begin[i] + window.pads_end[i] - extent(window, i);
  if (room < 0) return 0;
  if (!ceil_mode) return room / stride + 1;
  const std::int64_t count = (room + stride - 1) / stride + 1;
  const bool last_outside = (count - 1) * stride >= input + window.pads_begin[i];
  return last_outside ? count - 1 : count;
}

// With ceil_mode a window counts that is larger than all there is, unless it lacks a whole stride. It is cut to
// the padded input: there is nothing beyond that would change the result.
void cut_window(Window& window, std::size_t i, std::int64_t input) {
  const std::int64_t padded = input + window.pads_begin[i] + window.pads_end[i];
  const std::int64_t lacking = extent(window, i) - padded;
  const bool counts = lacking > 0 && lacking < window.strides[i] && window.dilations[i] == 1;
  if (counts) window.kernel[i] = padded;
}

Values translate_pool(const NodeReader& node, PoolKind kind) {
  if (auto checked = node.check_inputs(1, 1); !checked) return std::unexpected(checked.error());
  if (auto checked = check_image(node); !checked) return std::unexpected(checked.error());
  const Sizes input = spatial(node.shape(0));
  if (!node.has("kernel_shape")) return NodeReader::refuse("no kernel_shape");
  Result<Sizes> kernel = sizes_of(node, "kernel_shape", input.size(), 1, 1);
  if (!kernel) return std::unexpected(std::move(kernel).error());
  Result<Window> window = window_of(node, std::move(*kernel));
  if (!window) return std::unexpected(std::move(window).error());
  const Result<AutoPad> mode = auto_pad_of(node);
  if (!mode) return std::unexpected(mode.error());
  apply_auto_pad(*window, *mode, input);
  const bool ceil_mode = *mode == AutoPad::none && node.integer("ceil_mode", 0) != 0;
  Pool op{.kind = kind, .window = std::move(*window), .sizes = {}};
  for (std::size_t i = 0; i < input.size(); ++i) {
    if (ceil_mode) cut_window(op.window, i, input[i]);
    op.sizes.push_back(window_count(op.window, i, input[i], ceil_mode));
    if (op.sizes.back() > 0) continue;
    return NodeReader::refuse(fmt::format("a kernel of {} is larger than the padded input {}",
                                          extent(op.window, i), takt::to_string(node.shape(0))));
  }
  op.count_padding = node.integer("count_include_pad", 0) != 0;
  op.p = static_cast<double>(node.integer("p", 2));
  return one(node.builder().add(std::move(op), {node.input(0)}));
}

Values translate_max_pool(const NodeReader& node) {
  if (node.output_count() > 1) {
    return NodeReader::refuse("its second output, Indices, is used; expected only the first");
  }
  return translate_pool(node, PoolKind::max);
}
Values translate_average_pool(const NodeReader& node) {
  return translate_pool(node, PoolKind::average);
}
Values translate_lp_pool(const NodeReader& node) {
  return translate_pool(node, PoolKind::lp);
}

std::vector<int> spatial_axes(const NodeReader& node) {
  std::vector<int> axes = first_axes(node.rank(0));
  axes.erase(axes.begin(), axes.begin() + 2);
  return axes;
}

Values translate_global_pool(const NodeReader& node, ReduceKind kind) {
  if (auto checked = node.check_inputs(1, 1); !checked) return std::unexpected(checked.error());
  if (auto checked = check_image(node); !checked) return std::unexpected(checked.error());
  return one(node.builder().add(Reduce{kind, spatial_axes(node)}, {node.input(0)}));
}

Values translate_global_average_pool(const NodeReader& node) {
  return translate_global_pool(node, ReduceKind::mean);
}
Values translate_global_max_pool(const NodeReader& node) {
  return translate_global_pool(node, ReduceKind::max);
}

Values translate_global_lp_pool(const NodeReader& node) {
  const std::int64_t p = node.integer("p", 2);
  if (p == 1) return translate_global_pool(node, ReduceKind::l1);
  if (p == 2) return translate_global_pool(node, ReduceKind::l2);
  if (auto checked = node.check_inputs(1, 1); !checked) return std::unexpected(checked.error());
  if (auto checked = check_image(node); !checked) return std::unexpected(checked.error());
  if (p < 1) return NodeReader::refuse(fmt::format("p {}; expected at least 1", p));
  Composition made(node.builder());
  const auto power = static_cast<double>(p);
  const ValueId powers =
      made.binary(BinaryKind::pow, made.unary(UnaryKind::abs, node.input(0)), power);
  const ValueId sum = made.reduce(ReduceKind::sum, powers, spatial_axes(node));
  return made.finish({made.binary(BinaryKind::pow, sum, 1 / power)});
}

// Resize ------------------------------------------------------------------------------------------

constexpr Words<ResizeMode, 3> kModes{{{"nearest", ResizeMode::nearest},
                                       {"linear", ResizeMode::linear},
                                       {"cubic", ResizeMode::cubic}}};
constexpr Words<ResizeCoordinates, 6> kCoordinates{
    {{"half_pixel", ResizeCoordinates::half_pixel},
     {"half_pixel_symmetric", ResizeCoordinates::half_pixel_symmetric},
     {"pytorch_half_pixel", ResizeCoordinates::pytorch_half_pixel},
     {"align_corners", ResizeCoordinates::align_corners},
     {"asymmetric", ResizeCoordinates::asymmetric},
     {"tf_crop_and_resize", ResizeCoordinates::crop_and_resize}}};
constexpr Words<ResizeRounding, 4> kRoundings{
    {{"round_prefer_floor", ResizeRounding::round_prefer_floor},
     {"round_prefer_ceil", ResizeRounding::round_prefer_ceil},
     {"floor", ResizeRounding::floor},
     {"ceil", ResizeRounding::ceil}}};

Result<void> read_words(const NodeReader& node, Resize& op) {
  const Result<ResizeMode> mode = word_of(node, "mode", kModes);
  if (!mode) return std::unexpected(mode.error());
  const auto coordinates = word_of(node, "coordinate_transformation_mode", kCoordinates);
  if (!coordinates) return std::unexpected(coordinates.error());
  const Result<ResizeRounding> rounding = word_of(node, "nearest_mode", kRoundings);
  if (!rounding) return std::unexpected(rounding.error());
  op.mode = *mode;
  op.coordinates = *coordinates;
  op.rounding = *rounding;
  op.cubic_a = node.number("cubic_coeff_a", -0.75F);
  op.extrapolation = node.number("extrapolation_value", 0);
  op.exclude_outside = node.integer("exclude_outside", 0) != 0;
  op.antialias = node.integer("antialias", 0) != 0;
  if (op.antialias && op.mode == ResizeMode::nearest) {
    return NodeReader::refuse("antialias with mode nearest; expected linear or cubic");
  }
  return {};
}

Result<std::vector<int>> resized_axes(const NodeReader& node) {
  if (!node.has("axes")) return first_axes(node.rank(0));
  std::vector<int> axes;
  for (const std::int64_t said : node.integers("axes")) {
    const Result<int> axis = node.axis(said, node.rank(0));
    if (!axis) return std::unexpected(axis.error());
    axes.push_back(*axis);
  }
  return axes;
}

// An input's numbers: none, or `count`.
Result<std::vector<double>> numbers_for(const NodeReader& node, std::size_t index,
                                        std::string_view name, std::size_t count) {
  if (!node.has_input(index)) return std::vector<double>{};
  Result<std::vector<double>> numbers = node.numbers_of(index);
  if (!numbers || numbers->empty() || numbers->size() == count) return numbers;
  return NodeReader::refuse(
      fmt::format("{} has {} numbers; expected {}", name, numbers->size(), count));
}

Result<void> set_scales(Resize& op, const Shape& input, std::span<const int> axes,
                        std::span<const double> scales) {
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<std::size_t>(axes[i]);
    // In single precision, as ONNX's shape inference has it.
    const float size = std::floor(static_cast<float>(input[axis]) * static_cast<float>(scales[i]));
    if (!(scales[i] > 0) || !(size < static_cast<float>(kWindowMax))) {
      return NodeReader::refuse(fmt::format("scale {} of dimension {}", scales[i], axis));
    }
    op.scales[axis] = scales[i];
    op.sizes[axis] = static_cast<std::int64_t>(size);
  }
  return {};
}

// The policies other than stretch: one scale for all axes.
void keep_aspect(Resize& op, const Shape& input, std::span<const int> axes, bool not_larger) {
  double chosen = op.scales[static_cast<std::size_t>(axes[0])];
  for (const int axis : axes) {
    const double scale = op.scales[static_cast<std::size_t>(axis)];
    chosen = not_larger ? std::min(chosen, scale) : std::max(chosen, scale);
  }
  for (const int one_axis : axes) {
    const auto axis = static_cast<std::size_t>(one_axis);
    op.scales[axis] = chosen;
    op.sizes[axis] =
        static_cast<std::int64_t>(std::floor(chosen * static_cast<double>(input[axis]) + 0.5));
  }
}

Result<void> set_sizes(const NodeReader& node, Resize& op, std::span<const int> axes,
                       std::span<const double> sizes) {
  const Shape& input = node.shape(0);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<std::size_t>(axes[i]);
    if (input[axis] == 0 || input[axis] > kWindowMax || !(sizes[i] > 0) ||
        sizes[i] > static_cast<double>(kWindowMax)) {
      return NodeReader::refuse(
          fmt::format("size {} for dimension {} of {}", sizes[i], axis, takt::to_string(input)));
    }
    op.sizes[axis] = static_cast<std::int64_t>(sizes[i]);
    op.scales[axis] = sizes[i] / static_cast<double>(input[axis]);
  }
  const std::string policy = node.text("keep_aspect_ratio_policy", "stretch");
  if (policy == "stretch" || axes.empty()) return {};
  if (policy != "not_larger" && policy != "not_smaller") {
    return NodeReader::refuse(fmt::format(
        "keep_aspect_ratio_policy {}; expected stretch, not_larger or not_smaller", policy));
  }
  keep_aspect(op, input, axes, policy == "not_larger");
  return {};
}

Result<void> read_extents(const NodeReader& node, Resize& op, std::span<const int> axes) {
  op.sizes = node.shape(0);
  op.scales.assign(op.sizes.size(), 1);
  const auto sizes = numbers_for(node, 3, "sizes", axes.size());
  if (!sizes) return std::unexpected(sizes.error());
  if (!sizes->empty()) return set_sizes(node, op, axes, *sizes);
  const auto scales = numbers_for(node, 2, "scales", axes.size());
  if (!scales) return std::unexpected(scales.error());
  if (scales->empty()) return NodeReader::refuse("neither scales nor sizes; expected one of them");
  return set_scales(op, node.shape(0), axes, *scales);
}

Result<void> read_roi(const NodeReader& node, Resize& op, std::span<const int> axes) {
  if (op.coordinates != ResizeCoordinates::crop_and_resize) return {};
  const auto roi = numbers_for(node, 1, "roi", 2 * axes.size());
  if (!roi) return std::unexpected(roi.error());
  if (roi->empty()) return NodeReader::refuse("tf_crop_and_resize without roi");
  const std::size_t rank = op.sizes.size();
  op.roi.assign(rank, 0);
  op.roi.resize(2 * rank, 1);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    op.roi[static_cast<std::size_t>(axes[i])] = (*roi)[i];
    op.roi[rank + static_cast<std::size_t>(axes[i])] = (*roi)[axes.size() + i];
  }
  return {};
}

Values translate_resize(const NodeReader& node) {
  if (auto checked = node.check_inputs(1, 4); !checked) return std::unexpected(checked.error());
  Resize op;
  if (auto read = read_words(node, op); !read) return std::unexpected(read.error());
  const Result<std::vector<int>> axes = resized_axes(node);
  if (!axes) return std::unexpected(axes.error());
  if (auto read = read_extents(node, op, *axes); !read) return std::unexpected(read.error());
  if (auto read = read_roi(node, op, *axes); !read) return std::unexpected(read.error());
  return one(node.builder().add(std::move(op), {node.input(0)}));
}

constexpr std::array<Translation, 10> kTranslations{
    {{"AveragePool", translate_average_pool},
     {"Conv", translate_conv},
     {"ConvTranspose", translate_conv_transpose},
     {"GlobalAveragePool", translate_global_average_pool},
     {"GlobalLpPool", translate_global_lp_pool},
     {"GlobalMaxPool", translate_global_max_pool},
     {"GridSample", translate_grid_sample},
     {"LpPool", translate_lp_pool},
     {"MaxPool", translate_max_pool},
     {"Resize", translate_resize}}};

}  // namespace

Result<ValueId> add_conv(const NodeReader& node, std::vector<ValueId> inputs) {
  if (auto checked = check_image(node); !checked) return std::unexpected(checked.error());
  const Result<AutoPad> mode = auto_pad_of(node);
  if (!mode) return std::unexpected(mode.error());
  Result<Sizes> kernel = kernel_of(node, node.builder().shape(inputs[1]));
  if (!kernel) return std::unexpected(std::move(kernel).error());
  Result<Window> window = window_of(node, std::move(*kernel));
  if (!window) return std::unexpected(std::move(window).error());
  apply_auto_pad(*window, *mode, spatial(node.shape(0)));
  return node.builder().add(Conv{std::move(*window), node.integer("group", 1)}, std::move(inputs));
}

std::span<const Translation> convolution_translations() {
  return kTranslations;
}

}  // namespace takt::graph
