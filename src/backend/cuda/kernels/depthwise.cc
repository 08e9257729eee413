// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/contraction.h"
#include "backend/cuda/kernels/contraction_text.h"
#include "backend/cuda/kernels/index_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace takt::cuda {
namespace {

constexpr int kWidthMax = 8;  // channels of a thread
constexpr std::int64_t kThreads = 128;
constexpr std::size_t kFilterBytesMax = 25 * 16;  // in registers: 5x5 of 8 channels in FP16

// A spatial dimension of the image. Of one-dimensional images the first is of a single row.
struct Axis {
  std::int64_t kernel = 1, stride = 1, dilation = 1, pad = 0;
  std::int64_t input_size = 1, output_size = 1;
  std::int64_t input_stride = 0, output_stride = 0, weight_stride = 0;
};

Axis axis_of(const Contraction& contraction, std::size_t dim) {
  const graph::Window& window = *contraction.window;
  return {window.kernel[dim],
          window.strides[dim],
          window.dilations[dim],
          window.pads_begin[dim],
          contraction.input_sizes[dim],
          contraction.rows[dim + 1],
          contraction.input.rows[dim + 1],
          contraction.output.rows[dim + 1],
          contraction.weights.taps[dim]};
}

struct Plan {
  Axis y, x;
  int width = 1;              // channels of a thread
  std::int64_t tile = 1;      // pixels of a thread, side by side
  bool reads_filter = false;  // all weights of the thread's channels at once, which lie in a row
};

bool may_read_filter(const Contraction& contraction, const Plan& plan) {
  const ContractionTensor& weights = contraction.weights;
  const std::int64_t taps = plan.y.kernel * plan.x.kernel;
  const std::size_t bytes =
      element_bytes(weights.type) * static_cast<std::size_t>(plan.width * taps);
  return weights.column == taps && plan.x.weight_stride == 1 &&
         (plan.y.kernel == 1 || plan.y.weight_stride == plan.x.kernel) &&
         bytes <= kFilterBytesMax && bytes % kAccessBytesMax == 0 &&
         weights.alignment % kAccessBytesMax == 0;
}

Plan plan(const Contraction& contraction) {
  Plan plan;
  const std::size_t spatial = contraction.window->kernel.size();
  if (spatial == 2) plan.y = axis_of(contraction, 0);
  plan.x = axis_of(contraction, spatial - 1);
  const std::int64_t channels = contraction.columns;
  plan.width = std::min(width_along(contraction.input, Along::columns, channels, kWidthMax),
                        width_along(contraction.output, Along::columns, channels, kWidthMax));
  // Pixels that are this near share columns of the input; there must be enough threads without.
  const bool shares = plan.x.stride <= 2 && plan.x.kernel > 1;
  const std::int64_t threads = product(contraction.rows) * contraction.columns / plan.width;
  constexpr std::int64_t kThreadsEnough = std::int64_t{1} << 16;
  if (shares) plan.tile = plan.x.stride == 1 && threads >= kThreadsEnough ? 4 : 2;
  plan.tile = std::min(plan.tile, plan.x.output_size);
  plan.reads_filter = may_read_filter(contraction, plan);
  return plan;
}

// A number for each thread, whose neighbours are neighbours in the output.
struct Counted {
  std::string_view name;
  std::int64_t count = 1;
  std::int64_t step = 1;    // of the index that it becomes
  std::int64_t stride = 0;  // of the output
};

std::array<Counted, 4> counted(const Contraction& contraction, const Plan& plan) {
  std::array<Counted, 4> all{
      Counted{"image", contraction.rows[0], 1, contraction.output.rows[0]},
      Counted{"oy", plan.y.output_size, 1, plan.y.output_stride},
      Counted{"ox", (plan.x.output_size + plan.tile - 1) / plan.tile, plan.tile,
              plan.x.output_stride},
      Counted{"channel", contraction.columns / plan.width, plan.width, contraction.output.column}};
  std::ranges::stable_sort(all, {}, &Counted::stride);
  return all;
}

std::string index_text(const Contraction& contraction, const Plan& plan) {
  std::string text;
  for (const Counted& one : counted(contraction, plan)) {
    text += fmt::format("  const int {0} = static_cast<int>(t % {1}u * {2}u);\n  t /= {1}u;\n",
                        one.name, one.count, one.step);
  }
  return text;
}

// What a pixel of the input is to the pixels of the tile: the tap of each that takes it.
std::string column_text(const Plan& plan, std::int64_t offset) {
  std::string text;
  for (std::int64_t pixel = 0; pixel < plan.tile; ++pixel) {
    const std::int64_t reach = offset - pixel * plan.x.stride;
    if (reach < 0 || reach % plan.x.dilation != 0) continue;
    const std::int64_t tap = reach / plan.x.dilation;
    if (tap < plan.x.kernel) text += fmt::format(" add(sums[{}], v, w[{}]);", pixel, tap);
  }
  if (text.empty()) return text;
  return fmt::format("    {{ const Pixels v = pixels(row, x0 + {});{} }}\n", offset, text);
}

// Every column of the input that one of the tile's pixels takes is read once.
std::string columns_text(const Plan& plan) {
  std::vector<std::int64_t> offsets;
  for (std::int64_t pixel = 0; pixel < plan.tile; ++pixel) {
    for (std::int64_t tap = 0; tap < plan.x.kernel; ++tap) {
      offsets.push_back(pixel * plan.x.stride + tap * plan.x.dilation);
    }
  }
  std::ranges::sort(offsets);
  const auto repeated = std::ranges::unique(offsets);
  offsets.erase(repeated.begin(), repeated.end());
  std::string text;
  for (const std::int64_t offset : offsets) text += column_text(plan, offset);
  return text;
}

constexpr std::string_view kFunctions = R"cuda(
using Pixels = takt::Elements<Input, kWidth>;
struct Weights { Weight at[kWidth]; };
struct alignas(16) Filter { Weight at[kWidth][kKernelY][kKernelX]; };

__device__ __forceinline__ Pixels pixels(const Input* row, int x) {
  Pixels zeros = {};
  if (x < 0 || x >= kSizeX) return zeros;
  return *reinterpret_cast<const Pixels*>(row + x * kInputX);
}

__device__ __forceinline__ Weights weights(const Weight* w) {
  Weights each;
#pragma unroll
  for (int e = 0; e < kWidth; ++e) each.at[e] = w[e * kWeightColumn];
  return each;
}

__device__ __forceinline__ Weights weights(const Filter& filter, int ky, int kx) {
  Weights each;
#pragma unroll
  for (int e = 0; e < kWidth; ++e) each.at[e] = filter.at[e][ky][kx];
  return each;
}

__device__ __forceinline__ void add(Sum (&sums)[kWidth], const Pixels& v, const Weights& w) {
#pragma unroll
  for (int e = 0; e < kWidth; ++e) sums[e] += input_value(v.at[e]) * weight_value(w.at[e]);
}
)cuda";

