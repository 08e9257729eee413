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

// Whether the backend runs models on a device, as backends know it ("cpu", "cuda:0"). A name that is no
// backend's runs anywhere: make_backend() refuses it.
[[nodiscard]] constexpr bool runs_on(std::string_view backend, std::string_view device) noexcept {
  if (backend == "cuda") return device.starts_with("cuda:");
  return backend != "openvino" || device == "cpu";
}

// `openvino` and `cuda` are opened from their own files (open_module.h), here and not before. Errors:
// invalid_input (no such backend; names the nearest one), unavailable (its file, library or driver is missing).
[[nodiscard]] Result<std::unique_ptr<Backend>> make_backend(std::string_view name);

}  // namespace takt::worker
