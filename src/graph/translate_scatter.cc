// SPDX-License-Identifier: Apache-2.0
// ScatterND and ScatterElements, whose indices must be known. Updates of a box are joined with what lies around it;
// otherwise data is rows, of which some are replaced, and a Gather takes each row of the result from where it is.
#include "graph/composition.h"
#include "graph/constants.h"
#include "graph/translate_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <utility>

namespace takt::graph {

using takt::to_string;  // of shapes

namespace {

using Rows = std::vector<std::int64_t>;

// Data is rows of `width` elements, which the dimensions `dims` count. Update i, one row, goes to row targets[i].
struct Scatter {
  Shape dims;
  std::int64_t width = 0;
  Rows targets;

  [[nodiscard]] std::int64_t count() const { return product(dims); }
};

// Rows starts[d] to starts[d] + sizes[d] of each dimension.
struct Box {
  Shape starts, sizes;
};

struct Reduction {
  std::string_view name;
  BinaryKind kind;
};
constexpr std::array<Reduction, 4> kReductions{{{"add", BinaryKind::add},
                                                {"max", BinaryKind::maximum},
                                                {"min", BinaryKind::minimum},
                                                {"mul", BinaryKind::mul}}};

// Updates of the same row are reduced one after the other.
constexpr std::size_t kUpdatesOfRowMax = 16;

// None: updates replace what is there.
Result<std::optional<BinaryKind>> reduction_of(const NodeReader& node) {
  const std::string name = node.text("reduction", "none");
  if (name == "none") return std::nullopt;
  const auto known = std::ranges::find(kReductions, name, &Reduction::name);
  if (known != kReductions.end()) return known->kind;
  return NodeReader::refuse(
      fmt::format("attribute 'reduction' is '{}'; expected none, add, mul, max or min", name));
}

Result<std::int64_t> checked_index(std::int64_t index, std::int64_t size) {
  if (index >= -size && index < size) return index < 0 ? index + size : index;
  return NodeReader::refuse(fmt::format("index {} of {} elements", index, size));
}

std::unexpected<Error> refuse_shapes(const NodeReader& node) {
  return NodeReader::refuse(fmt::format("indices {} and updates {} don't fit data {}",
                                        to_string(node.type(1)), to_string(node.type(2)),
                                        to_string(node.type(0))));
}

// indices [...,k] give the first k dimensions of data; updates are [..., the other dimensions of data].
Result<Scatter> scatter_nd(const NodeReader& node) {
  const Shape& data = node.shape(0);
  const Shape& indices = node.shape(1);
  const auto width = indices.empty() ? data.size() + 1 : static_cast<std::size_t>(indices.back());
  if (width > data.size()) return refuse_shapes(node);
  Shape updates(indices.begin(), indices.end() - 1);
  const auto row = std::span(data).subspan(width);
  updates.insert(updates.end(), row.begin(), row.end());
  if (updates != node.shape(2)) return refuse_shapes(node);
  const Result<Rows> numbers = node.integers_of(1);
  if (!numbers) return std::unexpected(numbers.error());
  const auto counted = data.begin() + static_cast<std::ptrdiff_t>(width);
  Scatter made{Shape(data.begin(), counted), product(row), {}};
  const std::int64_t count = product(std::span(indices).first(indices.size() - 1));
  if (auto checked = check_made({count}); !checked) return std::unexpected(checked.error());
  made.targets.resize(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < made.targets.size(); ++i) {
    for (std::size_t d = 0; d < width; ++d) {
      const Result<std::int64_t> index = checked_index((*numbers)[i * width + d], data[d]);
      if (!index) return std::unexpected(index.error());
      made.targets[i] = made.targets[i] * data[d] + *index;
    }
  }
  return made;
}

// An update for each index, whose place along the axis the index says.
Result<Scatter> scatter_elements(const NodeReader& node) {
  const Shape& data = node.shape(0);
  const Shape& indices = node.shape(1);
  const Result<int> written = node.axis(node.integer("axis", 0), node.rank(0));
  if (!written) return std::unexpected(written.error());
  const auto axis = static_cast<std::size_t>(*written);
  if (indices != node.shape(2) || indices.size() != data.size()) return refuse_shapes(node);
  for (std::size_t d = 0; d < data.size(); ++d) {
    if (d != axis && indices[d] > data[d]) return refuse_shapes(node);
  }
  const Result<Rows> numbers = node.integers_of(1);
  if (!numbers) return std::unexpected(numbers.error());
  Scatter made{data, 1, {}};
  Strides strides = dense_strides(data);
  const std::int64_t step = std::exchange(strides[axis], 0);
  auto number = numbers->begin();
  std::optional<Error> error;
  for_each_row<1>(indices, {strides}, [&](const Row<1>& row) {
    for (std::int64_t i = 0; i < row.length && !error; ++i) {
      const Result<std::int64_t> index = checked_index(*number++, data[axis]);
      if (!index)
        error = index.error();
      else
        made.targets.push_back(row.offsets[0] + i * row.steps[0] + *index * step);
    }
  });
  if (error) return std::unexpected(*std::move(error));
  return made;
}

ValueId rows_of(const NodeReader& node, Composition& made, ValueId data, const Rows& rows) {
  Constant indices = constant_of(DataType::int64, {static_cast<std::int64_t>(rows.size())}, rows);
  return made.add(Gather{0}, {data, node.builder().add_constant(std::move(indices))});
}

// Data has `count` rows. Of several updates of a row the last one stays.
ValueId replace(const NodeReader& node, Composition& made, ValueId data, ValueId updates,
                const Rows& targets, std::int64_t count) {
  Rows sources(static_cast<std::size_t>(count));
  std::iota(sources.begin(), sources.end(), 0);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    sources[static_cast<std::size_t>(targets[i])] = count + static_cast<std::int64_t>(i);
  }
  return rows_of(node, made, made.add(Concat{0}, {data, updates}), sources);
}

// In each of these no row has more than one update.
std::vector<Rows> rounds_of(const Rows& targets) {
  std::vector<Rows> rounds;
  std::map<std::int64_t, std::size_t> taken;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const std::size_t round = taken[targets[i]]++;
    if (round == rounds.size()) rounds.emplace_back();
    rounds[round].push_back(static_cast<std::int64_t>(i));
  }
  return rounds;
}

