// SPDX-License-Identifier: Apache-2.0
// The operators that choose elements, each in a file of its own.
// Thread-safe: pure functions.
// Owns: nothing.
// Private to the cuda backend.
#pragma once

#include "backend/cuda/kernels/movement_step.h"
#include "backend/cuda/kernels/step_code.h"
#include "core/result.h"
#include "graph/operators.h"

#include <cstddef>
#include <string>

namespace takt::cuda {

// Values and indices along any axis, of equal elements the first first and NaN as larger than all others.
// Runs of what fits shared memory are sorted and cut to k elements, until one is left; where k is too large for
// that, sorted runs are merged.
[[nodiscard]] Result<StepCode> top_k_code(const graph::TopK& op, const CheckedStep& step,
                                          const std::string& name);

// Rows (image, class, box) as the reference has them, and -1 in each number of the rows beyond: how many were
// found is told by nothing else. A block looks for the boxes of one class of one image, a second kernel
// puts the rows behind each other.
[[nodiscard]] Result<StepCode> non_max_suppression_code(const graph::NonMaxSuppression& op,
                                                        const CheckedStep& step,
                                                        const std::string& name);

// Bytes of scratch memory, rounded up so that what comes next is aligned too.
[[nodiscard]] std::size_t scratch_size(std::size_t bytes);

// Sorts in shared memory: `sort(entries, count)`, by all threads of a block (kThreads), ascending; `count` is a
// power of two.
extern const char kSortText[];

}  // namespace takt::cuda
