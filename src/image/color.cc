// SPDX-License-Identifier: Apache-2.0
#include "image/color.h"

#include <cstring>

namespace takt {
namespace {

void gray_to_color(const std::uint8_t* __restrict source, std::uint8_t* __restrict target,
                   std::size_t width) noexcept {
  for (std::size_t x = 0; x < width; ++x) {
    target[3 * x] = source[x];
    target[3 * x + 1] = source[x];
    target[3 * x + 2] = source[x];
  }
}

template <int Red>
void color_to_gray(const std::uint8_t* __restrict source, std::uint8_t* __restrict target,
                   std::size_t width) noexcept {
  for (std::size_t x = 0; x < width; ++x) {
    target[x] = luma(source[3 * x + Red], source[3 * x + 1], source[3 * x + 2 - Red]);
  }
}

void swap_red_and_blue(const std::uint8_t* __restrict source, std::uint8_t* __restrict target,
                       std::size_t width) noexcept {
  for (std::size_t x = 0; x < width; ++x) {
    target[3 * x] = source[3 * x + 2];
    target[3 * x + 1] = source[3 * x + 1];
    target[3 * x + 2] = source[3 * x];
  }
}

}  // namespace

void convert_row(const std::uint8_t* source, PixelFormat from, std::uint8_t* target, PixelFormat to,
                 int width) noexcept {
  if (width <= 0) return;
  const auto pixels = static_cast<std::size_t>(width);
  if (from == to) {
    std::memcpy(target, source, pixels * static_cast<std::size_t>(channel_count(from)));
  } else if (from == PixelFormat::gray8) {
    gray_to_color(source, target, pixels);
  } else if (to != PixelFormat::gray8) {
    swap_red_and_blue(source, target, pixels);
  } else if (from == PixelFormat::rgb8) {
    color_to_gray<0>(source, target, pixels);
  } else {
    color_to_gray<2>(source, target, pixels);
  }
}

}  // namespace takt
