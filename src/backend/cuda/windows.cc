// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/windows.h"

#include "backend/cuda/index_space.h"
#include "backend/cuda/pointwise_expressions.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using graph::PoolKind;

constexpr unsigned kThreads = 256;
constexpr std::size_t kSpatial = 2;  // the first spatial dimension
constexpr std::size_t kAccessBytesMax = 16;

// Channels that a thread computes together, where they lie side by side in both tensors.
int channels_together(const PoolWindows& pool) {
  const std::int64_t channels = pool.input_shape[1];
  const auto allows = [channels](const Access& access, int width) {
    const std::size_t bytes = element_bytes(access.type) * static_cast<std::size_t>(width);
    if (access.strides[1] != 1 || channels % width != 0 || bytes > kAccessBytesMax) return false;
    if (access.alignment == 0 || access.alignment % bytes != 0) return false;
    for (std::size_t i = 0; i < access.strides.size(); ++i) {
      if (i != 1 && access.strides[i] % width != 0) return false;
    }
    return true;
  };
  for (int width = 8; width > 1; width /= 2) {
    if (allows(pool.input, width) && allows(pool.output, width)) return width;
  }
  return 1;
}

// The output's shape with the channels in groups of `width`.
Shape thread_shape(const PoolWindows& pool, int width) {
  Shape shape{pool.input_shape[0], pool.input_shape[1] / width};
  shape.insert(shape.end(), pool.op.sizes.begin(), pool.op.sizes.end());
  return shape;
}

// Declares i0, i1, ... from t: the dimension with the smallest stride of the output changes first.
std::string index_text(const Shape& shape, const Access& output) {
  std::vector<std::size_t> order(shape.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t dim) { return output.strides[dim]; });
  std::string text;
  std::string rest = "t";
  for (const std::size_t dim : order) {
    text += fmt::format("  const int i{} = static_cast<int>({} % {}u);\n", dim, rest, shape[dim]);
    text += fmt::format("  const unsigned t{} = {} / {}u;\n", dim, rest, shape[dim]);
    rest = fmt::format("t{}", dim);
  }
  return text;
}

// Of a place in the image: its batch and channels, and the spatial dimensions by these names.
std::string offset_text(const Access& access, int width, std::string_view spatial,
                        std::size_t count) {
  std::string text =
      fmt::format("i0 * {}ll + i1 * {}ll", access.strides[0], access.strides[1] * width);
  for (std::size_t i = 0; i < count; ++i) {
    text += fmt::format(" + {}{} * {}ll", spatial, i + kSpatial, access.strides[i + kSpatial]);
  }
  return text;
}

// How a pool begins, takes an element x, and ends.
struct Steps {
  std::string start;
  std::string taken;
  std::string ended;
};

Steps steps_of(const graph::Pool& op, DataType type) {
  const std::string_view as = computed_type(type);
  const std::string_view f = type == DataType::fp64 ? "" : "f";
  switch (op.kind) {
    case PoolKind::max:
      return {lowest(type), "(x != x || x > sum[k] ? x : sum[k])", "sum[k]"};
    case PoolKind::average:
      return {"0", "sum[k] + x", fmt::format("sum[k] / static_cast<{}>(count)", as)};
    case PoolKind::lp:
      break;
  }
  return {"0", fmt::format("sum[k] + pow{0}(fabs{0}(x), static_cast<{1}>({2:.17g}))", f, as, op.p),
          fmt::format("pow{0}(sum[k], static_cast<{1}>({2:.17g}))", f, as, 1 / op.p)};
}

// What divides an average: the elements, or with padding the places up to where the padding ends.
std::string count_text(const PoolWindows& pool) {
  const graph::Window& window = pool.op.window;
  std::string text = "  int count = 1;\n";
  for (std::size_t i = 0; i < window.kernel.size(); ++i) {
    const std::int64_t size = pool.input_shape[i + kSpatial];
    const std::int64_t least = pool.op.count_padding ? -window.pads_begin[i] : 0;
    const std::int64_t end = pool.op.count_padding ? size + window.pads_end[i] : size;
    text += fmt::format(
        "  {{\n    int inside = 0;\n    for (int k = 0; k < {0}; ++k) {{\n"
        "      const int at = begin{1} + k * {2};\n      inside += at >= {3} && at < {4};\n    }}\n"
        "    count *= inside;\n  }}\n",
        window.kernel[i], i + kSpatial, window.dilations[i], least, end);
  }
  return text;
}

std::string loops_text(const PoolWindows& pool, int width, const Steps& steps) {
  const graph::Window& window = pool.op.window;
  const std::size_t count = window.kernel.size();
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += fmt::format(
        "  for (int k{0} = 0; k{0} < {1}; ++k{0}) {{\n"
        "    const int at{0} = begin{0} + k{0} * {2};\n"
        "    if (at{0} < 0 || at{0} >= {3}) continue;\n",
        i + kSpatial, window.kernel[i], window.dilations[i], pool.input_shape[i + kSpatial]);
  }
  text += fmt::format(
      "    const auto elements = *reinterpret_cast<const takt::Elements<{0}, {1}>*>(in + {2});\n"
      "#pragma unroll\n    for (int k = 0; k < {1}; ++k) {{\n"
      "      const {3} x = {4};\n      sum[k] = {5};\n    }}\n",
      stored_type(pool.input.type), width, offset_text(pool.input, width, "at", count),
      computed_type(pool.input.type), loaded(pool.input.type, "elements.at[k]"), steps.taken);
  for (std::size_t i = 0; i < count; ++i) text += "  }\n";
  return text;
}

}  // namespace

KernelSource pool_kernel(const PoolWindows& pool, const std::string& step) {
  std::string name = kernel_name(step);
  const graph::Window& window = pool.op.window;
  const std::size_t spatial = window.kernel.size();
  const int width = channels_together(pool);
  const Shape shape = thread_shape(pool, width);
  const std::int64_t threads = product(shape);
  const Steps steps = steps_of(pool.op, pool.input.type);
  std::string text = fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({0}) {1}(const {2}* in, {3}* out) {{\n"
      "  const unsigned t = blockIdx.x * {0}u + threadIdx.x;\n  if (t >= {4}u) return;\n",
      kThreads, name, stored_type(pool.input.type), stored_type(pool.output.type), threads);
  text += index_text(shape, pool.output);
  for (std::size_t i = 0; i < spatial; ++i) {
    text += fmt::format("  const int begin{0} = i{0} * {1} - {2};\n", i + kSpatial,
                        window.strides[i], window.pads_begin[i]);
  }
  text += fmt::format(
      "  {0} sum[{1}];\n#pragma unroll\n  for (int k = 0; k < {1}; ++k) sum[k] = {2};\n",
      computed_type(pool.input.type), width, steps.start);
  text += loops_text(pool, width, steps);
  if (pool.op.kind == PoolKind::average) text += count_text(pool);
  text += fmt::format(
      "  takt::Elements<{0}, {1}> results;\n#pragma unroll\n  for (int k = 0; k < {1}; ++k) {{\n"
      "    results.at[k] = {2};\n  }}\n"
      "  *reinterpret_cast<takt::Elements<{0}, {1}>*>(out + {3}) = results;\n}}\n",
      stored_type(pool.output.type), width, stored(pool.output.type, steps.ended),
      offset_text(pool.output, width, "i", spatial));
  const auto blocks = static_cast<unsigned>((threads + kThreads - 1) / kThreads);
  return {std::move(name), std::move(text), blocks, kThreads, 1};
}

}  // namespace takt::cuda
