// SPDX-License-Identifier: Apache-2.0
// GroupNorm and LocalResponseNorm. Where channels lie side by side, the statistics of groups are taken by
// blocks that share an image, each two passes over its pixels (which the caches still have in the second),
// and combined by what normalises; elsewhere groups are rows (rows.h).
#include "backend/cuda/kernels/index_space.h"
#include "backend/cuda/kernels/pointwise_expressions.h"
#include "backend/cuda/kernels/rows.h"
#include "backend/cuda/kernels/step_code.h"
#include "backend/cuda/kernels/step_views.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <type_traits>
#include <utility>

namespace takt::cuda {
namespace {

constexpr std::int64_t kThreads = 256;
constexpr std::int64_t kWarp = 32;
constexpr std::int64_t kWidthMax = 8;
constexpr std::int64_t kTileMin = 64;        // channels: a line of the cache
constexpr std::int64_t kPixelsOfThread = 4;  // at least, of a block's
constexpr std::size_t kSpatial = 2;

struct Groups {
  std::int64_t images = 1, channels = 1, groups = 1;
  double epsilon = 1e-5;
  IndexSpace pixels;  // strides of the input and of the output
  const View* x = nullptr;
  const View* scale = nullptr;
  const View* bias = nullptr;
  const View* y = nullptr;
  // How it is shared: a block has some of an image's pixels, and whole groups of its channels.
  std::int64_t width = 1;  // channels that a thread reads at once
  std::int64_t tile = 1;   // channels of a block
  std::int64_t chunks = 1;
  std::int64_t chunk = 1;  // pixels

