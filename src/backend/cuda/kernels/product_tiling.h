// SPDX-License-Identifier: Apache-2.0
// How blocks share a contraction on tensor cores. Plans keep it as text.
// Thread-safe: pure functions. Owns: plain values.
#pragma once

#include "backend/cuda/device.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace takt::cuda {

struct ProductTiling {
  int rows = 0;     // of a tile, which a cluster of blocks computes
  int columns = 0;  // likewise
  int splits = 1;   // blocks of the cluster, each with a part of the sums
  int warps = 4;    // of a block
  int depth = 32;   // numbers of the sums in a chunk; a block has two to six of these on their way

  friend bool operator==(const ProductTiling&, const ProductTiling&) = default;
};

// Where a contraction runs, for an estimate of its time.
struct ProductDevice {
  ComputeCapability capability;
  int multiprocessors = 1;
  int runs_beside = 1;  // of the same kernel
};

[[nodiscard]] std::vector<ProductTiling> all_product_tilings();

// "64x32x4x8x32": rows, columns, splits, warps, depth
[[nodiscard]] std::string to_string(const ProductTiling& tiling);
// Nothing where it is none that kernels have.
[[nodiscard]] std::optional<ProductTiling> parse_product_tiling(std::string_view text);

}  // namespace takt::cuda
