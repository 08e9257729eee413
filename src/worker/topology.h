// SPDX-License-Identifier: Apache-2.0
// The machine's CPUs and memory: NUMA nodes, cores, caches; and memory bound to a node.
// Thread-safe: pure functions and plain values.
// Owns: plain values.
#pragma once

#include "core/result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace takt::worker {

// Memory with the CPUs beside it, numbered as Linux does.
struct NumaNode {
  int index = 0;
  std::vector<int> cpus;
  std::uint64_t memory_bytes = 0;
};

struct CacheLevel {
  int level = 1;
  int count = 0;
  std::uint64_t bytes = 0;  // of the first one
};

struct Topology {
  std::vector<NumaNode> nodes;  // those that have CPUs, by rising index
  int cores = 0;
  int cpus = 0;
  std::vector<CacheLevel> caches;  // of data, by rising level
};

// What the calling thread may use of the machine. Errors: unavailable.
[[nodiscard]] Result<Topology> machine_topology();

// A machine that is described, for tests: "numa:2 core:4 pu:1" (hwloc's synthetic topologies).
// Errors: invalid_input.
[[nodiscard]] Result<Topology> synthetic_topology(const std::string& description);

// "2 NUMA nodes, 8 cores, 8 CPUs, L2 8 x 1 MiB, L3 2 x 16 MiB"
[[nodiscard]] std::string describe(const Topology& topology);

// Memory that the calling thread and those that it starts take from now on comes from the node while
// that has any. Errors: unavailable (no such node, or the process may not, as in many containers).
[[nodiscard]] Result<void> bind_memory(int node);

}  // namespace takt::worker
