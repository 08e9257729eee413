// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/contraction.h"
#include "backend/cuda/kernels/contraction_text.h"
#include "backend/cuda/kernels/index_space.h"

#include <fmt/format.h>

#include <algorithm>

namespace takt::cuda {
namespace {

constexpr std::int64_t kRowsMax = 8;          // sums that a thread keeps for a column
constexpr std::int64_t kColumnsMax = 4;       // and for a row
constexpr std::int64_t kChannelsMin = 64;     // below, most of a warp would wait
constexpr std::int64_t kFewChannelsMax = 64;  // of few columns
constexpr int kWidthMax = 8;
constexpr std::int64_t kWarp = 32;
constexpr std::int64_t kWarps = 4;  // of a block; they have columns of their own, or share them
constexpr std::int64_t kWarpsEnough = 1056;    // eight for each multiprocessor of a large GPU
constexpr std::int64_t kBlocksEnough = 96;     // about a large GPU's multiprocessors
constexpr std::int64_t kFlightMax = 8;         // loads of weights that a thread waits for together
constexpr std::int64_t kNarrowFlightMax = 16;  // of up to 8 bytes each
constexpr std::int64_t kColumnsTogether = 64;  // of a block, where that leaves enough blocks;
constexpr std::int64_t kColumnsApart = 16;     // fewer would read the same 32 bytes in two blocks
constexpr std::int64_t kThreads = 512;
constexpr std::int64_t kThreadsOfRows = 256;  // where each keeps the sums of many rows
constexpr std::int64_t kManyRows = 4;
constexpr unsigned kRowThreads = 128;

// The weights of a column lie side by side: a warp sums them, or several warps a part each. All weights of a
// round are asked for before the first is used.
constexpr std::string_view kAlongBody = R"cuda(
  const unsigned lane = threadIdx.x % 32u;
  const unsigned warp = threadIdx.x / 32u;
  const unsigned split = warp % kSplits;
  const unsigned item = blockIdx.x * kBlockItems + warp / kSplits;
  const bool inside = item < kColumns * kBatches;
  const unsigned z = inside ? item / kColumns : 0u;
  const unsigned column = inside ? item % kColumns : 0u;
  const Input* const x = in0 + input_batch(z);
  const Weight* const w = in1 + weight_batch(z) + column * kWeightColumn;
  constexpr unsigned kRound = 32u * kReadWidth * kSplits;
  constexpr bool kWhole = kChannels % (kRound * kFlight) == 0;
  Sum sums[kRows][kChains] = {};
  for (unsigned base = (split * 32u + lane) * kReadWidth; base < kChannels;
       base += kRound * kFlight) {
    takt::Elements<Weight, kReadWidth> weights[kFlight];
#pragma unroll
    for (unsigned f = 0; f < kFlight; ++f) {
      const unsigned c = base + f * kRound;
      if (kWhole || c < kChannels) {
        weights[f] = *reinterpret_cast<const takt::Elements<Weight, kReadWidth>*>(
            w + c * kWeightChannel);
      }
    }
#pragma unroll
    for (unsigned f = 0; f < kFlight; ++f) {
      const unsigned c = base + f * kRound;
      if (!kWhole && c >= kChannels) continue;
#pragma unroll
      for (unsigned r = 0; r < kRows; ++r) {
        unsigned long long at = 0;
        input_at(row_of(r), 0, at);
        const auto elements = *reinterpret_cast<const takt::Elements<Input, kReadWidth>*>(
            x + at + c * kInputChannel);
#pragma unroll
        for (int e = 0; e < kReadWidth; ++e) {
          sums[r][f % kChains] += input_value(elements.at[e]) * weight_value(weights[f].at[e]);
        }
      }
    }
  }
  __shared__ Sum parts[kWarps][kRows];
#pragma unroll
  for (unsigned r = 0; r < kRows; ++r) {
    Sum sum = sums[r][0];
#pragma unroll
    for (unsigned chain = 1; chain < kChains; ++chain) sum += sums[r][chain];
#pragma unroll
    for (int half = 16; half > 0; half /= 2) sum += takt::of_lane(sum, half);
    if (kSplits == 1) {
      if (inside && lane == r) write(&sum, numbered_places(z, r), column, to);
    } else if (lane == 0) {
      parts[warp][r] = sum;
    }
  }
  if (kSplits == 1) return;
  __syncthreads();
  if (!inside || split != 0 || lane >= kRows) return;
  Sum sum = 0;
#pragma unroll
  for (unsigned s = 0; s < kSplits; ++s) sum += parts[warp + s][lane];
  write(&sum, numbered_places(z, lane), column, to);
)cuda";

// The weights of neighbouring columns lie side by side: each thread has some columns, and a part of the
// channels. Parts are summed in a warp first and then by a thread for each column.
constexpr std::string_view kAcrossBody = R"cuda(
  const unsigned lane = threadIdx.x % kLanes;
  const unsigned split = threadIdx.x / kLanes;
  const unsigned z = blockIdx.x / kColumnBlocks;
  const unsigned first = blockIdx.x % kColumnBlocks * kBlockColumns;
  const unsigned column = first + lane * kReadWidth;
  const Input* const x = in0 + input_batch(z);
  const Weight* const w = in1 + weight_batch(z) + column * kWeightColumn;
  constexpr bool kWhole = kChannels % (kSplits * kFlight) == 0;
  Sum sums[kRows][kReadWidth] = {};
  for (unsigned base = column < kColumns ? split : kChannels; base < kChannels;
       base += kSplits * kFlight) {
    takt::Elements<Weight, kReadWidth> weights[kFlight];
#pragma unroll
    for (unsigned f = 0; f < kFlight; ++f) {
      const unsigned c = base + f * kSplits;
      if (kWhole || c < kChannels) {
        weights[f] = *reinterpret_cast<const takt::Elements<Weight, kReadWidth>*>(
            w + c * kWeightChannel);
      }
    }
#pragma unroll
    for (unsigned f = 0; f < kFlight; ++f) {
      const unsigned c = base + f * kSplits;
      if (!kWhole && c >= kChannels) continue;
#pragma unroll
      for (unsigned r = 0; r < kRows; ++r) {
        unsigned long long at = 0;
        input_at(row_of(r), 0, at);
        const Sum element = input_value(x[at + c * kInputChannel]);
#pragma unroll
        for (int e = 0; e < kReadWidth; ++e) {
          sums[r][e] += element * weight_value(weights[f].at[e]);
        }
      }
    }
  }
  constexpr unsigned kGroupThreads = kLanes > 32u ? kLanes : 32u;
  __shared__ Sum parts[kGroups][kBlockColumns];
  const unsigned group = threadIdx.x / kGroupThreads;
  const unsigned own = first + threadIdx.x;
#pragma unroll
  for (unsigned r = 0; r < kRows; ++r) {
#pragma unroll
    for (int e = 0; e < kReadWidth; ++e) {
#pragma unroll
      for (int half = 16; half >= static_cast<int>(kLanes); half /= 2) {
        sums[r][e] += takt::of_lane(sums[r][e], half);
      }
      if (threadIdx.x % kGroupThreads < kLanes) parts[group][lane * kReadWidth + e] = sums[r][e];
    }
    __syncthreads();
    if (threadIdx.x < kBlockColumns && own < kColumns) {
      Sum sum = 0;
#pragma unroll
      for (unsigned g = 0; g < kGroups; ++g) sum += parts[g][threadIdx.x];
      write(&sum, numbered_places(z, r), own, to);
    }
    __syncthreads();
  }
)cuda";

