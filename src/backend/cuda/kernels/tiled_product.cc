// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/kernels/contraction.h"
#include "backend/cuda/kernels/contraction_text.h"
#include "backend/cuda/kernels/index_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace takt::cuda {
namespace {

constexpr int kOwn = 4;                      // rows and columns of a thread
constexpr int kDepthMax = 16;                // channels of a tile
constexpr std::int64_t kBlocksEnough = 128;  // that about keep a large GPU busy
constexpr std::int64_t kReadCost = 16;       // of an element, in multiplications

struct Tile {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

// Large ones read each element less often; small ones keep more of the GPU busy.
constexpr std::array kTiles{Tile{64, 64},  Tile{128, 32}, Tile{32, 64}, Tile{32, 32},
                            Tile{256, 16}, Tile{64, 16},  Tile{256, 8}, Tile{256, 4}};

std::int64_t tiles(std::int64_t size, std::int64_t tile) {
  return (size + tile - 1) / tile;
}

std::int64_t blocks(const Contraction& contraction, const Tile& tile) {
  return tiles(product(contraction.rows), tile.rows) * tiles(contraction.columns, tile.columns) *
         product(contraction.batch);
}

// What a block multiplies and, weighed, what it reads for that; fewer blocks than enough take as long as those.
std::int64_t cost(const Contraction& contraction, const Tile& tile) {
  const std::int64_t each = tile.rows * tile.columns + kReadCost * (tile.rows + tile.columns);
  return std::max(blocks(contraction, tile), kBlocksEnough) * each;
}

Tile tile_of(const Contraction& contraction) {
  return *std::ranges::min_element(kTiles, {},
                                   [&](const Tile& tile) { return cost(contraction, tile); });
}

int depth_of(const Contraction& contraction) {
  int depth = kOwn;
  while (depth < kDepthMax && depth < contraction.channels) depth *= 2;
  return depth;
}

// A tile of a factor lies in shared memory as [channel][row or column]; a thread's slot is what it reads at
// once, along the channels or across.
constexpr std::string_view kBody = R"cuda(
  const unsigned tile = blockIdx.x % (kRowTiles * kColumnTiles);
  const unsigned z = blockIdx.x / (kRowTiles * kColumnTiles);
  const unsigned first_row = tile / kColumnTiles * kTileRows;
  const unsigned first_column = tile % kColumnTiles * kTileColumns;
  const unsigned own_row = threadIdx.x / (kTileColumns / kOwn) * kOwn;
  const unsigned own_column = threadIdx.x % (kTileColumns / kOwn) * kOwn;
  __shared__ __align__(32) Sum a[kDepth][kTileRows + kOwn];
  __shared__ __align__(32) Sum b[kDepth][kTileColumns + kOwn];
  const Input* const x = in0 + input_batch(z);
  const Weight* const w = in1 + weight_batch(z);
  Row rows[kInputSlots];
#pragma unroll
  for (int i = 0; i < kInputSlots; ++i) {
    rows[i] = row_of(first_row + input_slot(threadIdx.x + i * kThreads).side);
  }
  Sum sums[kOwn][kOwn] = {};
  for (unsigned tap = 0; tap < kTaps; ++tap) {
    unsigned long long at[kInputSlots];
    bool inside[kInputSlots];
#pragma unroll
    for (int i = 0; i < kInputSlots; ++i) {
      const unsigned slot = threadIdx.x + i * kThreads;
      inside[i] = slot < kInputLoads && first_row + input_slot(slot).side < kRows &&
                  input_at(rows[i], tap, at[i]);
    }
    const unsigned long long tap_at = weight_at(tap);
    for (unsigned c = 0; c < kChannels; c += kDepth) {
#pragma unroll
      for (int i = 0; i < kInputSlots; ++i) {
        const unsigned slot = threadIdx.x + i * kThreads;
        if (slot >= kInputLoads) break;
        const Slot own = input_slot(slot);
        const bool real = inside[i] && c + own.channel < kChannels;
        takt::Elements<Input, kInputWidth> elements = {};
        if (real) {
          elements = *reinterpret_cast<const takt::Elements<Input, kInputWidth>*>(
              x + at[i] + (c + own.channel) * kInputChannel);
        }
#pragma unroll
        for (int e = 0; e < kInputWidth; ++e) {
          a[own.channel + e][own.side] = input_value(elements.at[e]);
        }
      }
#pragma unroll
      for (int i = 0; i < kWeightSlots; ++i) {
        const unsigned slot = threadIdx.x + i * kThreads;
        if (slot >= kWeightLoads) break;
        const Slot own = weight_slot(slot);
        const unsigned column = first_column + own.side;
        takt::Elements<Weight, kWeightWidth> elements = {};
        if (column < kColumns && c + own.channel < kChannels) {
          elements = *reinterpret_cast<const takt::Elements<Weight, kWeightWidth>*>(
              w + tap_at + (c + own.channel) * kWeightChannel + column * kWeightColumn);
        }
#pragma unroll
        for (int e = 0; e < kWeightWidth; ++e) {
          b[own.channel + (kWeightsAlong ? e : 0)][own.side + (kWeightsAlong ? 0 : e)] =
              weight_value(elements.at[e]);
        }
      }
      __syncthreads();
#pragma unroll
      for (int k = 0; k < kDepth; ++k) {
        const auto left = *reinterpret_cast<const takt::Elements<Sum, kOwn>*>(&a[k][own_row]);
        const auto right = *reinterpret_cast<const takt::Elements<Sum, kOwn>*>(&b[k][own_column]);
#pragma unroll
        for (int i = 0; i < kOwn; ++i) {
#pragma unroll
          for (int j = 0; j < kOwn; ++j) sums[i][j] += left.at[i] * right.at[j];
        }
      }
      __syncthreads();
    }
  }
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if (first_row + own_row + i >= kRows) break;
    const Places at = numbered_places(z, first_row + own_row + i);
#pragma unroll
    for (int j = 0; j < kOwn; j += kWriteWidth) {
      const unsigned column = first_column + own_column + j;
      if (column < kColumns) write(&sums[i][j], at, column, to);
    }
  }
)cuda";

