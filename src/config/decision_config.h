// SPDX-License-Identifier: Apache-2.0
// The `decision:` section of a line.
// Thread-safe: no; one thread reads one file.
// Owns: nothing.
#pragma once

#include "config/reader.h"
#include "line/decision.h"

namespace takt::config {

[[nodiscard]] line::DecisionSpec read_decision(Reader& reader);

}  // namespace takt::config
