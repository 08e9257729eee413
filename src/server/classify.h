// SPDX-License-Identifier: Apache-2.0
// The protocol's classification extension: the largest values of a tensor as "VALUE:INDEX:LABEL".
// Thread-safe: pure function.
// Owns: nothing.
#pragma once

#include "server/api_error.h"
#include "server/infer_call.h"

#include <string>
#include <vector>

namespace takt::server {

// `out` becomes a tensor of strings, the `classes` largest values of each row (of the whole tensor
// where the model has no batch dimension), largest first, equal ones by their index; a NaN comes
// last. Values of fp16 and bf16 are written as fp32. Errors: invalid_argument (strings).
[[nodiscard]] ApiResult<AnswerOutput> classify(AnswerOutput out, const TensorView& tensor,
                                               int classes, bool batched,
                                               const std::vector<std::string>& labels);

}  // namespace takt::server