ValueId reduce(const NodeReader& node, Composition& made, ValueId data, ValueId updates,
               const Scatter& scatter, BinaryKind kind) {
  const std::vector<Rows> rounds = rounds_of(scatter.targets);
  if (rounds.size() > kUpdatesOfRowMax) {
    made.refuse(fmt::format("{} updates of the same place; at most {} are reduced; {}",
                            rounds.size(), kUpdatesOfRowMax, kOpenvinoAdvice));
    return data;
  }
  for (const Rows& chosen : rounds) {
    Rows targets;
    for (const std::int64_t i : chosen) {
      targets.push_back(scatter.targets[static_cast<std::size_t>(i)]);
    }
    const ValueId there = rows_of(node, made, data, targets);
    const ValueId reduced = made.binary(kind, there, rows_of(node, made, updates, chosen));
    data = replace(node, made, data, reduced, targets, scatter.count());
  }
  return data;
}

// Where the updates are a box, row by row, as an assigned slice is.
std::optional<Box> box_of(const Scatter& scatter) {
  const Strides strides = dense_strides(scatter.dims);
  const std::int64_t first = scatter.targets.front();
  Box box;
  for (std::size_t d = 0; d < strides.size(); ++d) {
    box.starts.push_back(first / strides[d] % scatter.dims[d]);
    const std::int64_t last = scatter.targets.back() / strides[d] % scatter.dims[d];
    if (last < box.starts[d]) return std::nullopt;
    box.sizes.push_back(last - box.starts[d] + 1);
  }
  if (std::cmp_not_equal(product(box.sizes), scatter.targets.size())) return std::nullopt;
  bool same = true;
  auto target = scatter.targets.begin();
  for_each_row<1>(box.sizes, {strides}, [&](const Row<1>& row) {
    for (std::int64_t i = 0; i < row.length; ++i) {
      same = *target++ == first + row.offsets[0] + i * row.steps[0] && same;
    }
  });
  return same ? std::optional(box) : std::nullopt;
}

