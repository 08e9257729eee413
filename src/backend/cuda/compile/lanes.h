// SPDX-License-Identifier: Apache-2.0
// Steps that run beside each other: which memory they share decides who waits for whom.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "backend/cuda/compile/program.h"

#include <vector>

namespace takt::cuda {

// Steps of one lane run in their order; those of others only wait for what is said here.
struct LanePlan {
  int lanes = 1;
  std::vector<int> lane;  // of each step, from 0
  std::vector<std::vector<int>>
      waits;                  // steps of other lanes that each step waits for, as few as do
  std::vector<bool> signals;  // that some step waits for it
};

// For each step the earlier ones that it must not overtake, ascending: one of the two writes memory that the
// other reads or writes, of the same buffer or of one that lies in the same place. Buffers of the arena have
// their places.
[[nodiscard]] std::vector<std::vector<int>> dependencies(const Program& program);

// Gives each step to the lane where it could begin first, if all took equally long.
[[nodiscard]] LanePlan plan_lanes(const std::vector<std::vector<int>>& dependencies, int lanes_max);

// Whether two views of one buffer may have an element in common; when in doubt they do.
[[nodiscard]] bool may_overlap(const View& a, const View& b);

}  // namespace takt::cuda
