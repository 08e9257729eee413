// SPDX-License-Identifier: Apache-2.0
#include "graph/translate_layout.h"

#include "graph/composition.h"
#include "graph/constants.h"
#include "graph/infer_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace takt::graph {

using takt::to_string;  // of shapes

Result<void> check_made(const Shape& shape) {
  const Result<std::size_t> count = element_count(shape);
  if (!count) return std::unexpected(count.error());
  if (std::cmp_less_equal(*count, kMadeElementsMax)) return {};
  return NodeReader::refuse(fmt::format(
      "it makes {} elements of a few numbers; at most {} are made", *count, kMadeElementsMax));
}

Result<std::vector<int>> distinct_axes(const NodeReader& node, std::span<const std::int64_t> axes,
                                       int rank) {
  std::vector<int> result;
  if (std::cmp_greater(axes.size(), rank)) {
    return NodeReader::refuse(fmt::format("{} axes of {} dimensions", axes.size(), rank));
  }
  for (const std::int64_t written : axes) {
    const Result<int> axis = node.axis(written, rank);
    if (!axis) return std::unexpected(axis.error());
    if (std::ranges::find(result, *axis) != result.end()) {
      return NodeReader::refuse(fmt::format("axis {} is given twice", *axis));
    }
    result.push_back(*axis);
  }
  return result;
}

namespace {

constexpr std::size_t kAnyNumber = std::numeric_limits<std::size_t>::max();

Values reshape_to(const NodeReader& node, Shape shape) {
  Composition graph(node.builder());
  return graph.finish({graph.reshape(node.input(0), std::move(shape))});
}

// The dimension that is left open, from how many elements the others leave.
Result<void> fill_open_dimension(Shape& shape, const Shape& from) {
  const auto open = std::ranges::find(shape, -1);
  if (open == shape.end()) return {};
  *open = 1;
  const Result<std::size_t> known = element_count(shape);
  if (!known) return std::unexpected(known.error());
  const Result<std::size_t> all = element_count(from);
  if (!all) return std::unexpected(all.error());
  const bool divides = *known != 0 && *all % *known == 0;
  if (divides) *open = static_cast<std::int64_t>(*all / *known);
  if (divides && std::ranges::find(shape, -1) == shape.end()) return {};
  *open = -1;
  return NodeReader::refuse(fmt::format("{} can't become {}", to_string(from), to_string(shape)));
}

Values reshape(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(2, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  Result<Shape> shape = node.integers_of(1);
  if (!shape) return std::unexpected(std::move(shape).error());
  const Shape& from = node.shape(0);
  const bool keeps_zeros = node.integer("allowzero", 0) != 0;
  for (std::size_t i = 0; !keeps_zeros && i < shape->size(); ++i) {
    if ((*shape)[i] != 0) continue;
    if (i >= from.size()) {
      return NodeReader::refuse(fmt::format("{} has no dimension {}, which the shape {} asks for",
                                            to_string(from), i, to_string(*shape)));
    }
    (*shape)[i] = from[i];
  }
  if (Result<void> filled = fill_open_dimension(*shape, from); !filled) {
    return std::unexpected(std::move(filled).error());
  }
  return reshape_to(node, std::move(*shape));
}

Values flatten(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 1); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Shape& from = node.shape(0);
  const std::int64_t written = node.integer("axis", 1);
  const Result<int> axis =
      written == node.rank(0) ? Result<int>(node.rank(0)) : node.axis(written, node.rank(0));
  if (!axis) return std::unexpected(axis.error());
  const auto rows = std::span(from).first(static_cast<std::size_t>(*axis));
  return reshape_to(node, {product(rows), product(std::span(from).subspan(rows.size()))});
}

// The axes that Squeeze names, or all of size 1.
Result<std::vector<int>> squeezed_axes(const NodeReader& node) {
  const Shape& shape = node.shape(0);
  if (node.has_input(1) || node.has("axes")) {
    const Result<std::vector<std::int64_t>> written = node.integers_of("axes", 1);
    if (!written) return std::unexpected(written.error());
    return distinct_axes(node, *written, node.rank(0));
  }
  std::vector<int> axes;
  for (int i = 0; i < node.rank(0); ++i) {
    if (shape[static_cast<std::size_t>(i)] == 1) axes.push_back(i);
  }
  return axes;
}

Values squeeze(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Result<std::vector<int>> axes = squeezed_axes(node);
  if (!axes) return std::unexpected(axes.error());
  const Shape& shape = node.shape(0);
  for (const int axis : *axes) {
    if (shape[static_cast<std::size_t>(axis)] == 1) continue;
    return NodeReader::refuse(
        fmt::format("dimension {} of {} isn't 1 and can't be squeezed", axis, to_string(shape)));
  }
  Composition graph(node.builder());
  return graph.finish({graph.squeeze(node.input(0), *axes)});
}

constexpr std::size_t kAddedMax = 16;  // dimensions; no tensor may have more

Values unsqueeze(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Result<std::vector<std::int64_t>> written = node.integers_of("axes", 1);
  if (!written) return std::unexpected(written.error());
  if (written->size() > kAddedMax) {
    return NodeReader::refuse(fmt::format("it adds {} dimensions", written->size()));
  }
  Result<std::vector<int>> axes =
      distinct_axes(node, *written, node.rank(0) + static_cast<int>(written->size()));
  if (!axes) return std::unexpected(std::move(axes).error());
  std::ranges::sort(*axes);
  Shape shape = node.shape(0);
  for (const int axis : *axes) shape.insert(shape.begin() + axis, 1);
  return reshape_to(node, std::move(shape));
}

Values transpose(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 1); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const std::vector<std::int64_t> written = node.integers("perm");
  std::vector<int> permutation = first_axes(node.rank(0));
  std::ranges::reverse(permutation);
  if (!written.empty()) {
    Result<std::vector<int>> axes = distinct_axes(node, written, node.rank(0));
    if (!axes) return std::unexpected(std::move(axes).error());
    permutation = std::move(*axes);
  }
  if (std::cmp_not_equal(permutation.size(), node.rank(0))) {
    return NodeReader::refuse(fmt::format("attribute 'perm' has {} dimensions, but the input is {}",
                                          permutation.size(), to_string(node.type(0))));
  }
  Composition graph(node.builder());
  return graph.finish({graph.transpose(node.input(0), std::move(permutation))});
}

