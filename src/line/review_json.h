// SPDX-License-Identifier: Apache-2.0
// Items and decisions of the review desk as JSON: one spelling for whoever offers them to clients.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "line/review.h"

#include <nlohmann/json_fwd.hpp>

#include <string_view>

namespace takt::line {

// The keys of record_json.h, and: id, pictures [{role, width, height, png_bytes}], review (only
// where there is a decision).
[[nodiscard]] nlohmann::json to_json(const ReviewItem& item);
// items, next (only where there is another page).
[[nodiscard]] nlohmann::json to_json(const ReviewPage& page);
// id, decided_us, decision, by, note, labels [{class, box [x1, y1, x2, y2]}] (only where the person
// gave some, or none of them), earlier.
[[nodiscard]] nlohmann::json to_json(const Review& review);

// Text that a client sent: {"decision": "pass" | "reject", "by", "note", "labels": [{"class", "box":
// [x1, y1, x2, y2]}], "replace"}; the last three may be missing. Unknown keys are refused, because a
// mistyped "labels" would silently confirm the recorded detections. Errors: invalid, which names the
// key. ReviewDesk::decide checks the values.
[[nodiscard]] ReviewResult<ReviewDecision> decision_from_json(std::string_view text);

}  // namespace takt::line
