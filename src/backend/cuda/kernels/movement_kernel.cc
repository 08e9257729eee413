// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/movement_kernel.h"

#include "backend/cuda/kernels/index_space.h"
#include "backend/cuda/kernels/pointwise_expressions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace takt::cuda {
namespace {

constexpr std::size_t kWriteBytesMax = 16;  // of one instruction
constexpr std::size_t kReadBytesMax = 32;   // of two, which FP32 takes to become 16 bytes of FP16
constexpr int kWidthMax = 16;
constexpr double kNarrowMax = 2147483647;

bool divides(std::int64_t width, std::span<const std::int64_t> numbers) {
  return std::ranges::all_of(numbers, [width](std::int64_t number) { return number % width == 0; });
}

bool writes_together(const Target& target, int inner, int width) {
  const std::size_t bytes = element_bytes(target.type) * static_cast<std::size_t>(width);
  if (bytes > kWriteBytesMax || target.alignment == 0 || target.alignment % bytes != 0)
    return false;
  if (target.begin % width != 0 || target.shape[static_cast<std::size_t>(inner)] % width != 0) {
    return false;
  }
  for (std::size_t dim = 0; dim < target.shape.size(); ++dim) {
    const bool steps = std::cmp_not_equal(dim, inner) && target.shape[dim] != 1;
    if (steps && target.strides[dim] % width != 0) return false;
  }
  return true;
}

bool reads_together(const Neighbours& neighbours, DataType from, int width) {
  const std::size_t bytes = element_bytes(from) * static_cast<std::size_t>(width);
  return bytes <= kReadBytesMax && neighbours.alignment != 0 && neighbours.alignment % bytes == 0 &&
         divides(width, neighbours.steps);
}

// The dimensions of more than one element, that of the smallest stride first.
std::vector<std::size_t> from_the_innermost(const Target& target) {
  std::vector<std::size_t> order;
  for (std::size_t dim = 0; dim < target.shape.size(); ++dim) {
    if (target.shape[dim] != 1) order.push_back(dim);
  }
  std::ranges::stable_sort(order, {}, [&target](std::size_t dim) { return target.strides[dim]; });
  return order;
}

std::string together_text(const Movement& movement, int width) {
  const Target& target = movement.target;
  std::string text = movement.source;
  const std::string element = converted(movement.from, target.type, "elements.at[k]");
  const std::string load = fmt::format(
      "    const auto elements = *reinterpret_cast<const takt::Elements<{0}, {1}>*>(in + at);\n"
      "#pragma unroll\n    for (int k = 0; k < {1}; ++k) results.at[k] = {2};\n",
      stored_type(movement.from), width, element);
  if (movement.inside.empty()) return text + "  {\n" + load + "  }\n";
  return text + fmt::format(
                    "  if ({}) {{\n{}  }} else {{\n#pragma unroll\n"
                    "    for (int k = 0; k < {}; ++k) results.at[k] = {};\n  }}\n",
                    movement.inside, load, width, movement.fill);
}

std::string one_by_one_text(const Movement& movement, int inner, int width) {
  const std::string element = converted(movement.from, movement.target.type, "in[at]");
  const std::string result =
      movement.inside.empty()
          ? element
          : fmt::format("({}) ? {} : {}", movement.inside, element, movement.fill);
  std::string text = fmt::format("#pragma unroll\n  for (int k = 0; k < {}; ++k) {{\n", width);
  if (width > 1)
    text += fmt::format("    const int first = i{0};\n    {{\n    const int i{0} = first + k;\n",
                        inner);
  text += fmt::format("{}    results.at[k] = {};\n", movement.source, result);
  return text + (width > 1 ? "    }\n  }\n" : "  }\n");
}

}  // namespace

Target target_of(const View& view) {
  return {view.shape, view.strides, 0, view.type, alignment_bytes(view)};
}

int innermost(const Target& target) {
  for (std::size_t dim = 0; dim < target.shape.size(); ++dim) {
    if (target.shape[dim] > 1 && target.strides[dim] == 1) return static_cast<int>(dim);
  }
  return -1;
}

AccessWidth access_width(const Target& target, DataType from,
                         const std::optional<Neighbours>& neighbours) {
  const int inner = innermost(target);
  if (inner < 0) return {};
  int widest = 1;
  for (int width = kWidthMax; width > 1; width /= 2) {
    if (!writes_together(target, inner, width)) continue;
    if (neighbours && reads_together(*neighbours, from, width)) return {width, true};
    widest = std::max(widest, width);
  }
  return {widest, false};
}