  [[nodiscard]] std::int64_t pixel_count() const { return product(pixels.shape); }
  [[nodiscard]] std::int64_t group_channels() const { return channels / groups; }
  [[nodiscard]] std::int64_t tiles() const { return channels / tile; }
  [[nodiscard]] std::int64_t pixel_threads() const { return kThreads / (tile / width); }
  [[nodiscard]] std::int64_t blocks() const { return images * tiles() * chunks; }
};

bool allows(const View& view, std::int64_t width) {
  const std::size_t bytes = element_bytes(view.type) * static_cast<std::size_t>(width);
  if (view.strides[1] != 1 || view.shape[1] % width != 0 || bytes > kAccessBytesMax) return false;
  for (std::size_t dim = 0; dim < view.strides.size(); ++dim) {
    if (dim != 1 && view.shape[dim] != 1 && view.strides[dim] % width != 0) return false;
  }
  return alignment_bytes(view) % bytes == 0;
}

Groups groups_of(const graph::GroupNorm& op, const SingleOperator& step) {
  Groups norm;
  norm.x = step.inputs[0];
  norm.scale = step.inputs[1];
  norm.bias = step.inputs[2];
  norm.y = step.output;
  norm.images = norm.x->shape[0];
  norm.channels = norm.x->shape[1];
  norm.groups = op.groups;
  norm.epsilon = op.epsilon;
  const auto spatial = [](const auto& of) {
    return std::vector<std::int64_t>(of.begin() + kSpatial, of.end());
  };
  norm.pixels =
      compacted({spatial(norm.x->shape), {spatial(norm.x->strides), spatial(norm.y->strides)}});
  return norm;
}

// False where channels don't lie side by side, or a group has too many for a block.
bool share(Groups& norm) {
  const bool beside = norm.x->strides[1] == 1 && norm.y->strides[1] == 1 && norm.channels > 1;
  if (!beside) return false;
  norm.width = kWidthMax;
  while (norm.width > 1 && !(allows(*norm.x, norm.width) && allows(*norm.y, norm.width))) {
    norm.width /= 2;
  }
  const std::int64_t least = std::lcm(norm.group_channels(), norm.width);
  norm.tile = least;
  while (norm.tile < norm.channels && (norm.tile < kTileMin || norm.channels % norm.tile != 0)) {
    norm.tile += least;
  }
  if (norm.tile / norm.width > kThreads) return false;
  // Each block that normalises reads what all chunks found, so there aren't more than keep a GPU busy.
  const std::int64_t most = std::clamp<std::int64_t>(256 / (norm.images * norm.tiles()), 32, 128);
  norm.chunk =
      std::max((norm.pixel_count() + most - 1) / most, kPixelsOfThread * norm.pixel_threads());
  norm.chunks = (norm.pixel_count() + norm.chunk - 1) / norm.chunk;
  return true;
}

// A pixel's offset in a tensor.
std::string pixel_text(const Groups& norm, std::size_t tensor, std::string_view name) {
  std::string sum = "0";
  std::string rest = "pixel";
  for (std::size_t dim = norm.pixels.shape.size(); dim-- > 0;) {
    const std::int64_t size = norm.pixels.shape[dim];
    const std::string place = dim == 0 ? rest : fmt::format("{} % {}u", rest, size);
    sum += fmt::format(" + ({}) * {}ull", place, norm.pixels.strides[tensor][dim]);
    rest = fmt::format("{} / {}u", rest, size);
  }
  return fmt::format(
      "__device__ __forceinline__ unsigned long long {}(unsigned pixel) {{ return {}; }}\n", name,
      sum);
}

std::string constants_text(const Groups& norm) {
  const auto number = [](std::string_view name, std::int64_t value) {
    return fmt::format("constexpr unsigned {} = {}u;\n", name, value);
  };
  const std::int64_t groups = norm.tile / norm.group_channels();
  // Threads that share a group's sums: side by side in a warp.
  std::int64_t lanes = kWarp;
  while (lanes > 1 && lanes * groups > kThreads) lanes /= 2;
  return number("kThreads", kThreads) + number("kWidth", norm.width) + number("kTile", norm.tile) +
         number("kTiles", norm.tiles()) + number("kGroups", groups) +
         number("kGroupChannels", norm.group_channels()) + number("kLanes", lanes) +
         number("kPixels", norm.pixel_count()) + number("kChunk", norm.chunk) +
         number("kChunks", norm.chunks) + number("kColumns", norm.tile / norm.width) +
         number("kPixelThreads", norm.pixel_threads());
}

// What both kernels share: their places, and sums over groups.
constexpr std::string_view kParts = R"cuda(
// One of the pixels that lie side by side in the block, and the thread's channels.
struct Place {
  unsigned image, tile, chunk, channel, row;
  __device__ __forceinline__ Place()
      : image(blockIdx.x / (kTiles * kChunks)),
        tile(blockIdx.x / kChunks % kTiles),
        chunk(blockIdx.x % kChunks),
        channel(threadIdx.x % kColumns * kWidth),
        row(threadIdx.x / kColumns) {}
  __device__ __forceinline__ unsigned begin() const { return chunk * kChunk + row; }
  __device__ __forceinline__ unsigned end() const {
    return row < kPixelThreads ? min((chunk + 1) * kChunk, kPixels) : 0;
  }
};

__device__ __forceinline__ Sum of_pixels(unsigned chunk) {
  return static_cast<Sum>((min((chunk + 1) * kChunk, kPixels) - chunk * kChunk) * kGroupChannels);
}

// Of the threads that share a group.
__device__ __forceinline__ Sum of_lanes(Sum sum) {
#pragma unroll
  for (int half = kLanes / 2; half > 0; half /= 2) sum += takt::of_lane(sum, half);
  return sum;
}

// What a chunk found of a group.
struct Found { Sum mean; Sum squares; };
)cuda";

constexpr std::string_view kStatisticsParts = R"cuda(
// Each thread's sums over its pixels of what `taken` makes of their elements.
template <typename Taken>
__device__ __forceinline__ void add_up(const Input* x, const Place& place,
                                       Sum (&parts)[kPixelThreads][kTile], Taken taken) {
  Sum sums[kWidth] = {};
  for (unsigned pixel = place.begin(); pixel < place.end(); pixel += kPixelThreads) {
    const auto elements =
        *reinterpret_cast<const takt::Elements<Input, kWidth>*>(x + input_pixel(pixel));
#pragma unroll
    for (int e = 0; e < kWidth; ++e) sums[e] += taken(input_value(elements.at[e]), e);
  }
  if (place.row >= kPixelThreads) return;
#pragma unroll
  for (int e = 0; e < kWidth; ++e) parts[place.row][place.channel + e] = sums[e];
}

// The sum of a group over the block's pixel threads, for every group. All threads of the block ask.
template <typename Use>
__device__ __forceinline__ void for_each_group(const Sum (&parts)[kPixelThreads][kTile], Use use) {
  for (unsigned base = 0; base < kGroups; base += kThreads / kLanes) {
    const unsigned group = base + threadIdx.x / kLanes;
    Sum sum = 0;
    if (group < kGroups) {
      for (unsigned i = threadIdx.x % kLanes; i < kPixelThreads * kGroupChannels; i += kLanes) {
        sum += parts[i / kGroupChannels][group * kGroupChannels + i % kGroupChannels];
      }
    }
    sum = of_lanes(sum);
    if (group < kGroups && threadIdx.x % kLanes == 0) use(group, sum);
  }
}
)cuda";

