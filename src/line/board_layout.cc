// SPDX-License-Identifier: Apache-2.0
#include "line/board_layout.h"

#include <algorithm>
#include <array>
#include <vector>

namespace takt::line {
namespace {

// A part of the board in whole pixels; its motif may run out of the image where it meets the edge.
struct Cell {
  int left = 0;
  int top = 0;
  int right = 0;
  int bottom = 0;

  [[nodiscard]] int width() const { return right - left; }
  [[nodiscard]] int height() const { return bottom - top; }
};

constexpr int kCellSideMin = 130;
constexpr int kCellSideMax = 340;
constexpr int kOverhang = 40;  // how far a motif may run out of the image

std::vector<Cell> cut_into_cells(BoardRandom& random) {
  std::vector<Cell> open{{0, 0, kBoardSide, kBoardSide}};
  std::vector<Cell> cells;
  while (!open.empty()) {
    const Cell cell = open.back();
    open.pop_back();
    const bool tall = cell.height() > cell.width();
    const int side = std::max(cell.width(), cell.height());
    if (side < 2 * kCellSideMin || (side <= kCellSideMax && random.percent(70))) {
      cells.push_back(cell);
      continue;
    }
    const int at = random.between(kCellSideMin, side - kCellSideMin);
    Cell first = cell;
    Cell second = cell;
    (tall ? first.bottom : first.right) = (tall ? cell.top : cell.left) + at;
    (tall ? second.top : second.left) = (tall ? cell.top : cell.left) + at;
    open.push_back(first);
    open.push_back(second);
  }
  return cells;
}

// Leaves a gap to the neighbours and none at the edge of the image.
Cell with_gaps(Cell cell, int gap) {
  cell.left = cell.left == 0 ? -kOverhang : cell.left + gap;
  cell.top = cell.top == 0 ? -kOverhang : cell.top + gap;
  cell.right = cell.right == kBoardSide ? kBoardSide + kOverhang : cell.right - gap;
  cell.bottom = cell.bottom == kBoardSide ? kBoardSide + kOverhang : cell.bottom - gap;
  return cell;
}

// Draws in a cell with the long side along x; turned cells swap the coordinates at the end.
class CellPainter {
 public:
  CellPainter(BoardLayout& layout, BoardRandom& random, Cell cell, bool turned)
      : layout_(layout), map_(layout.copper), random_(random), cell_(cell), turned_(turned) {
    length_ = turned ? cell.height() : cell.width();
    across_ = turned ? cell.width() : cell.height();
  }

  void draw() {
    switch (random_.below(10)) {
      case 0:
      case 1:
      case 2:
        return bus();
      case 3:
      case 4:
        return pin_rows();
      case 5:
      case 6:
        return ring_pads();
      case 7:
      case 8:
        return ground();
      default:
        return mixed_pads();
    }
  }

 private:
  // Positions are pixels from the cell's corner, along and across.
  [[nodiscard]] Point at(int along, int across) const {
    return turned_ ? Point{px(cell_.left + across), px(cell_.top + along)}
                   : Point{px(cell_.left + along), px(cell_.top + across)};
  }
  void track(int along1, int across1, int along2, int across2, int width) {
    map_.add_capsule(at(along1, across1), at(along2, across2), px(width) / 2);
  }
  void rectangle(int along1, int across1, int along2, int across2, int corner) {
    const Point a = at(along1, across1);
    const Point b = at(along2, across2);
    map_.add_rectangle({std::min(a.x, b.x), std::min(a.y, b.y)},
                       {std::max(a.x, b.x), std::max(a.y, b.y)}, px(corner));
  }
  void cut_rectangle(int along1, int across1, int along2, int across2, int corner) {
    const Point a = at(along1, across1);
    const Point b = at(along2, across2);
    map_.cut_rectangle({std::min(a.x, b.x), std::min(a.y, b.y)},
                       {std::max(a.x, b.x), std::max(a.y, b.y)}, px(corner));
  }
  void disc(int along, int across, int radius) {
    map_.add_capsule(at(along, across), at(along, across), px(radius));
  }
  void hole(int along, int across, int radius) {
    map_.cut_capsule(at(along, across), at(along, across), px(radius));
  }

  // Parallel tracks with one bend of 45 degrees to and one back.
  void bus() {
    const int width = random_.between(7, 17);
    const int pitch = width + random_.between(9, 18);
    int jog = across_ > 4 * pitch ? random_.between(0, across_ / 3) : 0;
    const int count = std::clamp((across_ - jog - width) / pitch + 1, 1, 14);
    // tan(22.5 degrees) = 0.414: keeps the distance between the slanted parts the same.
    const int fan = (count - 1) * pitch * 414 / 1000;
    const int bend_max = length_ - jog - fan - width;
    if (bend_max < width) jog = 0;  // no room for a bend inside the cell
    const int bend = jog == 0 ? 0 : random_.between(width, bend_max);
    for (int i = 0; i < count; ++i) {
      const int start = width / 2 + i * pitch;
      const int knee = bend + fan - fan * i / std::max(count - 1, 1);
      track(0, start, knee, start, width);
      track(knee, start, knee + jog, start + jog, width);
      const int end = length_ - (random_.one_in(5) ? random_.between(0, length_ / 6) : 0);
      if (end > knee + jog) track(knee + jog, start + jog, end, start + jog, width);
    }
  }

