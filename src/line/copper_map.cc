// SPDX-License-Identifier: Apache-2.0
#include "line/copper_map.h"

#include <algorithm>
#include <cmath>

namespace takt::line {

std::int64_t integer_sqrt(std::int64_t n) noexcept {
  // IEEE 754 rounds sqrt correctly everywhere; the correction makes it exact beyond 2^52 too.
  auto root = static_cast<std::int64_t>(std::sqrt(static_cast<double>(n)));
  while (root * root > n) --root;
  while ((root + 1) * (root + 1) <= n) ++root;
  return root;
}

CopperMap::CopperMap()
    : depths_(static_cast<std::size_t>(kStride) * kStride, static_cast<std::int16_t>(-kDepthMax)) {}

// `distance(x, y)` is the signed distance to the shape's edge, negative inside.
template <typename Distance>
void CopperMap::apply(Point low, Point high, bool cut, Distance distance) {
  const auto first = [](int at) {
    return std::clamp((at - kDepthMax) / kSubpixels - 1, -kBorder, kBoardSide + kBorder);
  };
  const auto last = [](int at) {
    return std::clamp((at + kDepthMax) / kSubpixels + 2, -kBorder, kBoardSide + kBorder);
  };
  for (int y = first(low.y); y < last(high.y); ++y) {
    std::int16_t* depths =
        depths_.data() + static_cast<std::ptrdiff_t>(y + kBorder) * kStride + kBorder;
    for (int x = first(low.x); x < last(high.x); ++x) {
      const int outside = static_cast<int>(std::clamp<std::int64_t>(
          distance(px(x) + kSubpixels / 2, px(y) + kSubpixels / 2), -kDepthMax, kDepthMax));
      const int depth = depths[x];
      depths[x] =
          static_cast<std::int16_t>(cut ? std::min(depth, outside) : std::max(depth, -outside));
    }
  }
}

void CopperMap::capsule(Point a, Point b, int radius, bool cut) {
  const std::int64_t along_x = b.x - a.x;
  const std::int64_t along_y = b.y - a.y;
  const std::int64_t length2 = along_x * along_x + along_y * along_y;
  const Point low{std::min(a.x, b.x) - radius, std::min(a.y, b.y) - radius};
  const Point high{std::max(a.x, b.x) + radius, std::max(a.y, b.y) + radius};
  apply(low, high, cut, [=](int x, int y) {
    const std::int64_t from_x = x - a.x;
    const std::int64_t from_y = y - a.y;
    const std::int64_t t =
        std::clamp<std::int64_t>(from_x * along_x + from_y * along_y, 0, length2);
    const std::int64_t off_x = length2 == 0 ? from_x : from_x - along_x * t / length2;
    const std::int64_t off_y = length2 == 0 ? from_y : from_y - along_y * t / length2;
    return integer_sqrt(off_x * off_x + off_y * off_y) - radius;
  });
}

void CopperMap::rectangle(Point low, Point high, int corner_radius, bool cut) {
  const std::int64_t middle_x = (low.x + high.x) / 2;
  const std::int64_t middle_y = (low.y + high.y) / 2;
  const std::int64_t half_x = (high.x - low.x) / 2 - corner_radius;
  const std::int64_t half_y = (high.y - low.y) / 2 - corner_radius;
  apply(low, high, cut, [=](int x, int y) {
    const std::int64_t over_x = std::abs(x - middle_x) - half_x;
    const std::int64_t over_y = std::abs(y - middle_y) - half_y;
    const std::int64_t out_x = std::max<std::int64_t>(over_x, 0);
    const std::int64_t out_y = std::max<std::int64_t>(over_y, 0);
    return integer_sqrt(out_x * out_x + out_y * out_y) +
           std::min<std::int64_t>(std::max(over_x, over_y), 0) - corner_radius;
  });
}

void CopperMap::add_capsule(Point a, Point b, int radius) {
  capsule(a, b, radius, false);
}
void CopperMap::cut_capsule(Point a, Point b, int radius) {
  capsule(a, b, radius, true);
}
void CopperMap::add_rectangle(Point low, Point high, int corner_radius) {
  rectangle(low, high, corner_radius, false);
}
void CopperMap::cut_rectangle(Point low, Point high, int corner_radius) {
  rectangle(low, high, corner_radius, true);
}

}  // namespace takt::line