constexpr std::string_view kStatisticsBody = R"cuda(
  __shared__ Sum parts[kPixelThreads][kTile];
  __shared__ Sum means[kGroups];
  const Place place;
  const Input* const x = in + place.image * kInputImage + place.tile * kTile + place.channel;
  add_up(x, place, parts, [](Sum value, int) { return value; });
  __syncthreads();
  const Sum count = of_pixels(place.chunk);
  for_each_group(parts, [&](unsigned group, Sum sum) { means[group] = sum / count; });
  __syncthreads();
  Sum mean[kWidth];
#pragma unroll
  for (int e = 0; e < kWidth; ++e) mean[e] = means[(place.channel + e) / kGroupChannels];
  add_up(x, place, parts, [&](Sum value, int e) { return (value - mean[e]) * (value - mean[e]); });
  __syncthreads();
  Found* const to = found + blockIdx.x * static_cast<unsigned long long>(kGroups);
  for_each_group(parts, [&](unsigned group, Sum sum) { to[group] = {means[group], sum}; });
)cuda";

// Chan, Golub, LeVeque: "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
constexpr std::string_view kApplyBody = R"cuda(
  __shared__ Sum means[kGroups];
  __shared__ Sum factors[kGroups];
  const Place place;
  const Found* const of_image =
      found + (place.image * kTiles + place.tile) * static_cast<unsigned long long>(kChunks * kGroups);
  const Sum count = static_cast<Sum>(kPixels) * static_cast<Sum>(kGroupChannels);
  for (unsigned base = 0; base < kGroups; base += kThreads / kLanes) {
    const unsigned group = base + threadIdx.x / kLanes;
    const unsigned end = group < kGroups ? kChunks : 0;
    Sum sum = 0;
    for (unsigned i = threadIdx.x % kLanes; i < end; i += kLanes) {
      sum += of_image[i * kGroups + group].mean * of_pixels(i);
    }
    const Sum mean = of_lanes(sum) / count;
    Sum squares = 0;
    for (unsigned i = threadIdx.x % kLanes; i < end; i += kLanes) {
      const Found here = of_image[i * kGroups + group];
      squares += here.squares + (here.mean - mean) * (here.mean - mean) * of_pixels(i);
    }
    squares = of_lanes(squares);
    if (group < kGroups && threadIdx.x % kLanes == 0) {
      means[group] = mean;
      factors[group] = static_cast<Sum>(1) / square_root(squares / count + kEpsilon);
    }
  }
  __syncthreads();
  Sum mean[kWidth], factor[kWidth], shift[kWidth];
#pragma unroll
  for (int e = 0; e < kWidth; ++e) {
    const unsigned group = (place.channel + e) / kGroupChannels;
    const unsigned channel = place.tile * kTile + place.channel + e;
    mean[e] = means[group];
    factor[e] = factors[group] * scale_value(scale[channel * kScaleChannel]);
    shift[e] = bias_value(bias[channel * kBiasChannel]);
  }
  const unsigned first = place.tile * kTile + place.channel;
  const Input* const x = in + place.image * kInputImage + first;
  Output* const y = out + place.image * kOutputImage + first;
  for (unsigned pixel = place.begin(); pixel < place.end(); pixel += kPixelThreads) {
    const auto elements =
        *reinterpret_cast<const takt::Elements<Input, kWidth>*>(x + input_pixel(pixel));
    takt::Elements<Output, kWidth> results;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      results.at[e] = stored((input_value(elements.at[e]) - mean[e]) * factor[e] + shift[e]);
    }
    *reinterpret_cast<takt::Elements<Output, kWidth>*>(y + output_pixel(pixel)) = results;
  }
)cuda";

