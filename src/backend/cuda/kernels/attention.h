// SPDX-License-Identifier: Apache-2.0
// Attention by one kernel on tensor cores: scores stay in registers and are never written.
// The tuner has no part in it: there is one way to compute such a step, and its tiles follow from the shapes.
// What it replaces, two products with softmax between them, isn't an alternative that one step could name.
// Thread-safe: pure functions. Owns: nothing. Private to the cuda backend.
#pragma once

#include "backend/cuda/device.h"
#include "core/tensor.h"

#include <cstdint>

namespace takt::cuda {

// That attention_code() (step_code.h) takes a step of StepKind::attention whose products are of this type, for
// keys of `key_size` numbers (D) and values of `value_size` (E), and that its kernel runs on such a device:
// FP16, from compute capability 8.0 on also BF16; sizes from 16 to 128 that are multiples of 8. Steps whose type
// a device lacks don't compile for it, so whoever makes steps asks.
[[nodiscard]] bool attention_supported(DataType type, ComputeCapability capability,
                                       std::int64_t key_size, std::int64_t value_size);

}  // namespace takt::cuda
