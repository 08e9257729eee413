// SPDX-License-Identifier: Apache-2.0
// Sums of products of 16-bit floats on tensor cores. Where there are few rows, time goes into waiting, and few blocks
// would leave most of a GPU idle: there a cluster of blocks shares each tile's sums. Where there are many but few
// columns, narrow tiles multiply less that nobody asked for.
#include "backend/cuda/kernels/contraction.h"
#include "backend/cuda/kernels/contraction_text.h"
#include "backend/cuda/kernels/index_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

namespace takt::cuda {
namespace {

constexpr ComputeCapability kCopiesMin{8, 0};  // cp.async
constexpr ComputeCapability kClustersMin{9, 0};
constexpr int kVector = 8;  // numbers that move together
constexpr int kWarp = 32;
constexpr int kStagesMax = 6;                    // chunks in flight
constexpr std::int64_t kSharedBytes = 48 << 10;  // of a block, as every GPU gives it
constexpr int kGap = 8;  // behind a row of sums, against conflicts between banks

// For the estimate, in cycles of a multiprocessor, by the times of the tilings for nine convolutions on an H200
// (bench/results/gpu-tilings-2026-12-01.json); tuning measures the best of it.
constexpr std::int64_t kBlocksEachMax = 4;  // where blocks share tiles
constexpr double kStartCycles = 1000;
constexpr double kShareCycles = 500;    // of a block of a cluster
constexpr double kWaitingCycles = 250;  // of a block for a chunk, which others may use
constexpr double kWritingCycles = 60;   // likewise, for each result of a thread
constexpr double kBlockCycles = 270;    // of a block that others can't use, whatever it does,
constexpr double kWarpCycles = 15;      // of each of its warps for a chunk
constexpr double kProductsPerCycle = 1184;
constexpr double kBytesPerCycle = 58;
constexpr double kResultsPerCycle = 9;

struct Tile {
  int rows = 0;
  int columns = 0;
  int warps = 0;
};
// Many warps hide more of each other's waiting; few read less from shared memory for each product.
constexpr std::array kTiles{Tile{64, 64, 8},  Tile{32, 64, 8},  Tile{64, 32, 8},  Tile{64, 64, 4},
                            Tile{32, 64, 4},  Tile{32, 32, 4},  Tile{64, 80, 4},  Tile{128, 64, 8},
                            Tile{128, 32, 8}, Tile{128, 80, 4}, Tile{128, 64, 4}, Tile{128, 48, 4},
                            Tile{128, 32, 4}, Tile{128, 16, 4}};
constexpr std::array kSplits{1, 2, 4, 8};
constexpr std::array kDepths{32, 64};  // numbers of a chunk of the sums, rising
constexpr int kOwnStep = 16;           // rows and columns of a warp are multiples of it

// As many as cover it.
std::int64_t tiles_of(std::int64_t size, std::int64_t tile) {
  return (size + tile - 1) / tile;
}

std::int64_t taps(const Contraction& contraction) {
  return contraction.window ? product(contraction.window->kernel) : 1;
}

// Both factors of a chunk.
std::int64_t stage_bytes(const ProductTiling& tiling) {
  return std::int64_t{tiling.rows + tiling.columns} * tiling.depth * 2;
}

// Two chunks have room, and each thread has something to load.
bool is_whole(const ProductTiling& tiling) {
  return 2 * stage_bytes(tiling) <= kSharedBytes &&
         tiling.rows * tiling.depth / kVector >= tiling.warps * kWarp;
}

std::int64_t chunks(const Contraction& contraction, const ProductTiling& tiling) {
  return tiles_of(taps(contraction) * contraction.channels, tiling.depth);
}

std::int64_t blocks(const Contraction& contraction, const ProductTiling& tiling) {
  return tiles_of(product(contraction.rows), tiling.rows) *
         tiles_of(contraction.columns, tiling.columns) * product(contraction.batch) * tiling.splits;
}

// Warps beside each other in a tile, where their parts are as square as they can be.
int warps_across(const ProductTiling& tiling) {
  int across = 1;
  while (tiling.columns % (2 * across * kOwnStep) == 0 &&
         tiling.rows * across / tiling.warps < tiling.columns / across) {
    across *= 2;
  }
  return across;
}

double estimated_cycles(const Contraction& contraction, const ProductTiling& tiling,
                        const ProductDevice& device) {
  const auto blocks_each = static_cast<double>(
      tiles_of(blocks(contraction, tiling) * device.runs_beside, device.multiprocessors));
  const auto chunks_each =
      static_cast<double>(tiles_of(chunks(contraction, tiling), tiling.splits));
  const double results = tiling.rows * tiling.columns;
  const double products = results * tiling.depth / kProductsPerCycle;
  const double busy = kWarpCycles * tiling.warps + products +
                      static_cast<double>(stage_bytes(tiling)) / kBytesPerCycle;
  const double chunk = std::max(kWaitingCycles + products, blocks_each * busy);
  const double rest = std::max(kWritingCycles * results / (tiling.warps * kWarp),
                               blocks_each * (kBlockCycles + results / kResultsPerCycle));
  return kStartCycles + chunks_each * chunk + rest +
         (tiling.splits > 1 ? kShareCycles * tiling.splits : 0);
}

bool weights_lie_along(const Contraction& contraction) {
  return width_along(contraction.weights, Along::channels, contraction.channels, kVector) ==
         kVector;
}

bool moves_in_vectors(const Contraction& contraction) {
  const bool across =
      width_along(contraction.weights, Along::columns, contraction.columns, kVector) == kVector;
  return width_along(contraction.input, Along::channels, contraction.channels, kVector) ==
             kVector &&
         (weights_lie_along(contraction) || across);
}

// Kernels count elements of a batch in 32 bits.
bool has_small_offsets(const Contraction& contraction) {
  const std::size_t spatial = contraction.input_sizes.size();
  std::int64_t input = contraction.channels;
  for (std::size_t dim = 0; dim < contraction.rows.size(); ++dim) {
    const std::size_t first = contraction.rows.size() - spatial;
    const std::int64_t size =
        dim < first ? contraction.rows[dim] : contraction.input_sizes[dim - first];
    input += size * contraction.input.rows[dim];
  }
  std::int64_t weights = contraction.columns * contraction.weights.column +
                         contraction.channels * contraction.weights.channel;
  for (std::size_t dim = 0; dim < contraction.weights.taps.size(); ++dim) {
    weights += contraction.window->kernel[dim] * contraction.weights.taps[dim];
  }
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  return input <= kMost && weights <= kMost;
}

bool is_suitable(const Contraction& contraction, ComputeCapability capability) {
  const DataType type = contraction.input.type;
  return capability >= kCopiesMin && (type == DataType::fp16 || type == DataType::bf16) &&
         contraction.weights.type == type && contraction.sum == DataType::fp32 &&
         !contraction.depthwise && contraction.channels % kVector == 0 &&
         moves_in_vectors(contraction) && has_small_offsets(contraction);
}

// Of a suitable one.
bool fits(const Contraction& contraction, const ProductTiling& tiling,
          ComputeCapability capability) {
  const bool lies =
      weights_lie_along(contraction) || std::has_single_bit(static_cast<unsigned>(tiling.columns));
  const bool fills =
      tiling.depth == kDepths.front() || taps(contraction) * contraction.channels > kDepths.front();
  return lies && fills && tiling.splits <= chunks(contraction, tiling) &&
         (tiling.splits == 1 || capability >= kClustersMin);
}

// A chunk of a factor lies in shared memory row by row: a row of the tile, or a column of it, or a number of the sums
// where weights lie across. Vectors of a row change places with the row, so that eight rows' are in different banks.
//
// Warps lie in rows of kWarpsAcross in a tile. A thread has of each 16 x 8 sums those that an mma instruction gives it.
constexpr std::string_view kBody = R"cuda(
  const unsigned part = blockIdx.x % kSplits;
  const unsigned tile = blockIdx.x / kSplits % (kRowTiles * kColumnTiles);
  const unsigned z = blockIdx.x / (kSplits * kRowTiles * kColumnTiles);
  const unsigned first_row = tile / kColumnTiles * kTileRows;
  const unsigned first_column = tile % kColumnTiles * kTileColumns;
  __shared__ __align__(128) unsigned char memory[kSharedBytes];
  const Input* const x = in0 + input_batch(z);
  const Weight* const w = in1 + weight_batch(z);
  const unsigned vector = threadIdx.x % kVectors;
  const unsigned lane = threadIdx.x % 32u;
  Start starts[kInputLoads];
  bool is_row[kInputLoads];
  // Where a warp loads many rows, each of its threads finds one of them for all.
  constexpr unsigned kAtOnce = kThreads / kVectors;
  constexpr unsigned kOfWarp = 32u / kVectors;
  constexpr bool kShared = kInputLoads > 3u;
  Start found;
  if constexpr (kShared) {
    found = start_of(row_of(first_row + threadIdx.x / 32u * kOfWarp + lane % kOfWarp +
                            lane / kOfWarp % kInputLoads * kAtOnce));
  }
#pragma unroll
  for (unsigned i = 0; i < kInputLoads; ++i) {
    const unsigned row = first_row + threadIdx.x / kVectors + i * kAtOnce;
    is_row[i] = kRows % kTileRows == 0u || row < kRows;
    if constexpr (kShared) {
      starts[i] = of_lane(found, static_cast<int>(i * kOfWarp + lane / kVectors));
    } else {
      starts[i] = start_of(row_of(row));
    }
  }
  const auto load = [&](unsigned stage, unsigned chunk) {
    Input* const a = reinterpret_cast<Input*>(memory + stage * kStageBytes);
    Weight* const b = reinterpret_cast<Weight*>(memory + stage * kStageBytes + kInputBytes);
    const unsigned number = chunk * kDepth + vector * kVector;
    const unsigned tap = tap_number(chunk, number);
    const int channel = static_cast<int>(number - tap * kChannels);
    const Tap own_tap = tap_of(tap);
    const bool is_number = kNumbers % kDepth == 0u || number < kNumbers;
#pragma unroll
    for (unsigned i = 0; i < kInputLoads; ++i) {
      const unsigned row = threadIdx.x / kVectors + i * kAtOnce;
      int at = 0;
      const bool real = reaches(starts[i], own_tap, at) & is_row[i] & is_number;
      takt::copy_later<kReadAgain>(a + place<kDepth>(row, vector), x + (real ? at + channel : 0),
                                   real);
    }
#pragma unroll
    for (unsigned i = 0; i < kWeightLoads; ++i) {
      if constexpr (kWeightsAlong) {
        const unsigned own = threadIdx.x / kVectors + i * kAtOnce;
        if (kTileColumns % kAtOnce != 0u && own >= kTileColumns) continue;
        const unsigned column = first_column + own;
        const bool real = is_number & (kColumns % kTileColumns == 0u || column < kColumns);
        const unsigned at = column * static_cast<unsigned>(kWeightColumn) + weight_of(number);
        takt::copy_later(b + place<kDepth>(own, vector), w + (real ? at : 0u), real);
      } else {
        const unsigned slot = threadIdx.x + i * kThreads;
        const unsigned depth = slot / (kTileColumns / kVector);
        if (kDepth * kTileColumns % (kThreads * kVector) != 0u && depth >= kDepth) continue;
        const unsigned of_row = slot % (kTileColumns / kVector);
        const unsigned column = first_column + of_row * kVector;
        const bool real = (kNumbers % kDepth == 0u || chunk * kDepth + depth < kNumbers) &
                          (kColumns % kTileColumns == 0u || column < kColumns);
        const unsigned at = weight_of(chunk * kDepth + depth) + column;
        takt::copy_later(b + place<kTileColumns>(depth, of_row), w + (real ? at : 0u), real);
      }
    }
  };
  const unsigned warp = threadIdx.x / 32u;
  const unsigned own_row = warp / kWarpsAcross * kOwnRows;
  const unsigned own_column = warp % kWarpsAcross * kOwnColumns;
  float sums[kOwnRows / 16u][kOwnColumns / 8u][4] = {};
  const auto multiply = [&](unsigned stage) {
    const Input* const a = reinterpret_cast<const Input*>(memory + stage * kStageBytes);
    const Weight* const b =
        reinterpret_cast<const Weight*>(memory + stage * kStageBytes + kInputBytes);
#pragma unroll
    for (unsigned k = 0; k < kDepth; k += 16u) {
      unsigned left[kOwnRows / 16u][4];
      unsigned right[kOwnColumns / 16u][4];
#pragma unroll
      for (unsigned i = 0; i < kOwnRows / 16u; ++i) {
        takt::load_matrices(left[i], a + place<kDepth>(own_row + i * 16u + lane % 16u,
                                                       k / kVector + lane / 16u));
      }
#pragma unroll
      for (unsigned j = 0; j < kOwnColumns / 16u; ++j) {
        const unsigned column = own_column + j * 16u + lane / 16u * 8u;
        if constexpr (kWeightsAlong) {
          takt::load_matrices(right[j], b + place<kDepth>(column + lane % 8u,
                                                          k / kVector + lane / 8u % 2u));
        } else {
          takt::load_transposed(right[j], b + place<kTileColumns>(k + lane % 16u, column / kVector));
        }
      }
#pragma unroll
      for (unsigned i = 0; i < kOwnRows / 16u; ++i) {
#pragma unroll
        for (unsigned j = 0; j < kOwnColumns / 8u; ++j) {
          takt::multiply<Input>(sums[i][j], left[i], right[j / 2u][j % 2u * 2u],
                                right[j / 2u][j % 2u * 2u + 1u]);
        }
      }
    }
  };
  const unsigned begin = part * kChunksOfPart;
  const unsigned left = begin < kChunks ? kChunks - begin : 0u;
  const unsigned end = left < kChunksOfPart ? left : kChunksOfPart;
#pragma unroll
  for (unsigned i = 0; i + 1u < kStages; ++i) {
    if (i < end) load(i, begin + i);
    takt::close_copies();
  }
  for (unsigned number = 0; number < end; ++number) {
    takt::wait_for_copies<kStages - 2u>();
    __syncthreads();
    const unsigned next = number + kStages - 1u;
    if (next < end) load(next % kStages, begin + next);
    takt::close_copies();
    multiply(number % kStages);
  }
  takt::wait_for_copies<0>();
  __syncthreads();
  float* const all = reinterpret_cast<float*>(memory);
#pragma unroll
  for (unsigned i = 0; i < kOwnRows / 16u; ++i) {
    float* const sixteen = all + (own_row + i * 16u) * kSumsRow + own_column;
#pragma unroll
    for (unsigned j = 0; j < kOwnColumns / 8u; ++j) {
#pragma unroll
      for (unsigned half = 0; half < 2u; ++half) {
        float* const two = sixteen + (half * 8u + lane / 4u) * kSumsRow + j * 8u + lane % 4u * 2u;
        *reinterpret_cast<takt::Elements<float, 2>*>(two) = {
            {sums[i][j][half * 2u], sums[i][j][half * 2u + 1u]}};
      }
    }
  }
  meet();
  constexpr unsigned kItem = kWriteWidth > 4u ? kWriteWidth : 4u;  // columns of a thread at a time
  constexpr unsigned kItems = kTileColumns / kItem;
  for (unsigned item = threadIdx.x; item < kTileRows / kSplits * kItems; item += kThreads) {
    const unsigned row = part * (kTileRows / kSplits) + item / kItems;
    const unsigned column = item % kItems * kItem;
    if (first_row + row >= kRows || first_column + column >= kColumns) continue;
    const float* const from = all + row * kSumsRow + column;
    float whole[kItem] = {};
#pragma unroll
    for (unsigned other = 0; other < kSplits; ++other) {
#pragma unroll
      for (unsigned four = 0; four < kItem; four += 4u) {
        float of_part[4];
        load_part(of_part, from + four, other);
#pragma unroll
        for (unsigned k = 0; k < 4u; ++k) whole[four + k] += of_part[k];
      }
    }
    const Places at = numbered_places(z, first_row + row);
#pragma unroll
    for (unsigned k = 0; k < kItem; k += kWriteWidth) {
      if (first_column + column + k < kColumns) write(&whole[k], at, first_column + column + k, to);
    }
  }
  leave();
)cuda";

constexpr std::string_view kFunction = "__device__ __forceinline__";

// Of a transposed window, where a step between pixels leaves rows that a tap has no place for.
constexpr std::string_view kReachBackwards = R"cuda(
struct Start { Row row; };
struct Tap { unsigned number; };
__device__ __forceinline__ Start start_of(const Row& row) { return {row}; }
__device__ __forceinline__ Start of_lane(Start start, int lane) {
  for (int& at : start.row.at) at = __shfl_sync(~0u, at, lane);
  return start;
}
__device__ __forceinline__ Tap tap_of(unsigned number) { return {number}; }
__device__ __forceinline__ bool reaches(const Start& start, const Tap& tap, int& at) {
  unsigned long long place = 0;
  const bool is_there = input_at(start.row, tap.number, place);
  at = static_cast<int>(place);
  return is_there;
}
)cuda";

