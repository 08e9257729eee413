// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/windows.h"

#include "backend/cuda/kernels/index_space.h"
#include "backend/cuda/kernels/pointwise_expressions.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

using graph::PoolKind;

constexpr unsigned kThreads = 256;
constexpr std::int64_t kNarrowEnd = std::int64_t{1} << 31;
constexpr unsigned kThreadsMin = 64;
constexpr std::int64_t kBlocksEnough = 264;  // two for each multiprocessor of a large GPU
constexpr std::int64_t kThreadsEnough =
    12000;  // some 90 for each: they wait for all they read together
constexpr std::int64_t kUnrolledMax =
    64;  // elements that a thread asks for before it uses the first
constexpr std::int64_t kReadBytesMax = 384;  // of all of them, so that they stay in registers
constexpr std::size_t kSpatial = 2;          // the first spatial dimension

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
// `last_name` is what the last dimension is called instead.
std::string index_text(const Shape& shape, const Access& output, std::string_view last_name = {}) {
  std::vector<std::size_t> order(shape.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t dim) { return output.strides[dim]; });
  std::string text;
  std::string rest = "t";
  for (const std::size_t dim : order) {
    const bool renamed = dim + 1 == shape.size() && !last_name.empty();
    text +=
        fmt::format("  const int {} = static_cast<int>({} % {}u);\n",
                    renamed ? std::string(last_name) : fmt::format("i{}", dim), rest, shape[dim]);
    text += fmt::format("  const unsigned t{} = {} / {}u;\n", dim, rest, shape[dim]);
    rest = fmt::format("t{}", dim);
  }
  return text;
}

Shape output_shape(const PoolWindows& pool) {
  return thread_shape(pool, 1);
}

// Of a place in a tensor of this shape: its batch and channels, and the spatial dimensions by these names.
std::string offset_text(const Access& access, const Shape& shape, int width,
                        std::string_view spatial) {
  std::int64_t last = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) last += (shape[i] - 1) * access.strides[i];
  const std::string_view number = last < kNarrowEnd ? "" : "ll";
  std::string text = fmt::format("i0 * {0}{2} + i1 * {1}{2}", access.strides[0],
                                 access.strides[1] * width, number);
  for (std::size_t i = kSpatial; i < shape.size(); ++i) {
    text += fmt::format(" + {}{} * {}{}", spatial, i, access.strides[i], number);
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

// Few elements are all asked for at once: those beside the image at its edge, to be left out.
std::string loops_text(const PoolWindows& pool, int width, const Steps& steps) {
  const graph::Window& window = pool.op.window;
  const std::size_t count = window.kernel.size();
  const bool unrolled = pool.op.kind != PoolKind::lp && product(window.kernel) <= kUnrolledMax;
  std::string text;
  std::string inside;
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t size = pool.input_shape[i + kSpatial];
    text += fmt::format(
        "{0}  for (int k{1} = 0; k{1} < {2}; ++k{1}) {{\n"
        "    const int {3}{1} = begin{1} + k{1} * {4};\n",
        unrolled ? "#pragma unroll\n" : "", i + kSpatial, window.kernel[i],
        unrolled ? "place" : "at", window.dilations[i]);
    if (unrolled) {
      text += fmt::format("    const int at{0} = min(max(place{0}, 0), {1});\n", i + kSpatial,
                          size - 1);
      inside += fmt::format("{0}at{1} == place{1}", inside.empty() ? "" : " && ", i + kSpatial);
    } else {
      text += fmt::format("    if (at{0} < 0 || at{0} >= {1}) continue;\n", i + kSpatial, size);
    }
  }
  text += fmt::format(
      "    const auto elements = *reinterpret_cast<const takt::Elements<{0}, {1}>*>(in + {2});\n"
      "#pragma unroll\n    for (int k = 0; k < {1}; ++k) {{\n"
      "      const {3} x = {4};\n      sum[k] = {5};\n    }}\n",
      stored_type(pool.input.type), width, offset_text(pool.input, pool.input_shape, width, "at"),
      computed_type(pool.input.type), loaded(pool.input.type, "elements.at[k]"),
      unrolled ? fmt::format("{} ? {} : sum[k]", inside, steps.taken) : steps.taken);
  for (std::size_t i = 0; i < count; ++i) text += "  }\n";
  return text;
}

