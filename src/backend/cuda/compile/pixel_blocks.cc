// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/pixel_blocks.h"

#include "backend/cuda/compile/views.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace takt::cuda {
namespace {

bool is(const std::vector<std::int64_t>& values, std::int64_t expected) {
  return std::ranges::all_of(values, [=](std::int64_t v) { return v == expected; });
}

// Tap k reads pixel 2 * o + k - pad, which is pixel (k + shift) % 2 of block o - blocks + (k + shift) / 2.
struct Axis {
  std::int64_t shift = 0;
  std::int64_t kernel = 0;
  std::int64_t pad_begin = 0;
  std::int64_t pad_end = 0;
};

Axis blocked_axis(const graph::Window& window, std::size_t axis, std::int64_t size,
                  std::int64_t result) {
  Axis blocked;
  blocked.pad_begin = (window.pads_begin[axis] + 1) / 2;
  blocked.shift = 2 * blocked.pad_begin - window.pads_begin[axis];
  blocked.kernel = (window.kernel[axis] + blocked.shift + 1) / 2;
  blocked.pad_end = result - 1 + blocked.kernel - blocked.pad_begin - size / 2;
  return blocked;
}

}  // namespace

std::optional<BlockedConvolution> on_blocks(const graph::Conv& conv, const graph::Constant& weights,
                                            const Shape& input, const Shape& result) {
  const graph::Window& window = conv.window;
  const bool fits = input.size() == 4 && conv.groups == 1 && input[1] <= kBlockChannels &&
                    input[2] % 2 == 0 && input[3] % 2 == 0 && is(window.strides, 2) &&
                    is(window.dilations, 1);
  if (!fits) return {};
  const std::array<Axis, 2> axes{blocked_axis(window, 0, input[2], result[2]),
                                 blocked_axis(window, 1, input[3], result[3])};
  for (const Axis& axis : axes) {
    if (axis.pad_end < 0) return {};
  }
  const Shape& from = weights.type.shape;
  graph::Constant blocked{{weights.type.type, {from[0], kBlocked, axes[0].kernel, axes[1].kernel}},
                          {}};
  const std::size_t width = element_bytes(weights.type.type);
  blocked.bytes.resize(element_count(blocked.type.shape).value() * width);
  const std::vector<std::int64_t> to_strides = dense_strides(blocked.type.shape);
  std::size_t next = 0;  // weights are read in their order
  for (std::int64_t m = 0; m < from[0]; ++m) {
    for (std::int64_t c = 0; c < from[1]; ++c) {
      for (std::int64_t y = axes[0].shift; y < from[2] + axes[0].shift; ++y) {
        for (std::int64_t x = axes[1].shift; x < from[3] + axes[1].shift; ++x) {
          const std::int64_t channel = (x % 2 * 2 + y % 2) * kBlockChannels + c;
          const std::int64_t place = m * to_strides[0] + channel * to_strides[1] +
                                     y / 2 * to_strides[2] + x / 2 * to_strides[3];
          std::memcpy(&blocked.bytes[static_cast<std::size_t>(place) * width], &weights.bytes[next],
                      width);
          next += width;
        }
      }
    }
  }
  graph::Conv changed = conv;
  changed.window = {{axes[0].kernel, axes[1].kernel},
                    {1, 1},
                    {1, 1},
                    {axes[0].pad_begin, axes[1].pad_begin},
                    {axes[0].pad_end, axes[1].pad_end}};
  return BlockedConvolution{std::move(changed),
                            std::make_shared<const graph::Constant>(std::move(blocked))};
}

std::optional<View> pixels_of(const View& image) {
  const Shape& s = image.shape;
  return reshaped(image, {s[0], s[1], s[2] / 2, 2, s[3] / 2, 2});
}

View pixels_in(const View& blocks) {
  const std::vector<std::int64_t>& strides = blocks.strides;
  View pixels = blocks;
  pixels.shape = {blocks.shape[0], kBlockChannels, blocks.shape[2], 2, blocks.shape[3], 2};
  pixels.strides = {strides[0], 1, strides[2], kBlockChannels, strides[3], 2 * kBlockChannels};
  return pixels;
}

View rows_in(const View& blocks, std::int64_t channels) {
  const std::vector<std::int64_t>& strides = blocks.strides;
  View rows = blocks;
  rows.shape = {blocks.shape[0], channels, blocks.shape[2], 2, 2 * blocks.shape[3]};
  rows.strides = {strides[0], 1, strides[2], kBlockChannels, 2 * kBlockChannels};
  return rows;
}

}  // namespace takt::cuda