std::string value_text(std::string_view function, std::string_view name, DataType type) {
  return fmt::format(
      "using {0} = {1};\n__device__ __forceinline__ Sum {2}({0} x) {{ return "
      "static_cast<Sum>({3}); "
      "}}\n",
      name, stored_type(type), function, loaded(type, "x"));
}

std::string stride_text(std::string_view name, std::int64_t stride) {
  return fmt::format("constexpr unsigned long long {} = {}ull;\n", name, stride);
}

std::string parts_text(const Groups& norm, const std::string& name) {
  return fmt::format("namespace {}_parts {{\nusing Sum = {};\n", name,
                     computed_type(norm.x->type)) +
         constants_text(norm) + value_text("input_value", "Input", norm.x->type) +
         stride_text("kInputImage", norm.x->strides[0]) + pixel_text(norm, 0, "input_pixel") +
         std::string(kParts);
}

KernelSource source_of(const Groups& norm, std::string name, std::string text) {
  return {std::move(name), std::move(text), static_cast<unsigned>(norm.blocks()),
          static_cast<unsigned>(kThreads), 1};
}

KernelSource statistics_kernel(const Groups& norm, const std::string& step) {
  std::string name = kernel_name(step + "_statistics");
  std::string text = parts_text(norm, name) + std::string(kStatisticsParts) + "}\n";
  text += fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({0}) {1}(const {1}_parts::Input* in, "
      "{1}_parts::Found* found) {{\n  using namespace {1}_parts;{2}}}\n",
      kThreads, name, kStatisticsBody);
  return source_of(norm, std::move(name), std::move(text));
}

KernelSource apply_kernel(const Groups& norm, const std::string& step) {
  std::string name = kernel_name(step + "_apply");
  const std::string_view f = norm.x->type == DataType::fp64 ? "" : "f";
  std::string text = parts_text(norm, name);
  text += value_text("scale_value", "Scale", norm.scale->type) +
          value_text("bias_value", "Bias", norm.bias->type) + pixel_text(norm, 1, "output_pixel") +
          stride_text("kScaleChannel", norm.scale->strides[0]) +
          stride_text("kBiasChannel", norm.bias->strides[0]) +
          stride_text("kOutputImage", norm.y->strides[0]);
  text += fmt::format(
      "using Output = {0};\nconstexpr Sum kEpsilon = static_cast<Sum>({1:.17g});\n"
      "__device__ __forceinline__ Output stored(Sum x) {{ return {2}; }}\n"
      "__device__ __forceinline__ Sum square_root(Sum x) {{ return sqrt{3}(x); }}\n}}\n",
      stored_type(norm.y->type), norm.epsilon, stored(norm.y->type, "x"), f);
  text += fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({0}) {1}(const {1}_parts::Input* in, "
      "const {1}_parts::Scale* scale, const {1}_parts::Bias* bias, const {1}_parts::Found* found, "
      "{1}_parts::Output* out) {{\n  using namespace {1}_parts;{2}}}\n",
      kThreads, name, kApplyBody);
  return source_of(norm, std::move(name), std::move(text));
}

// Rows are (image, group), their elements (channel of the group, pixel...).
StepCode normalized_rows(const Groups& norm, const SingleOperator& step, const std::string& name) {
  const Shape& shape = norm.x->shape;
  RowSpace space{{norm.images, norm.groups}, {norm.group_channels()}};
  space.inner.insert(space.inner.end(), shape.begin() + kSpatial, shape.end());
  const auto image = [&](const View& view) {
    Access access{view.type, {}, alignment_bytes(view)};
    access.strides = {view.strides[0], norm.group_channels() * view.strides[1], view.strides[1]};
    access.strides.insert(access.strides.end(), view.strides.begin() + kSpatial,
                          view.strides.end());
    return access;
  };
  const auto factor = [&](const View& view) {
    Access access{view.type,
                  {0, norm.group_channels() * view.strides[0], view.strides[0]},
                  alignment_bytes(view)};
    access.strides.resize(2 + space.inner.size(), 0);
    return access;
  };
  return {{{normalize_kernel({space, norm.epsilon, image(*norm.x), factor(*norm.scale),
                              factor(*norm.bias), image(*norm.y)},
                             name),
            step.operands}},
          0};
}