// Many rows of few numbers, times a handful of columns, whose weights stay in the nearest cache.
constexpr std::string_view kFewColumnsBody = R"cuda(
  const unsigned item = blockIdx.x * kThreads + threadIdx.x;
  if (item >= kRows * kBatches) return;
  const unsigned z = item / kRows;
  const Row row = row_of(item % kRows);
  unsigned long long at = 0;
  input_at(row, 0, at);
  const Input* const x = in0 + input_batch(z) + at;
  const Weight* const w = in1 + weight_batch(z);
  Sum sums[kColumns] = {};
#pragma unroll
  for (unsigned c = 0; c < kChannels; c += kReadWidth) {
    const auto elements = *reinterpret_cast<const takt::Elements<Input, kReadWidth>*>(
        x + c * kInputChannel);
#pragma unroll
    for (unsigned m = 0; m < kColumns; ++m) {
#pragma unroll
      for (unsigned e = 0; e < kReadWidth; e += kWeightWidth) {
        const auto weights = *reinterpret_cast<const takt::Elements<Weight, kWeightWidth>*>(
            w + (c + e) * kWeightChannel + m * kWeightColumn);
#pragma unroll
        for (unsigned k = 0; k < kWeightWidth; ++k) {
          sums[m] += input_value(elements.at[e + k]) * weight_value(weights.at[k]);
        }
      }
    }
  }
