// SPDX-License-Identifier: Apache-2.0
// What `takt compile` was asked for, checked.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "app/commands.h"
#include "backend/cuda/run/compile_model.h"
#include "core/result.h"

namespace takt::app {

inline constexpr std::int64_t kCompiledBatchMax = 4096;
inline constexpr std::int64_t kCompiledInstancesMax = 64;  // as a task's instances

// Errors: invalid_input; the message names the option, what it says, what was expected and, where a word is
// misspelt, the likely one.
[[nodiscard]] Result<cuda::CompileOptions> compile_options(CompileArguments arguments);

}  // namespace takt::app
