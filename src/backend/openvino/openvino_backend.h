// SPDX-License-Identifier: Apache-2.0
// The backend `openvino`: ONNX models on the CPU through OpenVINO.
// Thread-safe: as backend/backend.h says.
// Owns: OpenVINO's core; loaded models keep it alive.
#pragma once

#include "backend/backend.h"

#include <memory>

namespace takt {

// Errors: unavailable (OpenVINO's libraries are missing or damaged).
[[nodiscard]] Result<std::unique_ptr<Backend>> make_openvino_backend();

}  // namespace takt