#pragma unroll
  for (unsigned m = 0; m < kColumns; ++m) write(&sums[m], places(z, row), m, to);
)cuda";

std::int64_t parts(std::int64_t size, std::int64_t part) {
  return (size + part - 1) / part;
}

std::int64_t power_of_two_up_to(std::int64_t value) {
  std::int64_t power = 1;
  while (2 * power <= value) power *= 2;
  return power;
}

// Loads of weights in flight of the `loads` that a thread needs.
std::int64_t flight(std::int64_t loads, DataType type, int width, std::int64_t rows) {
  const std::size_t bytes = element_bytes(type) * static_cast<std::size_t>(width);
  const bool narrow = bytes <= 8 && rows == 1;
  return std::min(loads, narrow ? kNarrowFlightMax : kFlightMax);
}

std::string read_width(int width) {
  return fmt::format("constexpr int kReadWidth = {};\n", width);
}

KernelSource along_kernel(const Contraction& contraction, const std::string& name) {
  const std::int64_t channels = contraction.channels;
  const std::int64_t rows = product(contraction.rows);
  const std::int64_t items = contraction.columns * product(contraction.batch);
  const int width =
      std::min(width_along(contraction.input, Along::channels, channels, kWidthMax),
               width_along(contraction.weights, Along::channels, channels, kWidthMax));
  std::int64_t splits = 1;
  while (splits < kWarps && items * splits < kWarpsEnough && channels > kWarp * width * splits) {
    splits *= 2;
  }
  const std::int64_t loads = parts(channels, kWarp * width * splits);
  const std::int64_t in_flight = flight(loads, contraction.weights.type, width, rows);
  // A sum of its own for each of neighbouring loads, so that they needn't wait for one another.
  const std::int64_t chains = std::min(in_flight, std::max<std::int64_t>(1, kManyRows / rows));
  const KernelText text{kernel_name(name),
                        constant("kWarps", kWarps) + constant("kSplits", splits) +
                            constant("kBlockItems", kWarps / splits) +
                            constant("kFlight", in_flight) + constant("kChains", chains) +
                            read_width(width),
                        kAlongBody, static_cast<unsigned>(kWarps * kWarp), 1};
  return {text.name, kernel_text(contraction, text),
          static_cast<unsigned>(parts(items, kWarps / splits)), text.threads, 1};
}

// Fewer columns a block are more blocks, and more threads for each column.
std::int64_t columns_of_block(const Contraction& contraction, int width, std::int64_t threads) {
  const std::int64_t batches = product(contraction.batch);
  std::int64_t columns = kColumnsTogether;
  while (columns > kColumnsApart && parts(contraction.columns, columns) * batches < kBlocksEnough) {
    columns /= 2;
  }
  const auto loads = [&] { return contraction.channels * columns / (width * threads); };
  while (columns > width && parts(contraction.columns, columns) * batches < kBlocksEnough / 2 &&
         loads() > 2 * kFlightMax) {
    columns /= 2;
  }
  return columns;
}

