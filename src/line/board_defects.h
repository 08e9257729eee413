// SPDX-License-Identifier: Apache-2.0
// Draws defects of the six types on a board's picture, each with the box of its pixels.
// Thread-safe: one thread for each DefectPainter.
// Owns: its work buffers.
#pragma once

#include "core/image.h"
#include "line/board_layout.h"
#include "line/board_random.h"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace takt::line {

enum class DefectType : std::uint8_t { open, short_circuit, mousebite, spur, copper, pin_hole };
inline constexpr int kDefectTypeCount = 6;

// The names of the DeepPCB data set: open, short, mousebite, spur, copper, pin-hole.
[[nodiscard]] std::string_view to_string(DefectType type) noexcept;

inline constexpr std::uint8_t kCopperPixel = 0;  // the pictures show copper in black
inline constexpr std::uint8_t kBasePixel = 255;

// The boxes of DeepPCB stand about 10 pixels off the changed pixels (the median over its training
// pairs is 9 to 11 on each side).
inline constexpr int kBoxMargin = 10;

class DefectPainter {
 public:
  // Tries once to draw a defect of the wanted type on `pixels` (kBoardSide squared, 0 and 255),
  // whose copper lies `shift` pixels off the layout's. The type is read off the topology of what would
  // change: a stroke of copper that touches no conductor is spurious copper, one that touches a
  // conductor along one arc is a spur, along two a short; strokes of base material are pin-holes,
  // mousebites and opens in the same way; mousebites and spurs keep clear of drilled holes and stand
  // out from the edge. Draws nothing and returns nullopt when the stroke would
  // be something else, is too small, leaves the picture, or its box meets one of `taken`.
  [[nodiscard]] std::optional<Box> draw(std::span<std::uint8_t> pixels, const BoardLayout& layout,
                                        Point shift, DefectType type, std::span<const Box> taken,
                                        BoardRandom& random);

 private:
  static constexpr int kWindow = 112;  // side of the square that holds a stroke
  using Mask = std::array<std::uint8_t, static_cast<std::size_t>(kWindow) * kWindow>;
  [[nodiscard]] static constexpr std::size_t window_index(int x, int y) noexcept {
    return static_cast<std::size_t>(y) * kWindow + static_cast<std::size_t>(x);
  }

  struct Place;
  struct Rectangle {
    int left = kWindow;
    int top = kWindow;
    int right = 0;
    int bottom = 0;
  };

  [[nodiscard]] std::optional<Place> find_place(const CopperMap& map, Point shift, DefectType type,
                                                BoardRandom& random) const;
  void paint_blob(BoardRandom& random);
  void paint_line(int length, int direction, BoardRandom& random);
  void paint_segment(Point a, Point b, int radius);
  // Leaves in mask_ only what the stroke would change; false when that is too small or reaches the
  // picture's edge.
  [[nodiscard]] bool keep_changes(std::span<const std::uint8_t> pixels, int left, int top,
                                  std::uint8_t colour);
  // A bite or spur that follows the edge can't be told from its roughness.
  [[nodiscard]] bool stands_out(const CopperMap& map, Point shift, DefectType type, int left,
                                int top) const;
  [[nodiscard]] bool in_one_piece();
  [[nodiscard]] int contacts(std::span<const std::uint8_t> pixels, int left, int top,
                             std::uint8_t colour, int reach);
  [[nodiscard]] int count_pieces(Mask& pieces, Rectangle within);

  Mask mask_{};
  Mask near_{};
  Rectangle painted_;
  std::vector<int> stack_;
};

}  // namespace takt::line