std::string constants_text(const Plan& plan) {
  const auto number = [](std::string_view name, std::int64_t value) {
    return fmt::format("constexpr int {} = {};\n", name, value);
  };
  const auto stride = [](std::string_view name, std::int64_t value) {
    return fmt::format("constexpr long long {} = {}ll;\n", name, value);
  };
  return number("kWidth", plan.width) + number("kTile", plan.tile) +
         number("kSizeY", plan.y.input_size) + number("kSizeX", plan.x.input_size) +
         number("kOutputX", plan.x.output_size) + number("kKernelY", plan.y.kernel) +
         number("kKernelX", plan.x.kernel) + number("kDilationY", plan.y.dilation) +
         stride("kInputX", plan.x.input_stride) + stride("kInputY", plan.y.input_stride) +
         stride("kWeightY", plan.y.weight_stride) + stride("kWeightX", plan.x.weight_stride) +
         std::string(kFunctions);
}

constexpr std::string_view kRowsBegin = R"cuda(
  const Input* const in = in0 + image * kInputImage + channel * kInputColumn;
  const Weight* const taps = in1 + channel * kWeightColumn;
  Sum sums[kTile][kWidth] = {};
)cuda";

constexpr std::string_view kRow = R"cuda(
  for (int ky = 0; ky < kKernelY; ++ky) {
    const int y = y0 + ky * kDilationY;
    if (y < 0 || y >= kSizeY) continue;
    const Input* const row = in + y * kInputY;
    Weights w[kKernelX];
#pragma unroll
)cuda";

std::string row_text(const Plan& plan) {
  const std::string begin(kRow);
  if (!plan.reads_filter) {
    return begin +
           "    for (int kx = 0; kx < kKernelX; ++kx) w[kx] = weights(taps + ky * kWeightY + kx * "
           "kWeightX);\n";
  }
  return "  const Filter filter = *reinterpret_cast<const Filter*>(taps);\n#pragma unroll" + begin +
         "    for (int kx = 0; kx < kKernelX; ++kx) w[kx] = weights(filter, ky, kx);\n";
}

std::string body_text(const Contraction& contraction, const Plan& plan, std::int64_t threads) {
  std::string text = fmt::format("  unsigned t = blockIdx.x * {}u + threadIdx.x;\n", kThreads);
  text += fmt::format("  if (t >= {}u) return;\n", threads) + index_text(contraction, plan);
  text += fmt::format("  const int y0 = oy * {} - {};\n  const int x0 = ox * {} - {};\n",
                      plan.y.stride, plan.y.pad, plan.x.stride, plan.x.pad);
  text += fmt::format("  constexpr long long kInputImage = {}ll;\n", contraction.input.rows[0]);
  text += std::string(kRowsBegin) + row_text(plan) + columns_text(plan) + "  }\n";
  const std::string row = contraction.rows.size() == 3 ? "image, oy, ox + i" : "image, ox + i";
  return text + fmt::format(
                    "#pragma unroll\n  for (int i = 0; i < kTile; ++i) {{\n"
                    "    if (ox + i >= kOutputX) break;\n"
                    "    const Row row = {{{{{}}}}};\n"
                    "    write(sums[i], places(0, row), channel, to);\n  }}\n",
                    row);
}

}  // namespace

KernelSource depthwise_kernel(const Contraction& contraction, const std::string& name) {
  const Plan planned = plan(contraction);
  std::int64_t threads = 1;
  for (const Counted& one : counted(contraction, planned)) threads *= one.count;
  const std::string body = body_text(contraction, planned, threads);
  const KernelText text{kernel_name(name), constants_text(planned), body,
                        static_cast<unsigned>(kThreads), planned.width};
  return {text.name, kernel_text(contraction, text),
          static_cast<unsigned>((threads + kThreads - 1) / kThreads), text.threads, 1};
}

}  // namespace takt::cuda
