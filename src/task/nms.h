// SPDX-License-Identifier: Apache-2.0
// Greedy non-maximum suppression: of boxes that overlap, the one with the highest score stays.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/image.h"
#include "task/task.h"

#include <vector>

namespace takt::postprocess {

struct NmsOptions {
  float iou_max = 0.45F;  // a box that overlaps a kept one by more is dropped
  bool class_agnostic = false;
  int kept_max = 300;
};

// Candidates beyond this are dropped, the lowest scores first, before boxes are compared: a bound on
// the time that a model which answers with nonsense can take (the same bound as Ultralytics').
inline constexpr std::size_t kCandidatesMax = 30000;

// Keeps what survives, highest score first. Ties are ordered by class and then by box, so that the
// result doesn't depend on the order of the input.
void suppress(std::vector<Detection>& candidates, const NmsOptions& options);

// Sorts as `suppress` does and keeps the first kept_max, without comparing boxes.
void keep_best(std::vector<Detection>& candidates, std::size_t kept_max);

}  // namespace takt::postprocess
