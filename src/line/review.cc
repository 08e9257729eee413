// SPDX-License-Identifier: Apache-2.0
#include "line/review.h"

#include <string>

namespace takt::line {

std::string_view to_string(ReviewCode code) noexcept {
  switch (code) {
    case ReviewCode::invalid:
      return "invalid";
    case ReviewCode::not_found:
      return "not_found";
    case ReviewCode::decided:
      return "decided";
    case ReviewCode::too_large:
      return "too_large";
    case ReviewCode::unavailable:
      return "unavailable";
    case ReviewCode::damaged:
      return "damaged";
  }
  return "damaged";
}

std::string_view to_string(LabelFormat format) noexcept {
  return format == LabelFormat::coco ? "coco" : "yolo";
}

Result<LabelFormat> parse_label_format(std::string_view name) {
  for (const LabelFormat format : {LabelFormat::coco, LabelFormat::yolo}) {
    if (name == to_string(format)) return format;
  }
  return fail(ErrorKind::invalid_input, "format: expected coco or yolo");
}

}  // namespace takt::line
