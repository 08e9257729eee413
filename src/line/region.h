// SPDX-License-Identifier: Apache-2.0
// Named areas of a frame as polygons, and how boxes lie to them.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "core/image.h"

#include <vector>

namespace takt::line {

struct Corner {
  float x = 0;
  float y = 0;
};

// Corners in order, in pixels of the frame; at least three. May be concave, must not cross itself.
using Polygon = std::vector<Corner>;

[[nodiscard]] Polygon rectangle(const Box& box);

[[nodiscard]] bool contains(const Polygon& polygon, Corner point) noexcept;
// The whole box lies in the polygon; sharing an edge is fine.
[[nodiscard]] bool inside(const Box& box, const Polygon& polygon) noexcept;
// Box and polygon have a point in common.
[[nodiscard]] bool touching(const Box& box, const Polygon& polygon) noexcept;

}  // namespace takt::line