// The place of a vector in a chunk whose rows have kRow numbers.
constexpr std::string_view kPlaces = R"cuda(
static_assert(kSharedBytes <= 48u << 10 && kInputLoads > 0 && kWeightLoads > 0, "a tile that fits");
static_assert(kOwnRows % 16u == 0 && kOwnColumns % 16u == 0, "whole products for each warp");
template <unsigned kRow>
__device__ __forceinline__ unsigned place(unsigned row, unsigned vector) {
  constexpr unsigned kInRow = kRow / kVector;
  constexpr unsigned kTogether = 8u / kInRow;  // rows that fill the banks
  return row * kRow + (vector ^ row / kTogether % kInRow) * kVector;
}
)cuda";

// Where a row's input begins, how far a tap is from there, and whether what it asks for isn't padding.
std::string reach_text(const Contraction& contraction) {
  if (contraction.window && contraction.transposed) {
    return std::string(kReachBackwards);
  }
  const std::size_t spatial = contraction.window ? contraction.window->kernel.size() : 0;
  const std::size_t first = contraction.rows.size() - spatial;
  const std::vector<std::int64_t>& strides = contraction.input.rows;
  std::string members;  // the place in each dimension of the window
  std::string of_lane = "  start.at = __shfl_sync(~0u, start.at, lane);\n";
  std::string starts;
  std::string begin = "  start.at = 0";
  std::string taps;
  std::string distance = "  tap.at = 0";
  std::string inside = "true";
  for (std::size_t dim = 0; dim < first; ++dim) {
    begin += fmt::format(" + row.at[{}] * {}", dim, strides[dim]);
  }
  for (std::size_t dim = spatial; dim-- > 0;) {
    const graph::Window& window = *contraction.window;
    const std::int64_t reach = (window.kernel[dim] - 1) * window.dilations[dim];
    const std::int64_t last = (contraction.rows[first + dim] - 1) * window.strides[dim] + reach;
    members += fmt::format("  int y{};\n", dim);
    of_lane += fmt::format("  start.y{0} = __shfl_sync(~0u, start.y{0}, lane);\n", dim);
    starts += fmt::format("  start.y{} = row.at[{}] * {} - {};\n", dim, first + dim,
                          window.strides[dim], window.pads_begin[dim]);
    begin += fmt::format(" + start.y{} * {}", dim, strides[first + dim]);
    taps += fmt::format("  tap.y{0} = static_cast<int>(number % {1}u) * {2};\n  number /= {1}u;\n",
                        dim, window.kernel[dim], window.dilations[dim]);
    distance += fmt::format(" + tap.y{} * {}", dim, strides[first + dim]);
    if (window.pads_begin[dim] == 0 && last < contraction.input_sizes[dim]) continue;
    inside += fmt::format(" & (static_cast<unsigned>(start.y{0} + tap.y{0}) < {1}u)", dim,
                          contraction.input_sizes[dim]);
  }
  return fmt::format(
      "struct Start {{\n  int at;\n{0}}};\nstruct Tap {{\n  int at;\n{0}}};\n"
      "{1} Start start_of(const Row& row) {{\n  Start start;\n{2}{3};\n  return start;\n}}\n"
      "{1} Start of_lane(Start start, int lane) {{\n{7}  return start;\n}}\n"
      "{1} Tap tap_of(unsigned number) {{\n  Tap tap;\n{4}{5};\n  return tap;\n}}\n"
      "{1} bool reaches(const Start& start, const Tap& tap, int& at) {{\n"
      "  at = start.at + tap.at;\n  return {6};\n}}\n",
      members, kFunction, starts, begin, taps, distance, inside, of_lane);
}