// Blocks are small where the GPU would else have too few of them.
// "At least one block" leaves the compiler the registers for all loads of a thread at once.
KernelSource kernel_of(std::string name, std::string_view signature, const std::string& body,
                       std::int64_t threads) {
  unsigned together = kThreads;
  while (together > kThreadsMin && threads / together < kBlocksEnough) together /= 2;
  std::string text = fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({0}, 1) {1}({2}) {{\n"
      "  const unsigned t = blockIdx.x * {0}u + threadIdx.x;\n  if (t >= {3}u) return;\n{4}}}\n",
      together, name, signature, threads, body);
  const auto blocks = static_cast<unsigned>((threads + together - 1) / together);
  return {std::move(name), std::move(text), blocks, together, 1};
}

std::string signature(const PoolWindows& pool) {
  return fmt::format("const {}* __restrict__ in, {}* __restrict__ out",
                     stored_type(pool.input.type), stored_type(pool.output.type));
}

// What a thread computes of a pool of maxima: neighbours along the last dimension.
struct Maxima {
  int width = 1;             // channels
  std::int64_t results = 1;  // neighbours
  std::int64_t columns = 1;  // elements of a row that they look at
  std::int64_t rows = 1;     // of the other dimensions together
  std::int64_t threads = 1;
};

// An element may be met twice, so one beside the image is replaced by the nearest at its edge. That one is
// in the window if the window has no gaps and reaches into the image.
bool may_meet_twice(const PoolWindows& pool) {
  const graph::Window& window = pool.op.window;
  if (pool.op.kind != PoolKind::max) return false;
  for (std::size_t i = 0; i < window.kernel.size(); ++i) {
    const std::int64_t last = (pool.op.sizes[i] - 1) * window.strides[i] - window.pads_begin[i];
    if (window.kernel[i] > 1 && window.dilations[i] != 1) return false;
    if (window.pads_begin[i] >= window.kernel[i]) return false;
    if (last >= pool.input_shape[i + kSpatial]) return false;
  }
  return product(window.kernel) <= kUnrolledMax;
}

Maxima maxima_of(const PoolWindows& pool, int width, std::int64_t results) {
  const graph::Window& window = pool.op.window;
  const std::int64_t neighbours = pool.op.sizes.back();
  const std::int64_t kernel = window.kernel.back();
  Maxima maxima{width, results, (results - 1) * window.strides.back() + kernel,
                product(window.kernel) / kernel, 0};
  maxima.threads =
      product(thread_shape(pool, width)) / neighbours * ((neighbours + results - 1) / results);
  return maxima;
}

// The fewest reads for each result that leave enough threads, of which each waits for all of its own
// together; or else the most threads.
Maxima plan_maxima(const PoolWindows& pool) {
  const auto bytes = static_cast<std::int64_t>(element_bytes(pool.input.type));
  const auto reads = [](const Maxima& one) { return one.columns * one.rows; };
  Maxima best = maxima_of(pool, 1, 1);
  for (int width = channels_together(pool); width >= 1; width /= 2) {
    for (std::int64_t results = 1; results <= 4; results *= 2) {
      const Maxima one = maxima_of(pool, width, results);
      if (results > 1 && reads(one) * width * bytes > kReadBytesMax) continue;
      if (one.threads < kThreadsEnough) continue;
      const double own = static_cast<double>(reads(one)) / static_cast<double>(results * width);
      const double least =
          static_cast<double>(reads(best)) / static_cast<double>(best.results * best.width);
      if (own < least) best = one;
    }
  }
  return best;
}

// The larger of two elements, NaN if one is; of two 16-bit floats in one instruction where there is one.
std::string larger_text(const PoolWindows& pool, int width) {
  const DataType type = pool.input.type;
  const bool half = type == DataType::fp16;
  const std::string element(stored_type(type));
  std::string text = fmt::format(
      "using Element = {0};\nusing Group = takt::Elements<Element, {1}>;\n"
      "__device__ __forceinline__ Element larger(Element a, Element b) {{\n"
      "  const auto x = {2};\n  const auto y = {3};\n  return x != x || x > y ? a : b;\n}}\n",
      element, width, loaded(type, "a"), loaded(type, "b"));
  const std::string each = fmt::format(
      "#pragma unroll\n  for (int k = 0; k < {}; ++k) a.at[k] = larger(a.at[k], b.at[k]);\n",
      width);
  std::string fast;
  if (type == DataType::fp32) {
    fast = fmt::format(
        "#pragma unroll\n  for (int k = 0; k < {}; ++k) a.at[k] = takt::larger_fp32(a.at[k], "
        "b.at[k]);\n",
        width);
  } else if ((half || type == DataType::bf16) && width > 1) {
    fast = fmt::format(
        "  union Words {{ Group group; unsigned at[{0}]; }};\n"
        "  Words x = {{a}};\n  const Words y = {{b}};\n"
        "#pragma unroll\n  for (int k = 0; k < {0}; ++k) x.at[k] = takt::larger_{1}(x.at[k], "
        "y.at[k]);\n  a = x.group;\n",
        width / 2, half ? "fp16x2" : "bf16x2");
  }
  text += "__device__ __forceinline__ Group larger(Group a, const Group& b) {\n";
  text += fast.empty() ? each : "#if __CUDA_ARCH__ >= 800\n" + fast + "#else\n" + each + "#endif\n";
  return text + "  return a;\n}\n";
}

// The largest of each column of the rows first, then of the columns of each result.
std::string maxima_text(const PoolWindows& pool, const Maxima& maxima) {
  const graph::Window& window = pool.op.window;
  const std::size_t last = window.kernel.size() - 1;
  const std::size_t last_dim = last + kSpatial;
  std::string text = fmt::format(
      "  Group tops[{0}];\n#pragma unroll\n  for (int column = 0; column < {0}; ++column) {{\n"
      "    const int at{1} = min(max(begin{1} + column, 0), {2});\n",
      maxima.columns, last_dim, pool.input_shape[last_dim] - 1);
  std::string first;
  for (std::size_t i = 0; i < last; ++i) {
    text += fmt::format(
        "#pragma unroll\n    for (int k{0} = 0; k{0} < {1}; ++k{0}) {{\n"
        "    const int at{0} = min(max(begin{0} + k{0}, 0), {2});\n",
        i + kSpatial, window.kernel[i], pool.input_shape[i + kSpatial] - 1);
    first += fmt::format("{}k{} == 0", first.empty() ? "" : " && ", i + kSpatial);
  }
  text += fmt::format(
      "    const Group group = *reinterpret_cast<const Group*>(in + {});\n"
      "    tops[column] = {};\n",
      offset_text(pool.input, pool.input_shape, maxima.width, "at"),
      first.empty() ? "group" : first + " ? group : larger(tops[column], group)");
  for (std::size_t i = 0; i < last; ++i) text += "    }\n";
  return text + "  }\n";
}

std::string maxima_results_text(const PoolWindows& pool, const Maxima& maxima) {
  const std::size_t last_dim = pool.op.window.kernel.size() - 1 + kSpatial;
  const std::int64_t neighbours = pool.op.sizes.back();
  std::string text = fmt::format(
      "#pragma unroll\n  for (int result = 0; result < {0}; ++result) {{\n"
      "    const int i{1} = first{1} + result;\n",
      maxima.results, last_dim);
  if (neighbours % maxima.results != 0) {
    text += fmt::format("    if (i{} >= {}) continue;\n", last_dim, neighbours);
  }
  return text +
         fmt::format(
             "    Group top = tops[result * {0}];\n#pragma unroll\n"
             "    for (int k = 1; k < {1}; ++k) top = larger(top, tops[result * {0} + k]);\n"
             "    takt::Elements<{2}, {3}> results;\n#pragma unroll\n"
             "    for (int k = 0; k < {3}; ++k) results.at[k] = {4};\n"
             "    *reinterpret_cast<takt::Elements<{2}, {3}>*>(out + {5}) = results;\n  }}\n",
             pool.op.window.strides.back(), pool.op.window.kernel.back(),
             stored_type(pool.output.type), maxima.width,
             stored(pool.output.type, loaded(pool.input.type, "top.at[k]")),
             offset_text(pool.output, output_shape(pool), maxima.width, "i"));
}

KernelSource maxima_kernel(const PoolWindows& pool, std::string name) {
  const graph::Window& window = pool.op.window;
  const Maxima maxima = plan_maxima(pool);
  const std::size_t last_dim = window.kernel.size() - 1 + kSpatial;
  Shape shape = thread_shape(pool, maxima.width);
  shape.back() = (shape.back() + maxima.results - 1) / maxima.results;
  std::string body = fmt::format("  using namespace {}_parts;\n", name);
  body += index_text(shape, pool.output, fmt::format("part{}", last_dim));
  body += fmt::format("  const int first{0} = part{0} * {1};\n", last_dim, maxima.results);
  for (std::size_t i = 0; i < window.kernel.size(); ++i) {
    const std::size_t dim = i + kSpatial;
    body +=
        fmt::format("  const int begin{} = {}{} * {} - {};\n", dim, dim == last_dim ? "first" : "i",
                    dim, window.strides[i], window.pads_begin[i]);
  }
  body += maxima_text(pool, maxima) + maxima_results_text(pool, maxima);
  KernelSource source = kernel_of(name, signature(pool), body, maxima.threads);
  source.text =
      fmt::format("namespace {}_parts {{\n{}}}\n", name, larger_text(pool, maxima.width)) +
      source.text;
  return source;
}

}  // namespace

KernelSource pool_kernel(const PoolWindows& pool, const std::string& step) {
  std::string name = kernel_name(step);
  if (may_meet_twice(pool)) return maxima_kernel(pool, std::move(name));
  const graph::Window& window = pool.op.window;
  const std::size_t spatial = window.kernel.size();
  const int width = channels_together(pool);
  const Shape shape = thread_shape(pool, width);
  const Steps steps = steps_of(pool.op, pool.input.type);
  std::string text = index_text(shape, pool.output);
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
      "  *reinterpret_cast<takt::Elements<{0}, {1}>*>(out + {3}) = results;\n",
      stored_type(pool.output.type), width, stored(pool.output.type, steps.ended),
      offset_text(pool.output, output_shape(pool), width, "i"));
  return kernel_of(std::move(name), signature(pool), text, product(shape));
}

}  // namespace takt::cuda
