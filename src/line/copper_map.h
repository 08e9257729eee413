// SPDX-License-Identifier: Apache-2.0
// The copper of a board as a field of depths: how far inside (positive) or outside (negative) of
// the copper each pixel's centre lies. Integers only, so that every machine draws the same board.
// Thread-safe: one thread writes, then any number read. Owns: the depths.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace takt::line {

inline constexpr int kBoardSide = 640;  // pixels, as in the images it stands for
inline constexpr int kSubpixels = 16;   // units of a pixel in every coordinate here
inline constexpr int kBorder = 4;       // pixels drawn outside of the board, on each side
inline constexpr int kDepthMax = 28 * kSubpixels;  // depths are clipped to +- this

struct Point {
  int x = 0;  // in 1/16 pixel
  int y = 0;
};

[[nodiscard]] constexpr int px(int pixels) noexcept {
  return pixels * kSubpixels;
}

// Largest integer whose square is at most n.
[[nodiscard]] std::int64_t integer_sqrt(std::int64_t n) noexcept;

class CopperMap {
 public:
  CopperMap();

  // Shapes; what is cut later takes away what was added before.
  void add_capsule(Point a, Point b, int radius);  // a track with round ends; a == b: a disc
  void cut_capsule(Point a, Point b, int radius);
  void add_rectangle(Point low, Point high, int corner_radius);
  void cut_rectangle(Point low, Point high, int corner_radius);

  // Depths of pixels (0, y), (1, y), ...; -kBorder <= y < kBoardSide + kBorder, and the row goes on
  // for kBorder pixels on both sides.
  [[nodiscard]] const std::int16_t* row(int y) const noexcept {
    return depths_.data() + static_cast<std::ptrdiff_t>(y + kBorder) * kStride + kBorder;
  }
  // 0 <= x, y < kBoardSide.
  [[nodiscard]] int depth(int x, int y) const noexcept { return row(y)[x]; }

 private:
  static constexpr int kStride = kBoardSide + 2 * kBorder;

  template <typename Distance>
  void apply(Point low, Point high, bool cut, Distance distance);
  void capsule(Point a, Point b, int radius, bool cut);
  void rectangle(Point low, Point high, int corner_radius, bool cut);

  std::vector<std::int16_t> depths_;
};

}  // namespace takt::line