// One for all of a chunk where the channels of a tap are whole chunks.
std::string tap_number_text(const Contraction& contraction, int depth) {
  const bool whole = contraction.channels % depth == 0;
  return fmt::format(
      "{} unsigned tap_number(unsigned chunk, unsigned number) {{ return {}; }}\n", kFunction,
      whole ? fmt::format("chunk / {}u", contraction.channels / depth) : "number / kChannels");
}

// The offset of one of the numbers that are summed, in a column's weights.
std::string weight_text(const Contraction& contraction) {
  std::int64_t stride = contraction.channels * contraction.weights.channel;
  bool even = true;
  for (std::size_t dim = contraction.weights.taps.size(); dim-- > 0;) {
    const std::int64_t count = contraction.window->kernel[dim];
    even = even && (count == 1 || contraction.weights.taps[dim] == stride);
    stride *= count;
  }
  return fmt::format(
      "{} unsigned weight_of(unsigned number) {{\n  return {};\n}}\n", kFunction,
      even ? "number * static_cast<unsigned>(kWeightChannel)"
           : "static_cast<unsigned>(weight_at(number / kChannels) + number % kChannels * "
             "kWeightChannel)");
}

// How the blocks that share a tile meet, and read four numbers of one's sums.
constexpr std::string_view kAlone = R"cuda(
__device__ __forceinline__ void meet() { __syncthreads(); }
__device__ __forceinline__ void leave() {}
__device__ __forceinline__ void load_part(float (&to)[4], const float* at, unsigned) {
  const auto four = *reinterpret_cast<const takt::Elements<float, 4>*>(at);
#pragma unroll
  for (unsigned k = 0; k < 4u; ++k) to[k] = four.at[k];
}
)cuda";
constexpr std::string_view kInCluster = R"cuda(
__device__ __forceinline__ void meet() { takt::wait_for_cluster(); }
__device__ __forceinline__ void leave() { takt::end_together(); }  // the others may still read
__device__ __forceinline__ void load_part(float (&to)[4], const float* at, unsigned block) {
  takt::load_of_block(to, at, block);
}
)cuda";