std::string offset_text(std::int64_t begin, std::span<const IndexTerm> terms) {
  double largest = std::abs(static_cast<double>(begin));
  for (const IndexTerm& term : terms) {
    largest += std::abs(static_cast<double>(term.stride)) * static_cast<double>(term.size - 1);
  }
  const bool wide = largest > kNarrowMax;
  std::string text = fmt::format("{}{}", begin, wide ? "ll" : "");
  for (const IndexTerm& term : terms) {
    if (term.stride == 0 || term.size == 1) continue;
    text += wide ? fmt::format(" + {} * {}ll", term.index, term.stride)
                 : fmt::format(" + static_cast<int>({}) * {}", term.index, term.stride);
  }
  return text;
}

std::vector<IndexTerm> terms_of(const Shape& shape, std::span<const std::int64_t> strides) {
  std::vector<IndexTerm> terms;
  for (std::size_t dim = 0; dim < shape.size(); ++dim) {
    terms.push_back({fmt::format("i{}", dim), shape[dim], strides[dim]});
  }
  return terms;
}

std::string offset_text(const Target& target) {
  return offset_text(target.begin, terms_of(target.shape, target.strides));
}

std::string index_text(const Target& target, int width, std::string_view counter) {
  std::string text;
  for (std::size_t dim = 0; dim < target.shape.size(); ++dim) {
    if (target.shape[dim] == 1) text += fmt::format("  const int i{} = 0;\n", dim);
  }
  const std::vector<std::size_t> order = from_the_innermost(target);
  std::string rest(counter);
  for (std::size_t place = 0; place < order.size(); ++place) {
    const std::size_t dim = order[place];
    const std::int64_t step = place == 0 ? width : 1;
    const std::int64_t size = target.shape[dim] / step;
    const std::string index =
        place + 1 == order.size() ? rest : fmt::format("({} % {}u)", rest, size);
    text += fmt::format("  const int i{} = static_cast<int>({}{});\n", dim, index,
                        step > 1 ? fmt::format(" * {}u", step) : "");
    if (place + 1 == order.size()) break;
    text += fmt::format("  const unsigned {}{} = {} / {}u;\n", counter, dim, rest, size);
    rest = fmt::format("{}{}", counter, dim);
  }
  return text;
}

std::string thread_text(std::string_view kernel, std::string_view parameters,
                        std::int64_t threads) {
  return fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({0}) {1}({2}) {{\n"
      "  const unsigned t = blockIdx.x * {0}u + threadIdx.x;\n  if (t >= {3}u) return;\n",
      kMovementThreads, kernel, parameters, threads);
}

unsigned movement_blocks(std::int64_t threads) {
  return static_cast<unsigned>((threads + kMovementThreads - 1) / kMovementThreads);
}

std::string converted(DataType from, DataType to, std::string_view element) {
  if (from == to) return std::string(element);
  return stored(to, fmt::format("static_cast<{}>({})", computed_type(to), loaded(from, element)));
}

std::string constant_element(DataType type, double value) {
  if (type == DataType::boolean) return value != 0 ? "1" : "0";
  if (is_floating(type)) return stored(type, literal(type, value));
  return fmt::format("takt::saturate<{}>({})", stored_type(type), literal(DataType::fp64, value));
}

KernelSource movement_kernel(const Movement& movement, const std::string& step) {
  std::string name = kernel_name(step);
  const Target& target = movement.target;
  const auto [width, together] = access_width(target, movement.from, movement.neighbours);
  const std::int64_t threads = product(target.shape) / width;
  std::string parameters = fmt::format("const {}* in", stored_type(movement.from));
  for (const std::string& parameter : movement.parameters) parameters += ", " + parameter;
  parameters += fmt::format(", {}* out", stored_type(target.type));
  std::string text = movement.declarations + thread_text(name, parameters, threads);
  text += index_text(target, width, "t");
  const std::string vector = fmt::format("takt::Elements<{}, {}>", stored_type(target.type), width);
  text += fmt::format("  {} results;\n", vector);
  text += together ? together_text(movement, width)
                   : one_by_one_text(movement, innermost(target), width);
  text += fmt::format("  *reinterpret_cast<{}*>(out + {}) = results;\n}}\n", vector,
                      offset_text(target));
  return {std::move(name), std::move(text), movement_blocks(threads), kMovementThreads, 1};
}

}  // namespace takt::cuda
