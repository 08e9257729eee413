// SPDX-License-Identifier: Apache-2.0
#include "task/task.h"

#include <algorithm>

namespace takt {

std::string_view to_string(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::pass:
      return "pass";
    case Verdict::review:
      return "review";
    case Verdict::reject:
      return "reject";
  }
  return "review";
}

Result<Verdict> parse_verdict(std::string_view name) {
  for (const Verdict verdict : {Verdict::pass, Verdict::review, Verdict::reject}) {
    if (name == to_string(verdict)) return verdict;
  }
  return fail(ErrorKind::invalid_input,
              "unknown verdict '" + std::string(name) + "'; expected one of pass, review, reject");
}

Region crop_window(const Box& box, const CropSpec& spec) noexcept {
  const float side = std::max(spec.context * std::max(box.width(), box.height()), spec.side_min_px);
  return {(box.x1 + box.x2 - side) / 2, (box.y1 + box.y2 - side) / 2, side, side};
}

}  // namespace takt
