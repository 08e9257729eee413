// SPDX-License-Identifier: Apache-2.0
// Renders pairs of pictures, golden and board, as a line camera with a threshold would take them.
// Thread-safe: one thread.
// Owns: the layouts drawn so far (800 KiB each, at most BoardOptions::layouts).
#pragma once

#include "line/board_defects.h"
#include "line/board_layout.h"
#include "line/copper_map.h"
#include "line/frame.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace takt::line {

struct BoardOptions {
  std::uint64_t seed = 1;
  int layouts = 16;                  // different boards, 1..256; each is drawn when first needed
  int defect_free_percent = 30;      // share of boards without a defect
  int defects_min = 3;               // on the others
  int defects_max = 12;              // at most 32
  float registration_px_max = 1.0F;  // shift between golden and board in x and y, 0..2
  float edge_noise_px = 0.4F;        // how far edges wander, 0..2
};

inline constexpr std::size_t kBoardPixels = static_cast<std::size_t>(kBoardSide) * kBoardSide;

class BoardRenderer {
 public:
  explicit BoardRenderer(BoardOptions options);

  // Board `index` of the series that the seed stands for, the same on every machine and in any
  // order. Both spans hold kBoardPixels; copper is black (0) on white (255).
  [[nodiscard]] std::vector<KnownDefect> render(std::uint64_t index, std::span<std::uint8_t> golden,
                                                std::span<std::uint8_t> board);
  // The same board before its defects were drawn.
  void render_clean(std::uint64_t index, std::span<std::uint8_t> golden,
                    std::span<std::uint8_t> board);

 private:
  struct Exposure;
  const BoardLayout& layout(std::uint64_t index);
  void expose(const CopperMap& map, const Exposure& exposure, std::span<std::uint8_t> pixels) const;
  [[nodiscard]] Exposure random_exposure(BoardRandom& random, int shift_max) const;
  // Draws both pictures; returns how far the board's copper was moved, in pixels.
  Point render_pair(std::uint64_t index, BoardRandom& random, std::span<std::uint8_t> golden,
                    std::span<std::uint8_t> board);

  const BoardOptions options_;
  std::vector<std::unique_ptr<BoardLayout>> layouts_;
  std::vector<std::int16_t> noise_;  // how far edges wander, in 1/256 pixel
  DefectPainter painter_;
};

}  // namespace takt::line