  // Two rows of pads as under a chip, some with tracks that leave them.
  void pin_rows() {
    const int pad = random_.between(13, 22);
    const int pitch = pad + random_.between(12, 22);
    const int pad_length = std::min(random_.between(26, 46), across_ / 4);
    const int width = random_.between(6, std::min(11, pad - 4));
    const int round = random_.one_in(2) ? pad / 2 - 1 : random_.between(0, 3);
    for (int along = pad / 2 + 2; along + pad / 2 < length_; along += pitch) {
      if (random_.one_in(9)) continue;
      rectangle(along - pad / 2, 0, along + pad / 2, pad_length, round);
      rectangle(along - pad / 2, across_ - pad_length, along + pad / 2, across_, round);
      const int inner = across_ - 2 * pad_length;
      if (random_.percent(35)) {
        track(along, pad_length - 4, along, across_ - pad_length + 4, width);
      } else if (random_.percent(50) && inner > 70) {
        const int end = pad_length + inner / 2 - 18;
        track(along, pad_length - 4, along, end, width);
        disc(along, end, width / 2 + random_.between(2, 4));
      }
    }
  }

  // Round pads with drilled holes, in a row, thick tracks between some of them.
  void ring_pads() {
    const int radius_max = std::min(across_ / 2 - 6, 36);
    const int radius = random_.between(std::min(17, radius_max), radius_max);
    const int drill = std::max(5, radius * random_.between(28, 45) / 100);
    const int track_width = random_.between(9, std::max(10, radius));
    const int rows = std::max(1, across_ / (2 * radius + 34));
    for (int r = 0; r < rows; ++r) {
      const int across = across_ * (2 * r + 1) / (2 * rows);
      int before = -1;
      for (int along = radius + random_.between(0, 30); along + radius < length_;) {
        disc(along, across, radius);
        if (before >= 0 && random_.percent(55)) track(before, across, along, across, track_width);
        holes_.push_back({along, across, drill});
        before = along;
        along += 2 * radius + random_.between(24, 70);
      }
      if (random_.percent(40)) track(before, across, length_, across, track_width);
    }
    drill_holes();
  }

  // A large area of copper with free-standing vias and slots in it.
  void ground() {
    rectangle(0, 0, length_, across_, random_.between(2, 26));
    const int slot = random_.between(9, 17);
    if (random_.percent(60) && across_ > 110) {
      const int where = random_.between(40, across_ - 40);
      cut_rectangle(length_ / 8, where, length_ - random_.between(-60, 60), where + slot, 3);
    }
    for (int along = 45; along + 45 < length_; along += random_.between(80, 150)) {
      const int radius = random_.between(12, 20);
      const int gap = random_.between(9, 16);
      const int across = random_.between(radius + gap + 8, std::max(radius + gap + 8, across_ / 2));
      if (random_.percent(30)) continue;
      hole(along, across, radius + gap);
      disc(along, across, radius);
      if (random_.percent(60)) holes_.push_back({along, across, radius / 2});
    }
    drill_holes();
  }

  // Rectangular pads of parts, in pairs, with a track out of each pair.
  void mixed_pads() {
    const int pad_along = random_.between(24, 46);
    const int pad_across = random_.between(22, 40);
    const int gap = random_.between(14, 34);
    const int width = random_.between(7, 14);
    const int round = random_.one_in(2) ? random_.between(5, 9) : 0;
    const int row = 2 * pad_across + gap;
    for (int across = 4; across + row < across_; across += row + random_.between(18, 40)) {
      for (int along = 4; along + pad_along < length_;
           along += pad_along + random_.between(20, 44)) {
        rectangle(along, across, along + pad_along, across + pad_across, round);
        if (random_.one_in(12)) continue;
        rectangle(along, across + pad_across + gap, along + pad_along, across + row, round);
        if (random_.percent(35)) {
          track(along + pad_along / 2, across + pad_across / 2, along + pad_along / 2,
                across + row - pad_across / 2, width);
        }
      }
    }
  }

  struct Hole {
    int along = 0;
    int across = 0;
    int radius = 0;
  };

  // Last, so that no track covers a hole.
  void drill_holes() {
    for (const Hole& drilled : holes_) {
      hole(drilled.along, drilled.across, drilled.radius);
      const Point middle = at(drilled.along, drilled.across);
      const int column = middle.x / kSubpixels;
      const int row = middle.y / kSubpixels;
      const auto x = static_cast<float>(column);
      const auto y = static_cast<float>(row);
      const auto reach = static_cast<float>(drilled.radius);
      layout_.holes.push_back({x - reach, y - reach, x + reach, y + reach});
    }
  }

  BoardLayout& layout_;
  CopperMap& map_;
  BoardRandom& random_;
  const Cell cell_;
  const bool turned_;
  int length_ = 0;
  int across_ = 0;
  std::vector<Hole> holes_;
};

}  // namespace

BoardLayout make_layout(BoardRandom random) {
  BoardLayout layout;
  const int gap = random.between(6, 14);
  for (const Cell& cell : cut_into_cells(random)) {
    CellPainter(layout, random, with_gaps(cell, gap), random.one_in(2)).draw();
  }
  return layout;
}

}  // namespace takt::line
