// SPDX-License-Identifier: Apache-2.0
#include "worker/topology.h"

#include <hwloc.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace takt::worker {
namespace {

// hwloc's view of a machine.
class Machine {
 public:
  Machine() {
    if (::hwloc_topology_init(&topology_) != 0) topology_ = nullptr;
  }
  ~Machine() {
    if (topology_ != nullptr) ::hwloc_topology_destroy(topology_);
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  [[nodiscard]] bool describe(const std::string& description) {
    return topology_ != nullptr &&
           ::hwloc_topology_set_synthetic(topology_, description.c_str()) == 0;
  }
  [[nodiscard]] bool load() {
    return topology_ != nullptr && ::hwloc_topology_load(topology_) == 0;
  }
  [[nodiscard]] hwloc_topology_t get() const noexcept { return topology_; }

 private:
  hwloc_topology_t topology_ = nullptr;
};

std::vector<int> numbers_of(hwloc_const_bitmap_t set) {
  std::vector<int> numbers;
  for (int i = ::hwloc_bitmap_first(set); i >= 0; i = ::hwloc_bitmap_next(set, i)) {
    numbers.push_back(i);
  }
  return numbers;
}

Topology read(hwloc_topology_t machine) {
  Topology topology;
  topology.cores = std::max(0, ::hwloc_get_nbobjs_by_type(machine, HWLOC_OBJ_CORE));
  topology.cpus = std::max(0, ::hwloc_get_nbobjs_by_type(machine, HWLOC_OBJ_PU));
  for (hwloc_obj_t node = nullptr;
       (node = ::hwloc_get_next_obj_by_type(machine, HWLOC_OBJ_NUMANODE, node)) != nullptr;) {
    NumaNode found{static_cast<int>(node->os_index), numbers_of(node->cpuset),
                   node->attr->numanode.local_memory};
    if (!found.cpus.empty()) topology.nodes.push_back(std::move(found));
  }
  std::ranges::sort(topology.nodes, {}, &NumaNode::index);
  int level = 0;
  for (const hwloc_obj_type_t type : {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE}) {
    ++level;
    const hwloc_obj_t first = ::hwloc_get_obj_by_type(machine, type, 0);
    if (first == nullptr) continue;
    topology.caches.push_back(
        {level, ::hwloc_get_nbobjs_by_type(machine, type), first->attr->cache.size});
  }
  return topology;
}

std::string counted(int count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

std::string size(std::uint64_t bytes) {
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  return bytes >= kMiB ? std::to_string(bytes / kMiB) + " MiB"
                       : std::to_string(bytes >> 10U) + " KiB";
}

// What sched_getaffinity allows; hwloc looks at the control groups by itself.
void restrict_to_usable(hwloc_topology_t machine) {
  const hwloc_bitmap_t usable = ::hwloc_bitmap_alloc();
  if (usable == nullptr) return;
  if (::hwloc_get_cpubind(machine, usable, HWLOC_CPUBIND_THREAD) == 0) {
    ::hwloc_topology_restrict(machine, usable, 0);
  }
  ::hwloc_bitmap_free(usable);
}

}  // namespace

Result<Topology> machine_topology() {
  Machine machine;
  if (!machine.load()) {
    return fail(ErrorKind::unavailable,
                "the machine's topology can't be read: " + std::generic_category().message(errno) +
                    "; mount /sys, or name the CPUs of each device (cpus) instead of a NUMA node");
  }
  restrict_to_usable(machine.get());
  return read(machine.get());
}

Result<Topology> synthetic_topology(const std::string& description) {
  Machine machine;
  if (!machine.describe(description) || !machine.load()) {
    return fail(ErrorKind::invalid_input,
                "no topology '" + description + "'; expected such as 'numa:2 core:4 pu:1'");
  }
  return read(machine.get());
}

std::string describe(const Topology& topology) {
  std::string text = counted(static_cast<int>(topology.nodes.size()), "NUMA node") + ", " +
                     counted(topology.cores, "core") + ", " + counted(topology.cpus, "CPU");
  for (const CacheLevel& cache : topology.caches) {
    text += ", L" + std::to_string(cache.level) + " " + std::to_string(cache.count) + " x " +
            size(cache.bytes);
  }
  return text;
}

Result<void> bind_memory(int node) {
  const auto failed = [node](const std::string& why) {
    return fail(ErrorKind::unavailable,
                "memory can't be bound to NUMA node " + std::to_string(node) + ": " + why);
  };
  Machine machine;
  if (!machine.load()) return failed("the machine's topology can't be read");
  const hwloc_obj_t object =
      ::hwloc_get_numanode_obj_by_os_index(machine.get(), static_cast<unsigned>(node));
  if (object == nullptr) return failed("there is none");
  // Preferred, not strict: a node that is full must not end the worker.
  if (::hwloc_set_membind(machine.get(), object->nodeset, HWLOC_MEMBIND_BIND,
                          HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET) != 0) {
    return failed(std::generic_category().message(errno));
  }
  return {};
}

}  // namespace takt::worker
