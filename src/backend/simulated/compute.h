// SPDX-License-Identifier: Apache-2.0
// What the simulated backend computes where simulated.compute says so.
// Thread-safe: pure functions. Owns: nothing. Private to backend/simulated.
#pragma once

#include "backend/batch_check.h"
#include "backend/simulated/parameters.h"
#include "core/inference.h"
#include "core/result.h"

namespace takt::simulated {

// Whether a model can answer so. Errors: invalid_input (numbers, types or shapes of its inputs and
// outputs, an input that takes images).
[[nodiscard]] Result<void> check_compute(Compute compute, const BatchRules& rules);

// Answers a request that fits the model. Integers wrap. Errors: invalid_input (inputs that differ
// in shape, a string that is no integer, outputs that don't fit in their room).
[[nodiscard]] Result<void> compute(Compute compute, const Signature& signature,
                                   const Sample& sample);

}  // namespace takt::simulated
