// SPDX-License-Identifier: Apache-2.0
#include "task/nms.h"

#include <algorithm>
#include <cstdint>
#include <tuple>

namespace takt::postprocess {
namespace {

bool better(const Detection& a, const Detection& b) noexcept {
  if (a.score != b.score) return a.score > b.score;
  return std::tie(a.class_index, a.box.x1, a.box.y1, a.box.x2, a.box.y2) <
         std::tie(b.class_index, b.box.x1, b.box.y1, b.box.x2, b.box.y2);
}

// The kept boxes column by column, so that one candidate is compared with all of them in parallel.
struct Kept {
  std::vector<float> x1, y1, x2, y2, area;
  std::vector<std::int32_t> group;

  void add(const Detection& detection, std::int32_t of_group) {
    x1.push_back(detection.box.x1);
    y1.push_back(detection.box.y1);
    x2.push_back(detection.box.x2);
    y2.push_back(detection.box.y2);
    area.push_back(detection.box.area());
    group.push_back(of_group);
  }

  [[nodiscard]] bool overlaps(const Detection& detection, std::int32_t of_group,
                              float iou_max) const noexcept {
    const Box box = detection.box;
    const float box_area = box.area();
    const std::size_t count = area.size();
    std::int32_t found = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const float width = std::max(std::min(x2[i], box.x2) - std::max(x1[i], box.x1), 0.0F);
      const float height = std::min(y2[i], box.y2) - std::max(y1[i], box.y1);
      const float both = width * std::max(height, 0.0F);
      const bool over = both > iou_max * (area[i] + box_area - both);
      found |= static_cast<std::int32_t>(over) & static_cast<std::int32_t>(group[i] == of_group);
    }
    return found != 0;
  }
};

}  // namespace

void keep_best(std::vector<Detection>& candidates, std::size_t kept_max) {
  const std::size_t kept = std::min(candidates.size(), kept_max);
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(kept),
                    candidates.end(), better);
  candidates.resize(kept);
}

void suppress(std::vector<Detection>& candidates, const NmsOptions& options) {
  keep_best(candidates, kCandidatesMax);
  const auto kept_max = static_cast<std::size_t>(std::max(options.kept_max, 0));
  Kept kept;
  std::size_t count = 0;
  for (std::size_t i = 0; i < candidates.size() && count < kept_max; ++i) {
    const Detection candidate = candidates[i];
    const std::int32_t group = options.class_agnostic ? 0 : candidate.class_index;
    if (kept.overlaps(candidate, group, options.iou_max)) continue;
    kept.add(candidate, group);
    candidates[count++] = candidate;
  }
  candidates.resize(count);
}

}  // namespace takt::postprocess