Result<StepCode> code_of(const graph::GroupNorm& op, const SingleOperator& step,
                         const std::string& name) {
  Groups norm = groups_of(op, step);
  if (!share(norm)) return normalized_rows(norm, step, name);
  const std::vector<Operand>& operands = step.operands;
  const Operand scratch{OperandKind::scratch, 0, 0};
  const std::size_t found =
      2 * element_bytes(norm.x->type == DataType::fp64 ? DataType::fp64 : DataType::fp32);
  StepCode code;
  code.calls.push_back({statistics_kernel(norm, name), {operands[0], scratch}});
  code.calls.push_back(
      {apply_kernel(norm, name), {operands[0], operands[1], operands[2], scratch, operands[3]}});
  code.scratch_bytes = static_cast<std::size_t>(norm.images * norm.groups * norm.chunks) * found;
  return code;
}

// A thread computes an element; neighbours lie side by side in the output.
Result<StepCode> code_of(const graph::LocalResponseNorm& op, const SingleOperator& step,
                         const std::string& name) {
  const View& x = *step.inputs[0];
  const View& y = *step.output;
  const std::string_view as = computed_type(x.type);
  const std::string_view f = x.type == DataType::fp64 ? "" : "f";
  std::vector<std::size_t> order(x.shape.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t dim) { return y.strides[dim]; });
  KernelSource source{kernel_name(name), "", 1, static_cast<unsigned>(kThreads), 1};
  const std::int64_t count = product(x.shape);
  source.blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  std::string from = "0";
  std::string to = "0";
  std::string indices;
  for (const std::size_t dim : order) {
    indices += fmt::format("  const long long i{0} = t % {1}u;\n  t /= {1}u;\n", dim, x.shape[dim]);
    if (dim != 1) from += fmt::format(" + i{} * {}ll", dim, x.strides[dim]);
    to += fmt::format(" + i{} * {}ll", dim, y.strides[dim]);
  }
  const std::string element = loaded(x.type, fmt::format("x[(i1 + c) * {}ll]", x.strides[1]));
  const std::string base =
      fmt::format("static_cast<{0}>({1:.17g}) + static_cast<{0}>({2:.17g}) * squares", as, op.bias,
                  op.alpha / static_cast<double>(op.size));
  const std::string result =
      fmt::format("own / pow{0}({1}, static_cast<{2}>({3:.17g}))", f, base, as, op.beta);
  const std::int64_t neighbours = std::min(op.size, 2 * x.shape[1]);
  source.text = fmt::format(
      "extern \"C\" __global__ void __launch_bounds__({0}) {1}(const {2}* in, {3}* out) {{\n"
      "  unsigned t = blockIdx.x * {0}u + threadIdx.x;\n  if (t >= {4}u) return;\n{5}"
      "  const {2}* const x = in + {6};\n  {7} own = 0;\n  {7} squares = 0;\n"
      "  for (long long c = -{8}ll; c <= {9}ll; ++c) {{\n"
      "    if (i1 + c < 0 || i1 + c >= {10}ll) continue;\n    const {7} value = {11};\n"
      "    squares += value * value;\n    if (c == 0) own = value;\n  }}\n"
      "  out[{12}] = {13};\n}}\n",
      kThreads, source.name, stored_type(x.type), stored_type(y.type), count, indices, from, as,
      (neighbours - 1) / 2, neighbours / 2, x.shape[1], element, to, stored(y.type, result));
  return StepCode{{{std::move(source), step.operands}}, 0};
}

}  // namespace

Result<StepCode> group_norm_code(const Step& step, const std::string& name) {
  const Result<SingleOperator> single = single_operator(step);
  if (!single) return std::unexpected(single.error());
  if (is_empty(*single->output)) return StepCode{};
  const auto write = [&](const auto& op) -> Result<StepCode> {
    using Op = std::decay_t<decltype(op)>;
    if constexpr (std::is_same_v<Op, graph::GroupNorm> ||
                  std::is_same_v<Op, graph::LocalResponseNorm>) {
      return code_of(op, *single, name);
    } else {
      return refuse(fmt::format("{} normalises no channels", graph::describe(op)));
    }
  };
  return std::visit(write, *single->op);
}

}  // namespace takt::cuda
