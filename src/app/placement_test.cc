// SPDX-License-Identifier: Apache-2.0
#include "app/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace takt::app {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

FurtherReplica on(std::size_t task, std::size_t device) {
  return {task, device};
}

std::size_t first_of(std::span<const DeviceRoom> rooms, const std::vector<FirstPlace>& places) {
  return device_for_first(rooms, places);
}

TEST(FirstReplica, GoesWhereMostRoomIs) {
  const std::array rooms{DeviceRoom{.memory_bytes = 100, .taken_bytes = 60},
                         DeviceRoom{.memory_bytes = 80, .taken_bytes = 10},
                         DeviceRoom{.memory_bytes = 200}};
  EXPECT_EQ(first_of(rooms, {{.device = 0}, {.device = 1}, {.device = 2}}), 2U);
  EXPECT_EQ(first_of(rooms, {{.device = 0}, {.device = 1}}), 1U);
  EXPECT_EQ(first_of(rooms, {{.device = 0}}), 0U);
}

// 100 MiB an instance, one for each lane: 3.2 GiB there, 200 MiB here.
TEST(FirstReplica, GoesWhereEachInstanceHasMostRoom) {
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  const std::array rooms{DeviceRoom{.memory_bytes = 2048 * kMiB},
                         DeviceRoom{.memory_bytes = 1024 * kMiB}};
  EXPECT_EQ(first_of(rooms, {{.device = 0, .instances = 32}, {.device = 1, .instances = 2}}), 1U);
  EXPECT_EQ(first_of(rooms, {{.device = 0, .instances = 2}, {.device = 1, .instances = 2}}), 0U);
}

TEST(FirstReplica, ADeviceWithoutALimitHasMostRoomForAnyNumberOfInstances) {
  const std::array rooms{DeviceRoom{.memory_bytes = SIZE_MAX}, DeviceRoom{}};
  EXPECT_EQ(first_of(rooms, {{.device = 0, .instances = 2}, {.device = 1, .instances = 64}}), 1U);
}

TEST(FirstReplica, ADeviceWithoutALimitHasMostRoomAndTheEmptierOneOfTwo) {
  const std::array rooms{DeviceRoom{.memory_bytes = 100}, DeviceRoom{.taken_bytes = 60},
                         DeviceRoom{.taken_bytes = 50}};
  EXPECT_EQ(first_of(rooms, {{.device = 0}, {.device = 1}, {.device = 2}}), 2U);
}

TEST(Room, IsWhatIsLeft) {
  const DeviceRoom room{.memory_bytes = 100, .taken_bytes = 60};
  EXPECT_TRUE(room.fits(40));
  EXPECT_FALSE(room.fits(41));
  EXPECT_TRUE(DeviceRoom{.taken_bytes = 60}.fits(SIZE_MAX));
  EXPECT_FALSE((DeviceRoom{.memory_bytes = 100, .taken_bytes = 101}.fits(1)));
}

TEST(FurtherReplicas, WhereEverythingFitsEverythingIsPlaced) {
  const std::vector<PlacedTask> tasks{{.further = {{1, 50}, {2, 50}}},
                                      {.further = {{0, 50}, {2, 50}}}};
  std::vector<FurtherReplica> chosen = further_replicas(std::vector<DeviceRoom>(3), tasks);
  EXPECT_THAT(chosen, ::testing::UnorderedElementsAre(on(0, 1), on(0, 2), on(1, 0), on(1, 2)));
}

TEST(FurtherReplicas, GoToTheTaskWithTheMostWork) {
  const std::vector<DeviceRoom> rooms{{.memory_bytes = 100, .taken_bytes = 100},
                                      {.memory_bytes = 100}};
  std::vector<PlacedTask> tasks{{.further = {{1, 60}}, .work = 0.2},
                                {.further = {{1, 60}}, .work = 0.5}};
  EXPECT_THAT(further_replicas(rooms, tasks), ElementsAre(on(1, 1)));
  tasks[0].work = 0.6;
  EXPECT_THAT(further_replicas(rooms, tasks), ElementsAre(on(0, 1)));
}

// With w = 1 on two replicas a third relieves each of 1/2 - 1/3; 0.4 on one relieves it of 0.2.
TEST(FurtherReplicas, ATaskThatHasSomeGainsLessByAnother) {
  const std::vector<DeviceRoom> rooms{{}, {.memory_bytes = 10}, {.memory_bytes = 10}};
  const std::vector<PlacedTask> tasks{{.further = {{1, 10}, {2, 10}}, .work = 1},
                                      {.further = {{1, 10}, {2, 10}}, .work = 0.4}};
  EXPECT_THAT(further_replicas(rooms, tasks), ElementsAre(on(0, 1), on(1, 2)));
}

TEST(FurtherReplicas, WhereWorkIsNotKnownTasksAreEqualAndTheUrgentOneIsFirst) {
  const std::vector<DeviceRoom> rooms{{}, {.memory_bytes = 10}};
  std::vector<PlacedTask> tasks{
      {.priority = PriorityClass::normal, .further = {{1, 10}}, .work = 5},
      {.priority = PriorityClass::critical, .further = {{1, 10}}, .work = {}}};
  EXPECT_THAT(further_replicas(rooms, tasks), ElementsAre(on(1, 1)));
  tasks[1].work = 1;
  EXPECT_THAT(further_replicas(rooms, tasks), ElementsAre(on(0, 1)));
}

TEST(FurtherReplicas, ASmallTaskTakesWhatALargeOneLeaves) {
  const std::vector<DeviceRoom> rooms{{}, {.memory_bytes = 50}};
  const std::vector<PlacedTask> tasks{{.further = {{1, 60}}, .work = 1},
                                      {.further = {{1, 20}}, .work = 0.1}};
  EXPECT_THAT(further_replicas(rooms, tasks), ElementsAre(on(1, 1)));
}

TEST(FurtherReplicas, OfTwoDevicesTheOneWithMoreRoomIsTaken) {
  const std::vector<DeviceRoom> rooms{{}, {.memory_bytes = 30}, {.memory_bytes = 40}};
  EXPECT_THAT(further_replicas(rooms, {{.further = {{1, 20}, {2, 20}}}}),
              ElementsAre(on(0, 2), on(0, 1)));
}

TEST(FurtherReplicas, NoneWithoutRoomOrDevices) {
  EXPECT_THAT(further_replicas({{.memory_bytes = 1}}, {{.further = {{0, 2}}}}), IsEmpty());
  EXPECT_THAT(further_replicas(std::vector<DeviceRoom>(1), {{.further = {}}}), IsEmpty());
}

TEST(RequestsPerSecond, AreThoseOfTheLines) {
  config::Config config;
  const auto line = [&config](double rate, std::vector<std::string> tasks) {
    line::BoardSimulatorOptions source;
    source.frames_per_second = rate;
    config.lines.push_back({.source = source, .line = {}});
    config.lines.back().line.tasks = std::move(tasks);
  };
  TaskSpec whole;
  whole.name = "defects";
  TaskSpec crops;
  crops.name = "kinds";
  crops.crop.emplace().crops_max = 8;
  line(4, {"defects", "kinds"});
  line(2, {"defects"});
  EXPECT_EQ(requests_per_second(config, whole), 6);
  EXPECT_EQ(requests_per_second(config, crops), 32);
  EXPECT_EQ(requests_per_second(config, TaskSpec{}), 0) << "a fallback";
  line(0, {"defects"});
  EXPECT_EQ(requests_per_second(config, whole), std::nullopt);
}

}  // namespace
}  // namespace takt::app
