// SPDX-License-Identifier: Apache-2.0
#include "line/board_defects.h"

#include <algorithm>
#include <cstdlib>

namespace takt::line {
namespace {

constexpr int kAreaMin = 30;         // pixels; smaller is the scanner's noise
constexpr int kEdgeDistanceMin = 6;  // pixels between a defect and the picture's edge
constexpr int kClearance = 3;        // pixels; a stroke that nearly touches can't be named
constexpr int kStandOutMin = px(7) / 2;
constexpr int kDirections = 64;

struct Direction {
  int x = 0;  // 1024 times the cosine
  int y = 0;
};

// One quarter of a sine, times 1024: a table, because libraries round sin() differently.
constexpr std::array<int, 17> kSine{0,   100, 200, 297, 392, 483,  569,  650, 724,
                                    792, 851, 903, 946, 980, 1004, 1019, 1024};

constexpr int sine(int k) {
  const int turn = ((k % kDirections) + kDirections) % kDirections;
  const int half = turn % 32;
  const int value = half <= 16 ? kSine[static_cast<std::size_t>(half)]
                               : kSine[static_cast<std::size_t>(32 - half)];
  return turn < 32 ? value : -value;
}
constexpr Direction direction_of(int k) {
  return {sine(k + 16), sine(k)};
}

std::size_t board_index(int x, int y) {
  return static_cast<std::size_t>(y) * kBoardSide + static_cast<std::size_t>(x);
}

bool is_copper_stroke(DefectType type) {
  return type == DefectType::short_circuit || type == DefectType::spur ||
         type == DefectType::copper;
}

bool crosses(DefectType type) {
  return type == DefectType::open || type == DefectType::short_circuit;
}

int expected_contacts(DefectType type) {
  if (crosses(type)) return 2;
  return type == DefectType::mousebite || type == DefectType::spur ? 1 : 0;
}

bool meet(const Box& a, const Box& b) {
  return a.x1 < b.x2 && b.x1 < a.x2 && a.y1 < b.y2 && b.y1 < a.y2;
}

// Depth seen from the stroke's side: positive where the stroke would change the picture.
class Side {
 public:
  Side(const CopperMap& map, Point shift, bool copper_stroke)
      : map_(map), shift_(shift), sign_(copper_stroke ? -1 : 1) {}
  [[nodiscard]] int depth(int x, int y) const {
    const int inside_x = std::clamp(x + shift_.x, 0, kBoardSide - 1);
    const int inside_y = std::clamp(y + shift_.y, 0, kBoardSide - 1);
    return sign_ * map_.depth(inside_x, inside_y);
  }

