// SPDX-License-Identifier: Apache-2.0
// What a loaded model expects of a batch, and the check of a batch against it, shared by backends.
// Thread-safe: pure functions and plain values.
// Owns: plain values.
#pragma once

#include "backend/backend.h"
#include "backend/image_input.h"
#include "core/inference.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace takt {

struct BatchRules {
  Signature signature;
  std::vector<std::optional<ImageInput>> images;  // one an input; empty: finished tensors
  // Bytes of one row of each input and output; empty where the size varies.
  std::vector<std::optional<std::size_t>> input_row_bytes;
  std::vector<std::optional<std::size_t>> output_row_bytes;
};

// Errors: invalid_input (a plan for an input that the model lacks, with a suggestion; a plan that
// doesn't fit).
[[nodiscard]] Result<BatchRules> make_batch_rules(Signature signature,
                                                  std::span<const InputPlan> plans);

// The rows of the whole batch. Errors: invalid_input, which names the request, the input or output,
// what was expected and what came.
[[nodiscard]] Result<std::int64_t> check_batch(const BatchRules& rules, BatchView batch);

}  // namespace takt
