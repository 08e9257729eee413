// SPDX-License-Identifier: Apache-2.0
#include "line/region.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

namespace takt::line {
namespace {

struct Edge {
  Corner from;
  Corner to;
};

Edge edge(const Polygon& polygon, std::size_t i) {
  return {polygon[i], polygon[(i + 1) % polygon.size()]};
}

bool on_edge(const Edge& e, Corner p) {
  const double cross = (double{e.to.x} - e.from.x) * (double{p.y} - e.from.y) -
                       (double{e.to.y} - e.from.y) * (double{p.x} - e.from.x);
  return cross == 0 && p.x >= std::min(e.from.x, e.to.x) && p.x <= std::max(e.from.x, e.to.x) &&
         p.y >= std::min(e.from.y, e.to.y) && p.y <= std::max(e.from.y, e.to.y);
}

// The part of an edge inside the closed box, as fractions of its length (Liang and Barsky, 1984).
struct Clip {
  double from = 0;
  double to = 1;
};

std::optional<Clip> clip(const Edge& e, const Box& box) {
  const double dx = double{e.to.x} - e.from.x;
  const double dy = double{e.to.y} - e.from.y;
  const std::array<double, 4> direction{-dx, dx, -dy, dy};
  const std::array<double, 4> room{double{e.from.x} - box.x1, double{box.x2} - e.from.x,
                                   double{e.from.y} - box.y1, double{box.y2} - e.from.y};
  Clip part;
  for (std::size_t i = 0; i < 4; ++i) {
    if (direction[i] == 0) {
      if (room[i] < 0) return std::nullopt;
      continue;
    }
    const double t = room[i] / direction[i];
    if (direction[i] < 0) {
      part.from = std::max(part.from, t);
    } else {
      part.to = std::min(part.to, t);
    }
  }
  if (part.from > part.to) return std::nullopt;
  return part;
}

bool crosses_interior(const Edge& e, const Box& box) {
  const std::optional<Clip> part = clip(e, box);
  if (!part) return false;
  const double t = (part->from + part->to) / 2;
  const double x = e.from.x + t * (double{e.to.x} - e.from.x);
  const double y = e.from.y + t * (double{e.to.y} - e.from.y);
  return x > box.x1 && x < box.x2 && y > box.y1 && y < box.y2;
}

std::array<Corner, 4> corners(const Box& box) {
  return {Corner{box.x1, box.y1}, {box.x2, box.y1}, {box.x2, box.y2}, {box.x1, box.y2}};
}

}  // namespace

Polygon rectangle(const Box& box) {
  const std::array<Corner, 4> points = corners(box);
  return {points.begin(), points.end()};
}

bool contains(const Polygon& polygon, Corner point) noexcept {
  bool odd = false;
  for (std::size_t i = 0; i < polygon.size(); ++i) {
    const Edge e = edge(polygon, i);
    if (on_edge(e, point)) return true;
    if ((e.from.y > point.y) == (e.to.y > point.y)) continue;
    const double at = e.from.x + (double{e.to.x} - e.from.x) * (double{point.y} - e.from.y) /
                                     (double{e.to.y} - e.from.y);
    if (point.x < at) odd = !odd;
  }
  return odd;
}

bool inside(const Box& box, const Polygon& polygon) noexcept {
  const std::array<Corner, 4> points = corners(box);
  if (!std::ranges::all_of(points, [&](Corner p) { return contains(polygon, p); })) return false;
  for (std::size_t i = 0; i < polygon.size(); ++i) {
    if (crosses_interior(edge(polygon, i), box)) return false;
  }
  return true;
}

bool touching(const Box& box, const Polygon& polygon) noexcept {
  if (contains(polygon, {box.x1, box.y1})) return true;
  for (std::size_t i = 0; i < polygon.size(); ++i) {
    if (clip(edge(polygon, i), box)) return true;
  }
  return false;
}

}  // namespace takt::line
