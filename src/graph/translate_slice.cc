// SPDX-License-Identifier: Apache-2.0
// Slice, Split and Pad.
#include "graph/composition.h"
#include "graph/infer_types.h"
#include "graph/translate_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace takt::graph {

using takt::to_string;  // of shapes
namespace {

// All of a tensor, to be narrowed dimension by dimension.
Slice whole(const Shape& shape) {
  return {std::vector<std::int64_t>(shape.size(), 0), std::vector<std::int64_t>(shape.size(), 1),
          shape};
}

// One dimension of `length` elements, as the operator's specification rounds and clamps it.
void narrow(Slice& slice, std::size_t axis, std::int64_t start, std::int64_t end,
            std::int64_t step) {
  const std::int64_t length = slice.sizes[axis];
  if (start < 0) start += length;
  if (end < 0) end += length;
  // A step beyond the length takes the first element alone, as does the length itself.
  step = std::clamp(step, -std::max<std::int64_t>(length, 1), std::max<std::int64_t>(length, 1));
  std::int64_t size = 0;
  if (step > 0) {
    start = std::clamp<std::int64_t>(start, 0, length);
    end = std::clamp<std::int64_t>(end, 0, length);
    size = end > start ? (end - start - 1) / step + 1 : 0;
  } else if (length > 0) {
    start = std::clamp<std::int64_t>(start, 0, length - 1);
    end = std::clamp<std::int64_t>(end, -1, length - 1);
    size = start > end ? (start - end - 1) / -step + 1 : 0;
  }
  slice.starts[axis] = size > 0 ? start : 0;
  slice.steps[axis] = size > 1 ? step : 1;
  slice.sizes[axis] = size;
}

ValueId add_slice(Composition& graph, ValueId x, Slice slice) {
  const auto forward = [](std::int64_t step) { return step == 1; };
  if (slice.sizes == graph.shape(x) && std::ranges::all_of(slice.steps, forward)) return x;
  return graph.add(std::move(slice), {x});
}

// `axes` as input `index` says, or the first `count`.
Result<std::vector<int>> axes_of(const NodeReader& node, std::size_t index, std::size_t count) {
  std::vector<std::int64_t> written(count);
  std::iota(written.begin(), written.end(), 0);
  if (node.has_input(index)) {
    Result<std::vector<std::int64_t>> given = node.integers_of(index);
    if (!given) return std::unexpected(std::move(given).error());
    written = std::move(*given);
  }
  return distinct_axes(node, written, node.rank(0));
}

Result<std::vector<std::int64_t>> steps_of(const NodeReader& node, std::size_t count) {
  if (!node.has_input(4)) return std::vector<std::int64_t>(count, 1);
  Result<std::vector<std::int64_t>> steps = node.integers_of(4);
  if (steps && std::ranges::find(*steps, 0) != steps->end()) {
    return NodeReader::refuse("a step is 0");
  }
  return steps;
}

}  // namespace

Values translate_slice(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(3, 5); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Result<std::vector<std::int64_t>> starts = node.integers_of(1);
  if (!starts) return std::unexpected(starts.error());
  const Result<std::vector<std::int64_t>> ends = node.integers_of(2);
  if (!ends) return std::unexpected(ends.error());
  const Result<std::vector<int>> axes = axes_of(node, 3, starts->size());
  if (!axes) return std::unexpected(axes.error());
  const Result<std::vector<std::int64_t>> steps = steps_of(node, starts->size());
  if (!steps) return std::unexpected(steps.error());
  const std::size_t count = starts->size();
  if (ends->size() != count || axes->size() != count || steps->size() != count) {
    return NodeReader::refuse(
        fmt::format("{} starts, {} ends, {} axes and {} steps; expected as many", count,
                    ends->size(), axes->size(), steps->size()));
  }
  Slice slice = whole(node.shape(0));
  for (std::size_t i = 0; i < count; ++i) {
    narrow(slice, static_cast<std::size_t>((*axes)[i]), (*starts)[i], (*ends)[i], (*steps)[i]);
  }
  Composition graph(node.builder());
  return graph.finish({add_slice(graph, node.input(0), std::move(slice))});
}

namespace {

// Sizes of Split's parts: equal where the file gives none, the last one smaller since opset 18.
Result<std::vector<std::int64_t>> part_sizes(const NodeReader& node, std::int64_t length) {
  Result<std::vector<std::int64_t>> sizes = node.integers_of("split", 1);
  const bool given = node.has_input(1) || node.has("split");
  if (!sizes || given) return sizes;
  const std::int64_t parts =
      node.integer("num_outputs", static_cast<std::int64_t>(node.declared_output_count()));
  if (parts < 1 || parts > kDimensionMax || (node.opset() < 18 && length % parts != 0)) {
    return NodeReader::refuse(
        fmt::format("{} elements can't be split into {} parts", length, parts));
  }
  const std::int64_t size = (length + parts - 1) / parts;
  sizes->clear();
  std::int64_t rest = length;
  for (std::size_t i = 0; std::cmp_less(i, parts) && i < node.declared_output_count(); ++i) {
    sizes->push_back(std::min(size, rest));
    rest -= sizes->back();
  }
  return sizes;
}

Result<void> check_parts(const NodeReader& node, std::span<const std::int64_t> sizes,
                         std::int64_t length) {
  std::int64_t rest = length;
  bool fits = sizes.size() == node.declared_output_count();
  for (const std::int64_t size : sizes) {
    fits = fits && size >= 0 && size <= rest;
    if (fits) rest -= size;
  }
  if (fits && rest == 0) return {};
  return NodeReader::refuse(fmt::format("{} elements can't be split into {} for {} outputs", length,
                                        to_string(Shape(sizes.begin(), sizes.end())),
                                        node.declared_output_count()));
}

}  // namespace

