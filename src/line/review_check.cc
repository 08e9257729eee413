// SPDX-License-Identifier: Apache-2.0
#include "line/review_check.h"

#include "core/utf8.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace takt::line {
namespace {

enum class Lines : std::uint8_t { one, several };

bool is_control(char c) noexcept {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

// What is wrong with the text; empty: nothing.
std::string text_fault(std::string_view text, std::size_t bytes_max, Lines lines) {
  if (text.size() > bytes_max) {
    return std::to_string(text.size()) + " bytes; expected at most " + std::to_string(bytes_max);
  }
  if (!is_utf8(text)) return "not UTF-8";
  const bool allowed = std::ranges::none_of(text, [lines](char c) {
    return is_control(c) && (lines == Lines::one || (c != '\n' && c != '\r' && c != '\t'));
  });
  return allowed ? "" : "holds control characters; expected printable text";
}

std::string name_fault(std::string_view name, std::size_t bytes_max) {
  if (name.empty()) return "expected a name, got nothing";
  if (name.front() == ' ' || name.back() == ' ') return "begins or ends with a space";
  return text_fault(name, bytes_max, Lines::one);
}

std::string box_fault(const Box& box) {
  for (const float edge : {box.x1, box.y1, box.x2, box.y2}) {
    if (!std::isfinite(edge)) return "expected finite numbers";
  }
  if (box.x1 < 0 || box.y1 < 0) return "expected x1 and y1 from 0";
  return box.x1 < box.x2 && box.y1 < box.y2 ? "" : "expected x1 < x2 and y1 < y2";
}

std::string label_field(std::size_t index, std::string_view field) {
  return "labels[" + std::to_string(index) + "]." + std::string(field);
}

std::unexpected<ReviewError> invalid(std::string_view field, std::string_view fault) {
  return refuse(ReviewCode::invalid, std::string(field) + ": " + std::string(fault));
}

}  // namespace

ReviewResult<void> check(const ReviewDecision& decision, int labels_max) {
  if (decision.decision == Verdict::review) {
    return invalid("decision", "expected pass or reject, because a person has looked");
  }
  if (const std::string fault = name_fault(decision.by, kReviewerBytesMax); !fault.empty()) {
    return invalid("by", fault);
  }
  if (const std::string fault = text_fault(decision.note, kNoteBytesMax, Lines::several);
      !fault.empty()) {
    return invalid("note", fault);
  }
  if (!decision.labels) return {};
  const std::vector<ReviewLabel>& labels = *decision.labels;
  if (decision.decision == Verdict::pass && !labels.empty()) {
    return invalid("labels", "a pass has none; expected none, or the decision reject");
  }
  if (labels.size() > static_cast<std::size_t>(labels_max)) {
    return invalid("labels", std::to_string(labels.size()) + " of them; expected at most " +
                                 std::to_string(labels_max));
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (const std::string fault = name_fault(labels[i].class_name, kClassBytesMax);
        !fault.empty()) {
      return invalid(label_field(i, "class"), fault);
    }
    if (const std::string fault = box_fault(labels[i].box); !fault.empty()) {
      return invalid(label_field(i, "box"), fault);
    }
  }
  return {};
}

ReviewResult<void> check_inside(std::span<const ReviewLabel> labels, const PictureSize& picture) {
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const Box& box = labels[i].box;
    if (box.x2 > static_cast<float>(picture.width) || box.y2 > static_cast<float>(picture.height)) {
      return invalid(label_field(i, "box"), "reaches outside the picture of " +
                                                std::to_string(picture.width) + " x " +
                                                std::to_string(picture.height) + " pixels");
    }
  }
  return {};
}

}  // namespace takt::line