// Data with `updates` in place of the box, from dimension `dim` on.
ValueId assign(Composition& made, ValueId data, ValueId updates, const Box& box, std::size_t dim) {
  if (dim == box.sizes.size() || made.failed()) return updates;
  const std::int64_t begin = box.starts[dim];
  const std::int64_t end = begin + box.sizes[dim];
  const std::int64_t size = made.shape(data)[dim];
  const ValueId within = made.slice(data, dim, begin, end - begin);
  const ValueId assigned = assign(made, within, updates, box, dim + 1);
  std::vector<ValueId> parts;
  if (begin > 0) parts.push_back(made.slice(data, dim, 0, begin));
  parts.push_back(assigned);
  if (end < size) parts.push_back(made.slice(data, dim, end, size - end));
  return parts.size() == 1 ? assigned : made.add(Concat{static_cast<int>(dim)}, std::move(parts));
}

ValueId assign_box(const NodeReader& node, Composition& made, const Box& box,
                   std::optional<BinaryKind> reduction) {
  const ValueId data = node.input(0);
  Shape shape = box.sizes;
  const Shape& whole = node.shape(0);
  shape.insert(shape.end(), whole.begin() + static_cast<std::ptrdiff_t>(shape.size()), whole.end());
  ValueId updates = made.reshape(node.input(2), std::move(shape));
  if (reduction) {
    ValueId there = data;
    for (std::size_t d = 0; d < box.sizes.size(); ++d) {
      there = made.slice(there, d, box.starts[d], box.sizes[d]);
    }
    updates = made.binary(*reduction, there, updates);
  }
  return assign(made, data, updates, box, 0);
}

ValueId scatter_rows(const NodeReader& node, Composition& made, const Scatter& scatter,
                     std::optional<BinaryKind> reduction) {
  const auto updates = static_cast<std::int64_t>(scatter.targets.size());
  const ValueId data = made.reshape(node.input(0), {scatter.count(), scatter.width});
  const ValueId rows = made.reshape(node.input(2), {updates, scatter.width});
  const ValueId result = reduction
                             ? reduce(node, made, data, rows, scatter, *reduction)
                             : replace(node, made, data, rows, scatter.targets, scatter.count());
  return made.reshape(result, node.shape(0));
}

Values translate(const NodeReader& node, const Result<Scatter>& scatter) {
  if (!scatter) return std::unexpected(scatter.error());
  const Result<std::optional<BinaryKind>> reduction = reduction_of(node);
  if (!reduction) return std::unexpected(reduction.error());
  Composition made(node.builder());
  if (scatter->targets.empty() || scatter->width == 0) return made.finish({node.input(0)});
  if (const std::optional<Box> box = box_of(*scatter)) {
    return made.finish({assign_box(node, made, *box, *reduction)});
  }
  if (auto checked = check_made({scatter->count()}); !checked) {
    return std::unexpected(checked.error());
  }
  return made.finish({scatter_rows(node, made, *scatter, *reduction)});
}

}  // namespace

Values translate_scatter_nd(const NodeReader& node) {
  if (auto checked = node.check_inputs(3, 3); !checked) return std::unexpected(checked.error());
  return translate(node, scatter_nd(node));
}

Values translate_scatter_elements(const NodeReader& node) {
  if (auto checked = node.check_inputs(3, 3); !checked) return std::unexpected(checked.error());
  return translate(node, scatter_elements(node));
}

}  // namespace takt::graph