KernelSource across_kernel(const Contraction& contraction, const std::string& name) {
  const int width =
      width_along(contraction.weights, Along::columns, contraction.columns, kWidthMax);
  const std::int64_t rows = product(contraction.rows);
  const std::int64_t threads_most = rows > kManyRows ? kThreadsOfRows : kThreads;
  const std::int64_t columns = columns_of_block(contraction, width, threads_most);
  const std::int64_t blocks = parts(contraction.columns, columns);
  const std::int64_t lanes = columns / width;
  const std::int64_t splits =
      std::min(threads_most / lanes, power_of_two_up_to(contraction.channels));
  const std::int64_t in_flight =
      flight(parts(contraction.channels, splits), contraction.weights.type, width, rows);
  const KernelText text{kernel_name(name),
                        constant("kLanes", lanes) + constant("kSplits", splits) +
                            constant("kGroups", lanes * splits / std::max(lanes, kWarp)) +
                            constant("kBlockColumns", columns) + constant("kColumnBlocks", blocks) +
                            constant("kFlight", in_flight) + read_width(width),
                        kAcrossBody, static_cast<unsigned>(lanes * splits), 1};
  return {text.name, kernel_text(contraction, text),
          static_cast<unsigned>(blocks * product(contraction.batch)), text.threads, 1};
}

bool has_few_columns(const Contraction& contraction) {
  return contraction.columns <= kColumnsMax && contraction.channels > 0 &&
         contraction.channels <= kFewChannelsMax;
}

KernelSource few_columns_kernel(const Contraction& contraction, const std::string& name) {
  const int width =
      width_along(contraction.input, Along::channels, contraction.channels, kWidthMax);
  const int weights =
      width_along(contraction.weights, Along::channels, contraction.channels, width);
  const KernelText text{
      kernel_name(name),
      constant("kThreads", kRowThreads) + read_width(width) + constant("kWeightWidth", weights),
      kFewColumnsBody, kRowThreads, 1};
  const std::int64_t items = product(contraction.rows) * product(contraction.batch);
  return {text.name, kernel_text(contraction, text),
          static_cast<unsigned>(parts(items, kRowThreads)), text.threads, 1};
}

// What has one place only has no step, which could forbid that elements move together.
Contraction without_idle_steps(Contraction contraction) {
  const auto clear = [](const Shape& shape, std::vector<std::int64_t>& strides) {
    for (std::size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] == 1) strides[i] = 0;
    }
  };
  const auto clear_all = [&](ContractionTensor& tensor) {
    clear(contraction.batch, tensor.batch);
    clear(contraction.rows, tensor.rows);
  };
  clear_all(contraction.input);
  clear_all(contraction.weights);
  clear_all(contraction.output);
  for (ContractionExtra& extra : contraction.extras) clear_all(extra.tensor);
  return contraction;
}

bool is_few_rows(const Contraction& contraction) {
  return product(contraction.rows) <= kRowsMax && contraction.channels >= kChannelsMin &&
         (contraction.weights.channel == 1 || contraction.weights.column == 1);
}

// With "at least one block" the compiler takes the registers for all loads of a round at once; otherwise it
// spares them, and the loads wait for one another.
KernelSource with_all_registers(KernelSource source) {
  const std::string bounds = fmt::format("__launch_bounds__({}", source.threads_x);
  const std::size_t begin = source.text.find(bounds + ")");
  if (begin != std::string::npos) source.text.insert(begin + bounds.size(), ", 1");
  return source;
}

}  // namespace

bool has_few_rows(const Contraction& contraction) {
  return !contraction.window && (is_few_rows(contraction) || has_few_columns(contraction));
}

KernelSource few_rows_kernel(const Contraction& described, const std::string& name) {
  const Contraction contraction = without_idle_steps(described);
  const auto kernel = !is_few_rows(contraction)          ? few_columns_kernel
                      : contraction.weights.channel == 1 ? along_kernel
                                                         : across_kernel;
  return with_all_registers(kernel(contraction, name));
}

}  // namespace takt::cuda
