// SPDX-License-Identifier: Apache-2.0
// The backends of this program, by name.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "backend/backend.h"
#include "core/result.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace takt::worker {

[[nodiscard]] std::vector<std::string> backend_names();

// `openvino` is opened from its own file (open_module.h), here and not before. Errors: invalid_input
// (no such backend; names the nearest one), unavailable (its file or library is missing).
[[nodiscard]] Result<std::unique_ptr<Backend>> make_backend(std::string_view name);

}  // namespace takt::worker
