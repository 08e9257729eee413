// SPDX-License-Identifier: Apache-2.0
// What tuning is asked for, and under which name the pieces keep what it finds out.
// Thread-safe: pure functions and plain values.
// Owns: plain values.
#pragma once

#include "backend/cuda/compile/effort.h"
#include "backend/cuda/compile/program.h"

#include <cstddef>
#include <string>
#include <vector>

namespace takt::cuda {

struct TuningOptions {
  bool may_tune = true;  // otherwise only what the pieces know
  Effort effort = Effort::normal;
  // Instances that run beside each other on the device. The way that is fastest alone may spread over more of it
  // than is good for all of them.
  int concurrent = 1;
  bool tf32 = false;  // FP32 products may be rounded to TF32
  std::size_t workspace_bytes_max = std::size_t{1} << 30;
};

struct EffortSettings {
  int plans_max = 0;    // of cuDNN, for each form of a step
  int tilings_max = 0;  // of takt's kernel for tensor cores
  int rounds = 0;       // in which each way is timed
};
[[nodiscard]] EffortSettings settings_of(Effort effort) noexcept;

// Runs of a way that are timed beside each other. More than this fill a device as well.
inline constexpr int kRunsBesideMax = 4;

// How a way was found out.
struct TuningConditions {
  Effort effort = Effort::normal;
  int runs_beside = 1;  // 1 to kRunsBesideMax

  friend bool operator==(const TuningConditions&, const TuningConditions&) = default;
};
[[nodiscard]] TuningConditions conditions_of(const TuningOptions& options);
// Whose ways are taken, the best first: what was looked for longer is as good. Where nothing may be tuned, what was
// looked for less is better than nothing, and then so is what was timed with another number of runs beside it.
[[nodiscard]] std::vector<TuningConditions> accepted_conditions(const TuningOptions& options);

// Of the piece of a problem; `step` is a contraction.
[[nodiscard]] std::string piece_key(const Step& step, const TuningConditions& conditions,
                                    bool tf32);

}  // namespace takt::cuda
