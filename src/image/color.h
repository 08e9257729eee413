// SPDX-License-Identifier: Apache-2.0
// Colour conversion of one row of pixels: gray, RGB and BGR, 8 bits a channel.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/image.h"

#include <cstdint>

namespace takt {

// ITU-R BT.601 luma, 0.299 R + 0.587 G + 0.114 B, in the 16-bit fixed point that Pillow's
// convert("L") uses, so that training in Python sees the same gray.
[[nodiscard]] constexpr std::uint8_t luma(std::uint32_t red, std::uint32_t green,
                                          std::uint32_t blue) noexcept {
  return static_cast<std::uint8_t>((red * 19595U + green * 38470U + blue * 7471U + 0x8000U) >> 16U);
}

// Converts `width` pixels of interleaved `from` into interleaved `to`. The rows don't overlap.
void convert_row(const std::uint8_t* source, PixelFormat from, std::uint8_t* target, PixelFormat to,
                 int width) noexcept;

}  // namespace takt