Values translate_split(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(1, 2); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  const Result<int> axis = node.axis(node.integer("axis", 0), node.rank(0));
  if (!axis) return std::unexpected(axis.error());
  const Shape shape = node.shape(0);
  const auto dimension = static_cast<std::size_t>(*axis);
  const Result<std::vector<std::int64_t>> sizes = part_sizes(node, shape[dimension]);
  if (!sizes) return std::unexpected(sizes.error());
  if (Result<void> checked = check_parts(node, *sizes, shape[dimension]); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  Composition graph(node.builder());
  std::vector<ValueId> parts;
  std::int64_t start = 0;
  for (const std::int64_t size : *sizes) {
    Slice slice = whole(shape);
    slice.starts[dimension] = size > 0 ? start : 0;
    slice.sizes[dimension] = size;
    parts.push_back(add_slice(graph, node.input(0), std::move(slice)));
    start += size;
  }
  return graph.finish(std::move(parts));
}

namespace {

Result<PadMode> pad_mode(const NodeReader& node) {
  const std::string mode = node.text("mode", "constant");
  if (mode == "constant") return PadMode::constant;
  if (mode == "reflect") return PadMode::reflect;
  if (mode == "edge") return PadMode::edge;
  if (mode == "wrap") return PadMode::wrap;
  return NodeReader::refuse(
      fmt::format("attribute 'mode' is '{}'; expected constant, reflect, edge or wrap", mode));
}

Result<double> pad_value(const NodeReader& node) {
  if (!node.has_input(2)) return 0.0;
  const Result<std::vector<double>> value = node.numbers_of(2);
  if (!value) return std::unexpected(value.error());
  if (value->size() == 1) return value->front();
  return NodeReader::refuse(fmt::format("it pads with {} values; expected one", value->size()));
}

// In the order of the dimensions; as the file has them, negative ones too.
Result<Pad> read_pads(const NodeReader& node) {
  const Result<std::vector<std::int64_t>> pads = node.integers_of(1);
  if (!pads) return std::unexpected(pads.error());
  const auto rank = static_cast<std::size_t>(node.rank(0));
  const Result<std::vector<int>> axes = axes_of(node, 3, rank);
  if (!axes) return std::unexpected(axes.error());
  if (pads->size() != 2 * axes->size()) {
    return NodeReader::refuse(
        fmt::format("{} pads for {} axes; expected two each", pads->size(), axes->size()));
  }
  Pad pad{std::vector<std::int64_t>(rank, 0), std::vector<std::int64_t>(rank, 0), {}, 0};
  for (std::size_t i = 0; i < axes->size(); ++i) {
    const auto axis = static_cast<std::size_t>((*axes)[i]);
    pad.begins[axis] = (*pads)[i];
    pad.ends[axis] = (*pads)[axes->size() + i];
  }
  return pad;
}

// Negative pads take elements away, which is left to a slice.
Result<Slice> cut_negative(Pad& pad, const Shape& shape) {
  Slice slice = whole(shape);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::int64_t before = std::min<std::int64_t>(pad.begins[i], 0);
    const std::int64_t behind = std::min<std::int64_t>(pad.ends[i], 0);
    if (before < -shape[i] || behind < -shape[i] - before) {
      return NodeReader::refuse(
          fmt::format("pads of {} and {} for {} elements", pad.begins[i], pad.ends[i], shape[i]));
    }
    slice.sizes[i] += before + behind;
    slice.starts[i] = slice.sizes[i] > 0 ? -before : 0;
    pad.begins[i] -= before;
    pad.ends[i] -= behind;
  }
  return slice;
}

}  // namespace

Values translate_pad(const NodeReader& node) {
  if (Result<void> checked = node.check_inputs(2, 4); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  Result<Pad> pad = read_pads(node);
  if (!pad) return std::unexpected(std::move(pad).error());
  const Result<PadMode> mode = pad_mode(node);
  if (!mode) return std::unexpected(mode.error());
  const Result<double> value = pad_value(node);
  if (!value) return std::unexpected(value.error());
  pad->mode = *mode;
  pad->value = *value;
  Result<Slice> slice = cut_negative(*pad, node.shape(0));
  if (!slice) return std::unexpected(std::move(slice).error());
  Composition graph(node.builder());
  const ValueId cut = add_slice(graph, node.input(0), std::move(*slice));
  const auto nothing = [](std::int64_t size) { return size == 0; };
  const bool pads =
      !std::ranges::all_of(pad->begins, nothing) || !std::ranges::all_of(pad->ends, nothing);
  return graph.finish({pads ? graph.add(std::move(*pad), {cut}) : cut});
}

}  // namespace takt::graph
