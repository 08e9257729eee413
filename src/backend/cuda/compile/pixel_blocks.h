// SPDX-License-Identifier: Apache-2.0
// The first convolution of a network on blocks of 2 x 2 pixels: images have three channels, of which tensor cores
// would be filled with eight. As sixteen channels of a quarter of the places (2 x 2 pixels of up to four channels
// each) a convolution of stride 2 has stride 1, reads half the bytes and multiplies fewer zeros. The numbers are the
// same (Chen et al., MLPerf's "space to depth").
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "backend/cuda/compile/program.h"
#include "graph/graph.h"
#include "graph/operators.h"

#include <cstdint>
#include <optional>

namespace takt::cuda {

inline constexpr std::int64_t kBlockChannels = 4;             // of a pixel
inline constexpr std::int64_t kBlocked = 4 * kBlockChannels;  // of a block

struct BlockedConvolution {
  graph::Conv conv;
  graph::ConstantPtr weights;  // [M, 16, kernel...]
};

// Of a convolution of two spatial dimensions, stride 2, no dilation and no groups, on images of up to four channels
// and even sizes; nothing for others. `input` and `result` are its shapes.
[[nodiscard]] std::optional<BlockedConvolution> on_blocks(const graph::Conv& conv,
                                                          const graph::Constant& weights,
                                                          const Shape& input, const Shape& result);

// An image [N,C,H,W] as [N,C,H/2,2,W/2,2], where strides can say it.
[[nodiscard]] std::optional<View> pixels_of(const View& image);
// The place of each pixel's channels, [N,4,H/2,2,W/2,2], in blocks [N,16,H/2,W/2], channels last.
[[nodiscard]] View pixels_in(const View& blocks);
// That of an image of so many channels: [N,C,H/2,2,W], for whoever writes it row by row.
[[nodiscard]] View rows_in(const View& blocks, std::int64_t channels);

}  // namespace takt::cuda