// `side` is the row or the column. Neighbouring threads read along the channels, or across them.
std::string slot_text(std::string_view function, std::int64_t side, int depth, bool along,
                      int width) {
  return fmt::format(
      "__device__ __forceinline__ Slot {}(unsigned slot) {{ return {}; }}\n", function,
      along ? fmt::format("{{slot / {0}u, slot % {0}u * {1}u}}", depth / width, width)
            : fmt::format("{{slot % {0}u * {1}u, slot / {0}u}}", side / width, width));
}

std::string loads_text(std::string_view of, std::int64_t side, int depth, int width,
                       std::int64_t threads) {
  const std::int64_t loads = side * depth / width;
  return constant(fmt::format("k{}Loads", of), loads) +
         fmt::format("constexpr int k{0}Slots = {1};\nconstexpr int k{0}Width = {2};\n", of,
                     (loads + threads - 1) / threads, width);
}

std::string constants_text(const Contraction& contraction, const Tile& tile, std::int64_t threads) {
  const int depth = depth_of(contraction);
  const auto most = static_cast<int>(std::min<std::int64_t>(depth, 8));
  const int input = width_along(contraction.input, Along::channels, contraction.channels, most);
  const int along = width_along(contraction.weights, Along::channels, contraction.channels, most);
  const int across = width_along(contraction.weights, Along::columns, contraction.columns,
                                 static_cast<int>(std::min<std::int64_t>(tile.columns, 8)));
  const bool weights_along = along > 1 || contraction.weights.channel == 1;
  const int weights = weights_along ? along : across;
  return fmt::format("constexpr int kOwn = {};\nconstexpr int kDepth = {};\n", kOwn, depth) +
         fmt::format("constexpr bool kWeightsAlong = {};\n", weights_along) +
         constant("kThreads", threads) + constant("kTileRows", tile.rows) +
         constant("kTileColumns", tile.columns) +
         constant("kRowTiles", tiles(product(contraction.rows), tile.rows)) +
         constant("kColumnTiles", tiles(contraction.columns, tile.columns)) +
         loads_text("Input", tile.rows, depth, input, threads) +
         loads_text("Weight", tile.columns, depth, weights, threads) +
         "struct Slot { unsigned side; unsigned channel; };\n" +
         slot_text("input_slot", tile.rows, depth, contraction.input.channel == 1, input) +
         slot_text("weight_slot", tile.columns, depth, weights_along, weights);
}

}  // namespace

KernelSource tiled_kernel(const Contraction& contraction, const std::string& name) {
  const Tile tile = tile_of(contraction);
  const std::int64_t threads = tile.rows * tile.columns / (kOwn * kOwn);
  const KernelText text{kernel_name(name), constants_text(contraction, tile, threads), kBody,
                        static_cast<unsigned>(threads),
                        width_along(contraction.output, Along::columns, contraction.columns, kOwn)};
  return {text.name, kernel_text(contraction, text),
          static_cast<unsigned>(blocks(contraction, tile)), text.threads, 1};
}

}  // namespace takt::cuda