Values expand(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(2, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Result<Shape> asked = node.integers_of(1);
  if (!asked) return std::unexpected(asked.error());
  if (std::ranges::any_of(*asked, [](std::int64_t size) { return size < 0; })) {
    return NodeReader::refuse(fmt::format("it expands to {}", to_string(*asked)));
  }
  Result<Shape> shape = broadcast(node.shape(0), *asked);
  if (!shape) return std::unexpected(std::move(shape).error());
  Composition graph(node.builder());
  return graph.finish({graph.expand(node.input(0), std::move(*shape))});
}

// A dimension of d elements repeated r times is expanded as [r, d] and joined again.
Values tile(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(2, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Result<Shape> repeats = node.integers_of(1);
  if (!repeats) return std::unexpected(repeats.error());
  const Shape& shape = node.shape(0);
  if (repeats->size() != shape.size() ||
      std::ranges::any_of(*repeats, [](std::int64_t times) { return times < 0; })) {
    return NodeReader::refuse(
        fmt::format("it repeats {} times in {}", to_string(*repeats), to_string(node.type(0))));
  }
  Shape split;
  Shape expanded;
  Shape joined;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::int64_t times = (*repeats)[i];
    if (times > kDimensionMax || shape[i] > kDimensionMax) {
      return NodeReader::refuse(fmt::format("it repeats {} elements {} times", shape[i], times));
    }
    if (times != 1 && shape[i] != 1) {
      split.push_back(1);
      expanded.push_back(times);
    }
    split.push_back(shape[i]);
    expanded.push_back(shape[i] == 1 ? times : shape[i]);
    joined.push_back(shape[i] * times);
  }
  Composition graph(node.builder());
  const ValueId apart =
      graph.expand(graph.reshape(node.input(0), std::move(split)), std::move(expanded));
  return graph.finish({graph.reshape(apart, std::move(joined))});
}

Values concat(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, kAnyNumber); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  if (Result<void> checked = node.check_inputs(node.input_count(), kAnyNumber); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  if (!node.has("axis")) return NodeReader::refuse("attribute 'axis' is missing");
  const Result<int> axis = node.axis(node.integer("axis", 0), node.rank(0));
  if (!axis) return std::unexpected(axis.error());
  std::vector<ValueId> inputs;
  for (std::size_t i = 0; i < node.input_count(); ++i) inputs.push_back(node.input(i));
  if (inputs.size() == 1) return inputs;
  return node.builder().add_all(Concat{*axis}, std::move(inputs));
}

// What is known of the indices is checked now: later nobody would look.
Result<void> check_indices(const NodeReader& node, std::int64_t size) {
  const Constant* indices = node.builder().constant(node.input(1));
  if (indices == nullptr) return {};
  for (const std::int64_t index : integers_in(*indices)) {
    if (index >= -size && index < size) continue;
    return NodeReader::refuse(fmt::format("index {} of {} elements", index, size));
  }
  return {};
}

// The same of rows of indices, each number for a dimension of its own.
Result<void> check_rows_of_indices(const NodeReader& node, std::int64_t batch_dims) {
  const Constant* indices = node.builder().constant(node.input(1));
  if (indices == nullptr || indices->type.shape.back() == 0) return {};
  const Shape& data = node.shape(0);
  const std::int64_t width = indices->type.shape.back();
  if (width > static_cast<std::int64_t>(data.size()) - batch_dims)
    return {};  // infer_types says so
  const std::vector<std::int64_t> numbers = integers_in(*indices);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto dim = static_cast<std::size_t>(batch_dims + static_cast<std::int64_t>(i) % width);
    if (numbers[i] >= -data[dim] && numbers[i] < data[dim]) continue;
    return NodeReader::refuse(fmt::format("index {} of {} elements", numbers[i], data[dim]));
  }
  return {};
}

