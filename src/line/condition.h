// SPDX-License-Identifier: Apache-2.0
// Whether one condition of a rule holds, and the words that say why.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "line/decision.h"

#include <optional>
#include <string>

namespace takt::line {

// The evidence ("open x2 max 0.97") when the condition holds. It doesn't depend on the order in
// which things were found.
[[nodiscard]] std::optional<std::string> evidence(const Condition& condition,
                                                  const FrameFindings& findings,
                                                  const std::map<std::string, Polygon>& regions);

}  // namespace takt::line
