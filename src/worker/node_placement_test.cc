// SPDX-License-Identifier: Apache-2.0
#include "worker/node_placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::worker {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr NumaPolicy kOff{.automatic = false, .node = {}};
constexpr NumaPolicy kSecondNode{.automatic = false, .node = 1};

// Node 0 has the CPUs 0..3, node 1 has 4..7.
NodePlacement on_two_nodes(NumaPolicy policy = {}) {
  return {synthetic_topology("numa:2 core:4 pu:1").value(), policy};
}

TEST(NodePlacement, OneNodeChangesNothing) {
  NodePlacement placement(synthetic_topology("numa:1 core:4 pu:1").value(), {});
  const auto place = placement.place(1, {});
  ASSERT_TRUE(place);
  EXPECT_THAT(place->cpus, IsEmpty());
  EXPECT_EQ(place->node, std::nullopt);
}

TEST(NodePlacement, WorkersThatFitIntoANodeAreSpreadOverTheNodes) {
  NodePlacement placement = on_two_nodes();
  EXPECT_EQ(placement.place(2, {})->node, 0);
  EXPECT_EQ(placement.place(3, {})->node, 1);
  const auto third = placement.place(1, {});  // 3 of 4 against 4 of 4
  EXPECT_EQ(third->node, 0);
  EXPECT_THAT(third->cpus, ElementsAre(0, 1, 2, 3));
}

TEST(NodePlacement, AWorkerLargerThanANodeRunsOnAllAndCountsForNone) {
  NodePlacement placement = on_two_nodes();
  const auto place = placement.place(5, {});
  ASSERT_TRUE(place);
  EXPECT_THAT(place->cpus, IsEmpty());
  EXPECT_EQ(place->node, std::nullopt);
  EXPECT_EQ(placement.place(4, {})->node, 0);
}

TEST(NodePlacement, WorkersThatRunAlreadyCount) {
  NodePlacement placement = on_two_nodes();
  placement.occupy(0, 2);
  placement.occupy(7, 4);  // no such node
  EXPECT_EQ(placement.place(1, {})->node, 1);
  EXPECT_EQ(placement.place(1, {})->node, 1);
  EXPECT_EQ(placement.place(1, {})->node, 0);
}

TEST(NodePlacement, OffPlacesNothing) {
  const auto place = on_two_nodes(kOff).place(1, {});
  ASSERT_TRUE(place);
  EXPECT_THAT(place->cpus, IsEmpty());
  EXPECT_EQ(place->node, std::nullopt);
}

TEST(NodePlacement, ANamedNodeTakesEveryWorker) {
  NodePlacement placement = on_two_nodes(kSecondNode);
  for (const int threads : {1, 4, 9}) {
    const auto place = placement.place(threads, {});
    ASSERT_TRUE(place);
    EXPECT_THAT(place->cpus, ElementsAre(4, 5, 6, 7));
    EXPECT_EQ(place->node, 1);
  }
}

TEST(NodePlacement, ANodeThatIsNotThereIsRefusedWithThoseThatAre) {
  const auto place = on_two_nodes({.automatic = false, .node = 2}).place(1, {});
  ASSERT_FALSE(place);
  EXPECT_EQ(place.error().kind, ErrorKind::invalid_input);
  EXPECT_THAT(place.error().message, HasSubstr("no NUMA node 2"));
  EXPECT_THAT(place.error().message, HasSubstr("0, 1"));
}

TEST(NodePlacement, ATasksOwnCpusStayAndMemoryFollowsThemIntoTheirNode) {
  NodePlacement placement = on_two_nodes();
  const auto inside = placement.place(1, {5, 6});
  ASSERT_TRUE(inside);
  EXPECT_THAT(inside->cpus, ElementsAre(5, 6));
  EXPECT_EQ(inside->node, 1);
  EXPECT_EQ(placement.place(1, {3, 4})->node, std::nullopt);
  EXPECT_EQ(on_two_nodes(kOff).place(1, {5})->node, std::nullopt);
}

TEST(NodePlacement, ATasksOwnCpusMustLieInTheNodeThatTheDeviceNames) {
  EXPECT_EQ(on_two_nodes(kSecondNode).place(1, {4, 7})->node, 1);
  const auto place = on_two_nodes(kSecondNode).place(1, {3, 4});
  ASSERT_FALSE(place);
  EXPECT_EQ(place.error().kind, ErrorKind::invalid_input);
  EXPECT_THAT(place.error().message, HasSubstr("cpus"));
}

TEST(CpusOfLanes, EachLaneHasOneAndTheFirstStayFree) {
  const std::vector<int> cpus{0, 1, 2, 3, 8};
  EXPECT_THAT(cpus_of_lanes(cpus, 5), ElementsAreArray(cpus));
  EXPECT_THAT(cpus_of_lanes(cpus, 2), ElementsAre(3, 8));
}

TEST(CpusOfLanes, MoreLanesThanCpusAreNotTied) {
  EXPECT_TRUE(cpus_of_lanes(std::vector<int>{0, 1}, 3).empty());
  EXPECT_TRUE(cpus_of_lanes({}, 0).empty());
}

}  // namespace
}  // namespace takt::worker