// Gather and GatherElements.
template <typename Op>
Values gather(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(2, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Result<int> axis = node.axis(node.integer("axis", 0), node.rank(0));
  if (!axis) return std::unexpected(axis.error());
  const std::int64_t size = node.shape(0)[static_cast<std::size_t>(*axis)];
  if (Result<void> checked = check_indices(node, size); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return node.builder().add_all(Op{*axis}, {node.input(0), node.input(1)});
}

Values gather_nd(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(2, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const std::int64_t batch_dims = node.integer("batch_dims", 0);
  if (batch_dims < 0 || batch_dims >= std::min(node.rank(0), node.rank(1))) {
    return NodeReader::refuse(
        fmt::format("batch_dims is {}; data and indices have {} and {} dimensions", batch_dims,
                    node.rank(0), node.rank(1)));
  }
  if (Result<void> checked = check_rows_of_indices(node, batch_dims); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return node.builder().add_all(GatherNd{static_cast<int>(batch_dims)},
                                {node.input(0), node.input(1)});
}

Values shape(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 1); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  if (node.builder().rows_vary(node.input(0))) return NodeReader::refuse(kRowsVary);
  const Shape& all = node.shape(0);
  const auto rank = static_cast<std::int64_t>(all.size());
  const auto place = [rank](std::int64_t written) {
    return std::clamp<std::int64_t>(written < 0 ? written + rank : written, 0, rank);
  };
  const std::int64_t start = place(node.integer("start", 0));
  const std::int64_t end = std::max(start, place(node.integer("end", rank)));
  const Shape part(all.begin() + start, all.begin() + end);
  const ValueId sizes =
      node.builder().add_constant(constant_of(DataType::int64, {end - start}, part));
  return std::vector{sizes};
}

Values size(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 1); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  if (node.builder().rows_vary(node.input(0))) return NodeReader::refuse(kRowsVary);
  const std::int64_t count = product(node.shape(0));
  const ValueId number =
      node.builder().add_constant(constant_of(DataType::int64, {}, std::span(&count, 1)));
  return std::vector{number};
}

// Its square is a number of channels.
constexpr std::int64_t kBlockMax = 1 << 15;

// [N, C, H, W], of which blocks may be made.
Result<Shape> image_shape(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 1); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const std::int64_t block = node.integer("blocksize", 0);
  const auto is_large = [](std::int64_t size) { return size >= kDimensionMax; };
  if (node.rank(0) != 4 || block < 1 || block > kBlockMax ||
      std::ranges::any_of(node.shape(0), is_large)) {
    return NodeReader::refuse(fmt::format("blocks of {} in {}; expected [N,C,H,W] and 1 to {}",
                                          block, to_string(node.type(0)), kBlockMax));
  }
  return node.shape(0);
}

Values rearrange(const NodeReader& node, Shape apart, std::vector<int> permutation, Shape joined) {
  Composition graph(node.builder());
  const ValueId blocks = graph.reshape(node.input(0), std::move(apart));
  return graph.finish(
      {graph.reshape(graph.transpose(blocks, std::move(permutation)), std::move(joined))});
}

Values depth_to_space(const NodeReader& node) {
  const Result<Shape> from = image_shape(node);
  if (!from) return std::unexpected(from.error());
  const std::int64_t block = node.integer("blocksize", 0);
  const std::int64_t n = (*from)[0], h = (*from)[2], w = (*from)[3];
  if ((*from)[1] % (block * block) != 0) {
    return NodeReader::refuse(
        fmt::format("{} channels aren't blocks of {} x {}", (*from)[1], block, block));
  }
  const std::int64_t c = (*from)[1] / (block * block);
  const std::string mode = node.text("mode", "DCR");
  Shape joined{n, c, h * block, w * block};
  if (mode == "DCR") {
    return rearrange(node, {n, block, block, c, h, w}, {0, 3, 4, 1, 5, 2}, std::move(joined));
  }
  if (mode == "CRD") {
    return rearrange(node, {n, c, block, block, h, w}, {0, 1, 4, 2, 5, 3}, std::move(joined));
  }
  return NodeReader::refuse(fmt::format("attribute 'mode' is '{}'; expected DCR or CRD", mode));
}

Values space_to_depth(const NodeReader& node) {
  const Result<Shape> from = image_shape(node);
  if (!from) return std::unexpected(from.error());
  const std::int64_t block = node.integer("blocksize", 0);
  if ((*from)[2] % block != 0 || (*from)[3] % block != 0) {
    return NodeReader::refuse(
        fmt::format("{} has no whole blocks of {} x {}", to_string(*from), block, block));
  }
  const std::int64_t n = (*from)[0], c = (*from)[1], h = (*from)[2] / block, w = (*from)[3] / block;
  return rearrange(node, {n, c, h, block, w, block}, {0, 3, 5, 1, 2, 4},
                   {n, c * block * block, h, w});
}

constexpr Translation kTranslations[] = {
    {"Compress", translate_compress},
    {"Concat", concat},
    {"Constant", translate_constant},
    {"ConstantOfShape", translate_constant_of_shape},
    {"DepthToSpace", depth_to_space},
    {"Expand", expand},
    {"EyeLike", translate_eye_like},
    {"Flatten", flatten},
    {"Gather", gather<Gather>},
    {"GatherElements", gather<GatherElements>},
    {"GatherND", gather_nd},
    {"NonZero", translate_non_zero},
    {"OneHot", translate_one_hot},
    {"Pad", translate_pad},
    {"Range", translate_range},
    {"Reshape", reshape},
    {"ScatterElements", translate_scatter_elements},
    {"ScatterND", translate_scatter_nd},
    {"Shape", shape},
    {"Size", size},
    {"Slice", translate_slice},
    {"SpaceToDepth", space_to_depth},
    {"Split", translate_split},
    {"Squeeze", squeeze},
    {"Tile", tile},
    {"Transpose", transpose},
    {"Trilu", translate_trilu},
    {"Unsqueeze", unsqueeze},
};

}  // namespace

std::span<const Translation> layout_translations() {
  return kTranslations;
}

}  // namespace takt::graph
