// SPDX-License-Identifier: Apache-2.0
// Answers that are made up from a digest of the inputs: the same input, the same output.
// Thread-safe: pure functions. Owns: nothing. Private to backend/simulated.
#pragma once

#include "backend/image_input.h"
#include "core/inference.h"
#include "core/result.h"

#include <cstdint>
#include <span>

namespace takt::simulated {

// Of one row of a tensor that has `rows`.
[[nodiscard]] std::uint64_t digest_tensor(const TensorView& tensor, std::int64_t row,
                                          std::int64_t rows);
// Of a staged row: that of the tensor which the preprocessing would make.
[[nodiscard]] std::uint64_t digest_image(std::span<const std::uint8_t> row,
                                         const ImageInput& image);

// Appends a row of made-up elements; strings are decimal numbers. Numbers have room. Errors:
// corrupt_output (no room for strings).
[[nodiscard]] Result<void> add_row(OutputBuffer& buffer, const TensorSpec& spec,
                                   std::uint64_t seed);

// Makes an answer one that can't be believed: floating-point elements become NaN, and the first
// string's length lies. Others stay.
void corrupt(OutputBuffer& buffer);

}  // namespace takt::simulated
