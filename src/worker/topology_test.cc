// SPDX-License-Identifier: Apache-2.0
#include "worker/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwloc.h>
#include <sched.h>

#include <thread>

namespace takt::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Topology, ADescribedMachineHasItsNodesCoresAndCaches) {
  const auto topology =
      synthetic_topology("numa:2 l3:1(size=16777216) l2:2(size=524288) core:1 pu:2");
  ASSERT_TRUE(topology) << topology.error().message;
  ASSERT_EQ(topology->nodes.size(), 2U);
  EXPECT_EQ(topology->nodes[0].index, 0);
  EXPECT_THAT(topology->nodes[0].cpus, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(topology->nodes[1].index, 1);
  EXPECT_THAT(topology->nodes[1].cpus, ElementsAre(4, 5, 6, 7));
  EXPECT_GT(topology->nodes[1].memory_bytes, 0U);
  EXPECT_EQ(describe(*topology), "2 NUMA nodes, 4 cores, 8 CPUs, L2 4 x 512 KiB, L3 2 x 16 MiB");
}

TEST(Topology, ADescriptionThatIsNoneIsRefused) {
  const auto topology = synthetic_topology("two nodes");
  ASSERT_FALSE(topology);
  EXPECT_EQ(topology.error().kind, ErrorKind::invalid_input);
  EXPECT_THAT(topology.error().message, HasSubstr("two nodes"));
}

TEST(Topology, OfThisMachineHasTheCpusThatTheCallerMayUse) {
  std::thread([] {
    cpu_set_t usable;
    ASSERT_EQ(::sched_getaffinity(0, sizeof(usable), &usable), 0);
    const auto all = machine_topology();
    ASSERT_TRUE(all) << all.error().message;
    EXPECT_EQ(all->cpus, CPU_COUNT(&usable));
    int last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(last, &usable)) --last;
    CPU_ZERO(&usable);
    CPU_SET(last, &usable);
    ASSERT_EQ(::sched_setaffinity(0, sizeof(usable), &usable), 0);
    const auto one = machine_topology();
    ASSERT_TRUE(one) << one.error().message;
    EXPECT_EQ(one->cpus, 1);
    ASSERT_EQ(one->nodes.size(), 1U);
    EXPECT_THAT(one->nodes[0].cpus, ElementsAre(last));
  }).join();
}

TEST(Topology, MemoryOfAThreadComesFromTheNodeThatItIsBoundTo) {
  const auto topology = machine_topology();
  ASSERT_TRUE(topology && !topology->nodes.empty());
  const int node = topology->nodes.back().index;
  Result<void> bound;
  int policy = -1;
  bool on_node = false;
  std::thread([&] {
    bound = bind_memory(node);
    hwloc_topology_t machine = nullptr;
    ::hwloc_topology_init(&machine);
    ::hwloc_topology_load(machine);
    const hwloc_bitmap_t set = ::hwloc_bitmap_alloc();
    hwloc_membind_policy_t found = HWLOC_MEMBIND_DEFAULT;
    ::hwloc_get_membind(machine, set, &found, HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET);
    policy = static_cast<int>(found);
    on_node = ::hwloc_bitmap_isset(set, static_cast<unsigned>(node)) != 0;
    ::hwloc_bitmap_free(set);
    ::hwloc_topology_destroy(machine);
  }).join();
  if (!bound) GTEST_SKIP() << "this process may not: " << bound.error().message;
  EXPECT_EQ(policy, static_cast<int>(HWLOC_MEMBIND_BIND));
  EXPECT_TRUE(on_node);
}

TEST(Topology, MemoryIsNotBoundToANodeThatIsNotThere) {
  const auto bound = bind_memory(4000);
  ASSERT_FALSE(bound);
  EXPECT_EQ(bound.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(bound.error().message, HasSubstr("NUMA node 4000"));
}

}  // namespace
}  // namespace takt::worker
