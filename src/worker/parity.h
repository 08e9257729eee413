// SPDX-License-Identifier: Apache-2.0
// The parity gate: a version must give its reference outputs on the backend that will serve it.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/inference.h"
#include "core/result.h"
#include "repository/reference.h"

#include <string>

namespace takt::worker {

// Runs every case on the instance, alone and, where batch_max allows, twice in one batch. Its inputs are finished tensors; an unsigned 8-bit reference
// input is cast to the type of the model's input without scaling. Errors: invalid_input that names
// case, output and element with what was expected, what came, and the tolerance.
[[nodiscard]] Result<void> check_parity(const repository::Reference& reference,
                                        const Signature& signature, Instance& instance,
                                        std::span<const std::size_t> output_bytes_per_row);

// The first element out of tolerance, as a sentence; "" when all fit. NaN fits nothing; strings must
// be the same.
[[nodiscard]] std::string first_mismatch(const TensorView& expected, const TensorView& got,
                                         const repository::Tolerance& tolerance);

}  // namespace takt::worker