std::string constants_text(const Contraction& contraction, const ProductTiling& tiling) {
  const int depth = tiling.depth;
  const std::int64_t bytes = stage_bytes(tiling);
  const int across = warps_across(tiling);
  const std::int64_t sums_row = tiling.columns + kGap;
  const std::int64_t of_part = tiles_of(chunks(contraction, tiling), tiling.splits);
  const std::int64_t stages =
      std::clamp<std::int64_t>(std::min(kSharedBytes / bytes, of_part + 1), 2, kStagesMax);
  const std::int64_t shared =
      std::max(std::min(stages, of_part) * bytes, tiling.rows * sums_row * 4);
  const std::int64_t threads = std::int64_t{tiling.warps} * kWarp;
  return constant("kThreads", threads) + constant("kDepth", depth) + constant("kVector", kVector) +
         constant("kVectors", depth / kVector) +
         constant("kNumbers", taps(contraction) * contraction.channels) +
         constant("kChunks", chunks(contraction, tiling)) + constant("kChunksOfPart", of_part) +
         constant("kSplits", tiling.splits) + constant("kStages", stages) +
         constant("kInputBytes", std::int64_t{tiling.rows} * depth * 2) +
         constant("kStageBytes", bytes) + constant("kSharedBytes", shared) +
         constant("kTileRows", tiling.rows) + constant("kTileColumns", tiling.columns) +
         constant("kRowTiles", tiles_of(product(contraction.rows), tiling.rows)) +
         constant("kColumnTiles", tiles_of(contraction.columns, tiling.columns)) +
         constant("kWarpsAcross", across) +
         constant("kOwnRows", tiling.rows * across / tiling.warps) +
         constant("kOwnColumns", tiling.columns / across) +
         constant("kInputLoads", std::int64_t{tiling.rows} * depth / kVector / threads) +
         constant("kWeightLoads",
                  tiles_of(std::int64_t{tiling.columns} * depth / kVector, threads)) +
         constant("kSumsRow", sums_row) +
         fmt::format("constexpr bool kWeightsAlong = {};\n", weights_lie_along(contraction)) +
         fmt::format("constexpr bool kReadAgain = {};\n", taps(contraction) > 1) +
         std::string(kPlaces) + reach_text(contraction) + tap_number_text(contraction, depth) +
         weight_text(contraction) + std::string(tiling.splits > 1 ? kInCluster : kAlone);
}

}  // namespace

