// SPDX-License-Identifier: Apache-2.0
#include "worker/node_placement.h"

#include <algorithm>
#include <string>
#include <utility>

namespace takt::worker {
namespace {

bool has_all(const NumaNode& node, const std::vector<int>& cpus) {
  return std::ranges::all_of(
      cpus, [&](int cpu) { return std::ranges::find(node.cpus, cpu) != node.cpus.end(); });
}

}  // namespace

NodePlacement::NodePlacement(Topology topology, NumaPolicy policy)
    : topology_(std::move(topology)), policy_(policy), threads_placed_(topology_.nodes.size()) {}

Result<WorkerPlace> NodePlacement::place(int threads, const std::vector<int>& cpus) {
  if (!cpus.empty()) return place_on_own_cpus(cpus);
  if (policy_.node) {
    Result<NumaNode> node = find_node(topology_, *policy_.node);
    if (!node) return std::unexpected(std::move(node).error());
    return WorkerPlace{std::move(node->cpus), node->index};
  }
  if (!policy_.automatic || topology_.nodes.size() < 2) return WorkerPlace{};
  return place_where_least_is(threads);
}

void NodePlacement::occupy(int node, int threads) {
  const auto found = std::ranges::find(topology_.nodes, node, &NumaNode::index);
  if (found == topology_.nodes.end()) return;
  threads_placed_[static_cast<std::size_t>(found - topology_.nodes.begin())] += threads;
}

Result<WorkerPlace> NodePlacement::place_on_own_cpus(const std::vector<int>& cpus) const {
  WorkerPlace place{cpus, std::nullopt};
  if (policy_.node) {
    const Result<NumaNode> node = find_node(topology_, *policy_.node);
    if (!node) return std::unexpected(node.error());
    if (!has_all(*node, cpus)) {
      return fail(ErrorKind::invalid_input,
                  "cpus: not all of them are in NUMA node " + std::to_string(node->index) +
                      ", which the device names; choose others, or leave one of the two out");
    }
    place.node = node->index;
  } else if (policy_.automatic && topology_.nodes.size() > 1) {
    for (const NumaNode& node : topology_.nodes) {
      if (has_all(node, cpus)) place.node = node.index;
    }
  }
  return place;
}

WorkerPlace NodePlacement::place_where_least_is(int threads) {
  std::optional<std::size_t> best;
  double least = 0;
  for (std::size_t i = 0; i < topology_.nodes.size(); ++i) {
    const auto cpus = static_cast<int>(topology_.nodes[i].cpus.size());
    if (cpus < threads) continue;
    const double share = static_cast<double>(threads_placed_[i] + threads) / cpus;
    if (best && share >= least) continue;
    best = i;
    least = share;
  }
  if (!best) return {};
  threads_placed_[*best] += threads;
  return {topology_.nodes[*best].cpus, topology_.nodes[*best].index};
}

Result<NumaNode> find_node(const Topology& topology, int index) {
  std::string known;
  for (const NumaNode& node : topology.nodes) {
    if (node.index == index) return node;
    known += (known.empty() ? "" : ", ") + std::to_string(node.index);
  }
  return fail(ErrorKind::invalid_input, "no NUMA node " + std::to_string(index) +
                                            " whose CPUs takt may use; this machine has: " + known);
}

std::span<const int> cpus_of_lanes(std::span<const int> cpus, int lanes) {
  const auto count = static_cast<std::size_t>(std::max(0, lanes));
  return count <= cpus.size() ? cpus.last(count) : std::span<const int>{};
}

}  // namespace takt::worker
