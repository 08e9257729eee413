// SPDX-License-Identifier: Apache-2.0
// What compiling a model came to, as tables for people and as JSON for scripts.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "backend/cuda/run/compile_model.h"

#include <string>

namespace takt::app {

// A row for each batch size; with `layers` a table for each of them before.
[[nodiscard]] std::string to_table(const cuda::CompileReport& report, bool layers);

// Keys: device, libraries {NAME: VERSION}, plan, tuned_steps, reused_steps, seconds, batches [{batch,
// latency_p50_us, rows_per_second, arena_bytes, weights_bytes, layers [{name, shapes, precision,
// implementation, us, share, bytes, flops}]}].
[[nodiscard]] std::string to_json(const cuda::CompileReport& report);

}  // namespace takt::app
