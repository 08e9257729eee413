// SPDX-License-Identifier: Apache-2.0
// A contraction in one step or in several, and what makes two of them the same problem.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "backend/cuda/compile/program.h"

#include <cstdint>
#include <string>
#include <vector>

namespace takt::cuda {

enum class ContractionForm : std::uint8_t {
  whole,
  separate_epilogue,  // the product with its bias, then the rest in place
  separate_bias,      // the product alone, then the rest in place
};

// The steps of a form, one after the other. Empty where it is no other than a form before it.
[[nodiscard]] std::vector<Step> steps_of(const Step& contraction, ContractionForm form);

// Whatever its time and its code depend on: operators, types, shapes, strides and alignments; not where the
// tensors lie.
[[nodiscard]] std::string problem_text(const Step& contraction);

// Products and sums, twice their number: what one output element sums up, times the elements.
[[nodiscard]] double floating_point_operations(const Step& step);
// Bytes of the elements that inputs and outputs have, each counted once.
[[nodiscard]] double bytes_moved(const Step& step);

}  // namespace takt::cuda