std::vector<ProductTiling> all_product_tilings() {
  std::vector<ProductTiling> all;
  for (const Tile& tile : kTiles) {
    for (const int splits : kSplits) {
      for (const int depth : kDepths) {
        const ProductTiling tiling{tile.rows, tile.columns, splits, tile.warps, depth};
        if (is_whole(tiling)) all.push_back(tiling);
      }
    }
  }
  return all;
}

std::string to_string(const ProductTiling& tiling) {
  return fmt::format("{}x{}x{}x{}x{}", tiling.rows, tiling.columns, tiling.splits, tiling.warps,
                     tiling.depth);
}

std::optional<ProductTiling> parse_product_tiling(std::string_view text) {
  const std::vector<ProductTiling> all = all_product_tilings();
  const auto found =
      std::ranges::find(all, text, [](const ProductTiling& t) { return to_string(t); });
  return found == all.end() ? std::nullopt : std::optional(*found);
}

bool has_tiling(const Contraction& contraction, const ProductTiling& tiling,
                ComputeCapability capability) {
  return is_suitable(contraction, capability) && fits(contraction, tiling, capability) &&
         std::ranges::count(all_product_tilings(), tiling) > 0;
}

std::vector<ProductTiling> product_tilings(const Contraction& contraction,
                                           const ProductDevice& device, int most) {
  if (!is_suitable(contraction, device.capability)) return {};
  std::vector<ProductTiling> found = all_product_tilings();
  std::erase_if(found, [&](const ProductTiling& tiling) {
    return !fits(contraction, tiling, device.capability) ||
           (tiling.splits > 1 &&
            blocks(contraction, tiling) > kBlocksEachMax * device.multiprocessors);
  });
  std::ranges::stable_sort(found, {}, [&](const ProductTiling& tiling) {
    return estimated_cycles(contraction, tiling, device);
  });
  if (std::ssize(found) > most) found.resize(static_cast<std::size_t>(most));
  return found;
}

KernelSource tensor_core_kernel(const Contraction& contraction, const ProductTiling& tiling,
                                const std::string& name) {
  const int write = width_along(contraction.output, Along::columns, contraction.columns, kVector);
  const auto cluster = static_cast<unsigned>(tiling.splits);
  const KernelText text{kernel_name(name),
                        constants_text(contraction, tiling),
                        kBody,
                        static_cast<unsigned>(tiling.warps * kWarp),
                        write,
                        cluster};
  return {text.name,
          kernel_text(contraction, text),
          static_cast<unsigned>(blocks(contraction, tiling)),
          text.threads,
          1,
          cluster};
}

}  // namespace takt::cuda
