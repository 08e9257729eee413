// SPDX-License-Identifier: Apache-2.0
// The backend `simulated`: modelled latency, injected faults, outputs that follow from the inputs.
// Thread-safe: as backend/backend.h says.
// Owns: nothing; the clock outlives the backend and everything that it loaded.
#pragma once

#include "backend/backend.h"
#include "core/time.h"

#include <memory>

namespace takt {

// LoadOptions.parameters "simulated.*" are listed in src/backend/README.md. The signature comes
// from them or from LoadOptions.input_specs and output_specs; no model file is read.
[[nodiscard]] std::unique_ptr<Backend> make_simulated_backend();
[[nodiscard]] std::unique_ptr<Backend> make_simulated_backend(const Clock& clock);

}  // namespace takt
