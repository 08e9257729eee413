// SPDX-License-Identifier: Apache-2.0
// A verdict record as JSON and back: one spelling for JSON Lines, the journal and the store.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/result.h"
#include "line/frame.h"

#include <nlohmann/json_fwd.hpp>

namespace takt::line {

// Keys: line, seq, frame, part_id, trigger_seq, recipe, captured_us (wall, Unix epoch), verdict, reasons, route,
// by_fallback, detections [{class, score, box [x1, y1, x2, y2], task}], distance (only with a matcher),
// tasks [{task, model, version, error, error_kind, total_us, compute_us, requests, fallback {task, model, version,
// cause, cause_kind, error, error_kind} (only where it was asked)}], latency_us, lateness_us,
// known_defects [{class, box}] (only where the truth is known). Scores and distances are rounded to 1e-4, boxes to
// 1e-2 pixels. Pixels are not part of it.
[[nodiscard]] nlohmann::json to_json(const VerdictRecord& record);

// Reads what to_json wrote. Errors: invalid_input, which names the key.
[[nodiscard]] Result<VerdictRecord> record_from_json(const nlohmann::json& json);

}  // namespace takt::line