 private:
  const CopperMap& map_;
  Point shift_;
  int sign_;
};

// Climbs to the middle of a track or gap.
Point climb(const Side& side, Point at) {
  constexpr int kStepsMax = 30;
  for (int step = 0; step < kStepsMax; ++step) {
    Point best = at;
    for (int dy = -1; dy <= 1; ++dy) {
      for (int dx = -1; dx <= 1; ++dx) {
        if (side.depth(at.x + dx, at.y + dy) > side.depth(best.x, best.y)) {
          best = {at.x + dx, at.y + dy};
        }
      }
    }
    if (best.x == at.x && best.y == at.y) break;
    at = best;
  }
  return at;
}

// The direction in which both ends of a stroke of this half length leave the track soonest.
int across(const Side& side, Point middle, int half_length_px) {
  int best = 0;
  int best_depth = kDepthMax + 1;
  for (int k = 0; k < kDirections / 2; ++k) {
    const Direction direction = direction_of(k);
    const int dx = direction.x * half_length_px / 1024;
    const int dy = direction.y * half_length_px / 1024;
    const int depth = std::max(side.depth(middle.x + dx, middle.y + dy),
                               side.depth(middle.x - dx, middle.y - dy));
    if (depth < best_depth) {
      best_depth = depth;
      best = k;
    }
  }
  return best;
}

}  // namespace

std::string_view to_string(DefectType type) noexcept {
  constexpr std::array<std::string_view, kDefectTypeCount> kNames{"open", "short",  "mousebite",
                                                                  "spur", "copper", "pin-hole"};
  return kNames[static_cast<std::size_t>(type)];
}

struct DefectPainter::Place {
  Point pixel;
  int half_width_px = 0;  // of the track or gap, for strokes that cross it
  int direction = 0;      // across it
};

std::optional<DefectPainter::Place> DefectPainter::find_place(const CopperMap& map, Point shift,
                                                              DefectType type,
                                                              BoardRandom& random) const {
  constexpr int kMargin = 24;
  constexpr int kTriesMax = 24;
  const Side side(map, shift, is_copper_stroke(type));
  for (int i = 0; i < kTriesMax; ++i) {
    const Point at{random.between(kMargin, kBoardSide - 1 - kMargin),
                   random.between(kMargin, kBoardSide - 1 - kMargin)};
    const int depth = side.depth(at.x, at.y);
    if (expected_contacts(type) == 1) {
      if (depth > -px(1) && depth < px(4)) return Place{at, 0, random.below(kDirections)};
    } else if (expected_contacts(type) == 0) {
      if (depth > px(7)) return Place{at, 0, random.below(kDirections)};
    } else if (depth > 0) {
      const Point middle = climb(side, at);
      const int half_width = side.depth(middle.x, middle.y) / kSubpixels;
      if (half_width < 2 || half_width > 22) continue;
      return Place{middle, half_width, across(side, middle, half_width + 3)};
    }
  }
  return std::nullopt;
}

void DefectPainter::paint_segment(Point a, Point b, int radius) {
  const std::int64_t along_x = b.x - a.x;
  const std::int64_t along_y = b.y - a.y;
  const std::int64_t length2 = along_x * along_x + along_y * along_y;
  const std::int64_t radius2 = static_cast<std::int64_t>(radius) * radius;
  const auto low = [&](int p, int q) {
    return std::clamp((std::min(p, q) - radius) / kSubpixels - 1, 0, kWindow);
  };
  const auto high = [&](int p, int q) {
    return std::clamp((std::max(p, q) + radius) / kSubpixels + 2, 0, kWindow);
  };
  const auto inside = [&](int x, int y) {
    const std::int64_t from_x = px(x) + kSubpixels / 2 - a.x;
    const std::int64_t from_y = px(y) + kSubpixels / 2 - a.y;
    const std::int64_t dot = from_x * along_x + from_y * along_y;
    if (dot <= 0) return from_x * from_x + from_y * from_y <= radius2;
    if (dot >= length2) {
      const std::int64_t beyond_x = from_x - along_x;
      const std::int64_t beyond_y = from_y - along_y;
      return beyond_x * beyond_x + beyond_y * beyond_y <= radius2;
    }
    const std::int64_t cross = from_x * along_y - from_y * along_x;
    return cross * cross <= radius2 * length2;
  };
  for (int y = low(a.y, b.y); y < high(a.y, b.y); ++y) {
    for (int x = low(a.x, b.x); x < high(a.x, b.x); ++x) {
      if (!inside(x, y)) continue;
      mask_[window_index(x, y)] = 1;
      painted_ = {std::min(painted_.left, x), std::min(painted_.top, y),
                  std::max(painted_.right, x + 1), std::max(painted_.bottom, y + 1)};
    }
  }
}

// A dot or a short thick stroke.
void DefectPainter::paint_blob(BoardRandom& random) {
  int heading = random.below(kDirections);
  const int radius = random.between(px(5) / 2, px(11) / 2);
  Point at{px(kWindow) / 2, px(kWindow) / 2};
  for (int i = random.between(1, 4); i > 0; --i) {
    heading += random.between(-11, 11);
    const int step = random.between(px(1) / 2, px(6));
    const Direction direction = direction_of(heading);
    const Point next{at.x + direction.x * step / 1024, at.y + direction.y * step / 1024};
    paint_segment(at, next, radius * random.between(70, 125) / 100);
    at = next;
  }
}

// A stroke through the window's middle that wobbles a little.
void DefectPainter::paint_line(int length, int direction, BoardRandom& random) {
  constexpr int kPieces = 4;
  const Direction along = direction_of(direction);
  const int radius = random.between(px(5) / 4, px(4));
  Point before{};
  for (int i = 0; i <= kPieces; ++i) {
    const int way = length * (2 * i - kPieces) / (2 * kPieces);
    const int wobble = random.between(-px(2), px(2));
    const Point at{px(kWindow) / 2 + (along.x * way - along.y * wobble) / 1024,
                   px(kWindow) / 2 + (along.y * way + along.x * wobble) / 1024};
    if (i > 0) paint_segment(before, at, radius * random.between(80, 120) / 100);
    before = at;
  }
}

bool DefectPainter::keep_changes(std::span<const std::uint8_t> pixels, int left, int top,
                                 std::uint8_t colour) {
  Rectangle changed;
  int area = 0;
  for (int y = painted_.top; y < painted_.bottom; ++y) {
    for (int x = painted_.left; x < painted_.right; ++x) {
      std::uint8_t& masked = mask_[window_index(x, y)];
      if (masked == 0) continue;
      const int board_x = left + x;
      const int board_y = top + y;
      if (board_x < kEdgeDistanceMin || board_x >= kBoardSide - kEdgeDistanceMin ||
          board_y < kEdgeDistanceMin || board_y >= kBoardSide - kEdgeDistanceMin) {
        return false;
      }
      if (pixels[board_index(board_x, board_y)] == colour) {
        masked = 0;
        continue;
      }
      ++area;
      changed = {std::min(changed.left, x), std::min(changed.top, y),
                 std::max(changed.right, x + 1), std::max(changed.bottom, y + 1)};
    }
  }
  painted_ = changed;
  return area >= kAreaMin;
}

// Pieces of `pieces` that hang together over edges and corners; clears them while counting.
int DefectPainter::count_pieces(Mask& pieces, Rectangle within) {
  int count = 0;
  for (int y = within.top; y < within.bottom; ++y) {
    for (int x = within.left; x < within.right; ++x) {
      if (pieces[window_index(x, y)] == 0) continue;
      ++count;
      stack_.push_back(y * kWindow + x);
      pieces[window_index(x, y)] = 0;
      while (!stack_.empty()) {
        const int at = stack_.back();
        stack_.pop_back();
        for (const int step :
             {-kWindow - 1, -kWindow, -kWindow + 1, -1, 1, kWindow - 1, kWindow, kWindow + 1}) {
          const int next = at + step;
          if (next < 0 || next >= kWindow * kWindow) continue;
          std::uint8_t& piece = pieces[static_cast<std::size_t>(next)];
          if (piece == 0) continue;
          piece = 0;
          stack_.push_back(next);
        }
      }
    }
  }
  return count;
}

bool DefectPainter::in_one_piece() {
  near_ = mask_;
  return count_pieces(near_, painted_) == 1;
}

// Separate arcs of pixels of the stroke's own colour within `reach` pixels of what changes.
int DefectPainter::contacts(std::span<const std::uint8_t> pixels, int left, int top,
                            std::uint8_t colour, int reach) {
  near_.fill(0);
  for (int y = painted_.top; y < painted_.bottom; ++y) {
    for (int x = painted_.left; x < painted_.right; ++x) {
      if (mask_[window_index(x, y)] == 0) continue;
      for (int dy = -reach; dy <= reach; ++dy) {
        for (int dx = -reach; dx <= reach; ++dx) {
          const auto place = window_index(x + dx, y + dy);
          const auto pixel = board_index(left + x + dx, top + y + dy);
          near_[place] = mask_[place] == 0 && pixels[pixel] == colour ? 1 : 0;
        }
      }
    }
  }
  return count_pieces(near_, {painted_.left - reach, painted_.top - reach, painted_.right + reach,
                              painted_.bottom + reach});
}

bool DefectPainter::stands_out(const CopperMap& map, Point shift, DefectType type, int left,
                               int top) const {
  const Side side(map, shift, is_copper_stroke(type));
  for (int y = painted_.top; y < painted_.bottom; ++y) {
    for (int x = painted_.left; x < painted_.right; ++x) {
      const bool changes = mask_[window_index(x, y)] != 0;
      if (changes && side.depth(left + x, top + y) >= kStandOutMin) return true;
    }
  }
  return false;
}

std::optional<Box> DefectPainter::draw(std::span<std::uint8_t> pixels, const BoardLayout& layout,
                                       Point shift, DefectType type, std::span<const Box> taken,
                                       BoardRandom& random) {
  const std::optional<Place> place = find_place(layout.copper, shift, type, random);
  if (!place) return std::nullopt;
  mask_.fill(0);
  painted_ = {};
  if (crosses(type)) {
    const int length = px(2 * place->half_width_px) + random.between(px(5), px(16));
    paint_line(length, place->direction + random.between(-3, 3), random);
  } else if (random.percent(60)) {
    paint_blob(random);
  } else {
    paint_line(random.between(px(6), px(22)), place->direction, random);
  }
  const int left = place->pixel.x - kWindow / 2;
  const int top = place->pixel.y - kWindow / 2;
  // A stroke at the window's edge could not be looked at from all sides.
  const bool whole = painted_.left >= kClearance && painted_.top >= kClearance &&
                     painted_.right <= kWindow - kClearance &&
                     painted_.bottom <= kWindow - kClearance;
  const std::uint8_t colour = is_copper_stroke(type) ? kCopperPixel : kBasePixel;
  if (!whole || !keep_changes(pixels, left, top, colour)) return std::nullopt;

  const auto edge = [](int at, int margin) {
    return static_cast<float>(std::clamp(at + margin, 0, kBoardSide));
  };
  const Box box{edge(left + painted_.left, -kBoxMargin), edge(top + painted_.top, -kBoxMargin),
                edge(left + painted_.right, kBoxMargin), edge(top + painted_.bottom, kBoxMargin)};
  const auto meets_box = [&](const Box& other) { return meet(box, other); };
  const int wanted = expected_contacts(type);
  if (std::ranges::any_of(taken, meets_box)) return std::nullopt;
  if (wanted == 1 && (std::ranges::any_of(layout.holes, meets_box) ||
                      !stands_out(layout.copper, shift, type, left, top))) {
    return std::nullopt;
  }
  if (!in_one_piece()) return std::nullopt;
  if (contacts(pixels, left, top, colour, 1) != wanted) return std::nullopt;
  if (wanted < 2 && contacts(pixels, left, top, colour, kClearance) != wanted) return std::nullopt;

  for (int y = painted_.top; y < painted_.bottom; ++y) {
    for (int x = painted_.left; x < painted_.right; ++x) {
      if (mask_[window_index(x, y)] == 0) continue;
      pixels[board_index(left + x, top + y)] = colour;
    }
  }
  return box;
}

}  // namespace takt::line
