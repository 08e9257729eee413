// SPDX-License-Identifier: Apache-2.0
// Which NUMA node each worker of a device runs on.
// Thread-safe: no; one thread places all workers.
// Owns: plain values.
#pragma once

#include "core/result.h"
#include "worker/topology.h"

#include <optional>
#include <span>
#include <vector>

namespace takt::worker {

// What takt.yaml says of a device: `numa: auto` (the default), `off`, or a node's number.
struct NumaPolicy {
  bool automatic = true;
  std::optional<int> node;
};

struct WorkerPlace {
  std::vector<int> cpus;    // empty: any
  std::optional<int> node;  // whose memory it takes; empty: the kernel's choice
};

class NodePlacement {
 public:
  NodePlacement(Topology topology, NumaPolicy policy);

  // The next worker's place. `threads` is how many it computes with at once, `cpus` what its task
  // confines it to (empty: nothing).
  // - a node that the policy names takes every worker;
  // - `auto` on a machine of several nodes keeps a worker that fits into one node there, on the one
  //   that has the least to do; a larger one runs on all of them;
  // - a task's own CPUs stay as they are; memory follows them where they lie in one node.
  // Errors: invalid_input (no such node; the task's CPUs are not in the node that the policy names).
  [[nodiscard]] Result<WorkerPlace> place(int threads, const std::vector<int>& cpus);
  // A worker that runs on that node already.
  void occupy(int node, int threads);

 private:
  [[nodiscard]] Result<WorkerPlace> place_on_own_cpus(const std::vector<int>& cpus) const;
  [[nodiscard]] WorkerPlace place_where_least_is(int threads);

  Topology topology_;
  NumaPolicy policy_;
  std::vector<int> threads_placed_;  // on each of the topology's nodes
};

// The node of that number, or what is wrong with it. Errors: invalid_input, which names the nodes.
[[nodiscard]] Result<NumaNode> find_node(const Topology& topology, int index);

// A CPU for each lane: the last ones, because the first has the interrupts on many machines. Empty
// with fewer CPUs than lanes.
[[nodiscard]] std::span<const int> cpus_of_lanes(std::span<const int> cpus, int lanes);

}  // namespace takt::worker
