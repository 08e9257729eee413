// SPDX-License-Identifier: Apache-2.0
// Models with instances on several devices.
#include "scheduler/line_fixture.h"
#include "scheduler/simulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::scheduler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

SchedulerOptions two_devices() {
  return {.devices = {{.lanes = 1}, {.lanes = 1}}};
}
ReplicaAdded replica(std::uint32_t device, const std::vector<std::uint32_t>& instances,
                     Duration exec, std::uint32_t model = 0) {
  ReplicaAdded added{.model = ModelId{model},
                     .device = DeviceId{device},
                     .instances = {},
                     .profile = {{1, exec, exec}}};
  for (const std::uint32_t instance : instances) added.instances.push_back(InstanceId{instance});
  return added;
}

TEST(Replicas, ARequestGoesToTheDeviceThatIsFree) {
  Line line(two_devices());
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.apply(replica(1, {1}, us(100)));
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0);
  EXPECT_NE(line.only_started().instance, first.instance);
  line.arrive(3, 0);
  EXPECT_TRUE(line.started().empty()) << "both lanes are taken";
}

TEST(Replicas, ARequestGoesWhereItFinishesFirst) {
  Line line(two_devices());
  line.add(0, {0}, limits(1), {{1, us(1000), us(1000)}});
  line.apply(replica(1, {1}, us(100)));
  line.arrive(1, 0);
  const Started first = line.only_started();
  EXPECT_EQ(first.instance, 1U) << "the faster device, though both are free";
  line.arrive(2, 0);
  EXPECT_TRUE(line.started().empty()) << "200 there are less than 1000 here";
  line.now_us = 100;
  line.complete(first, 100);
  EXPECT_EQ(line.only_started().instance, 1U);
}

TEST(Replicas, TheSlowerDeviceHelpsWhenTheQueueIsLong) {
  Line line(two_devices());
  line.add(0, {0}, limits(1, 32), {{1, us(1000), us(1000)}});
  line.apply(replica(1, {1}, us(100)));
  for (std::uint64_t id = 1; id <= 9; ++id) line.arrive(id, 0);
  EXPECT_TRUE(line.started().empty()) << "the ninth is done after 900 on the faster one";
  line.arrive(10, 0);
  EXPECT_EQ(line.only_started().instance, 0U);
}

TEST(Replicas, WaitingForAFasterDeviceEndsWhenItGainedNothing) {
  Line line(two_devices());
  line.add(0, {0}, limits(1), {{1, us(1000), us(1000)}});
  line.apply(replica(1, {1}, us(100)));
  line.arrive(1, 0);
  line.arrive(2, 0);
  EXPECT_TRUE(line.started().empty());
  line.now_us = 900;  // the first should have ended at 100
  line.apply(TimerFired{});
  EXPECT_EQ(line.only_started().instance, 0U);
}

TEST(Replicas, WhatWouldBeLateOnTheSlowDeviceWaitsForTheFastOne) {
  Line line(two_devices());
  line.add(0, {0}, limits(1, 32), {{1, us(1000), us(1000)}});
  line.apply(replica(1, {1}, us(400)));
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0, 850);
  EXPECT_TRUE(line.all<Refuse>().empty());
  for (std::uint64_t id = 3; id <= 6; ++id) line.arrive(id, 0);
  EXPECT_TRUE(line.started().empty()) << "the most urgent would be late";
  line.now_us = 400;
  line.complete(first, 400);
  EXPECT_THAT(line.started().at(0).requests, ElementsAre(2));
}

TEST(Replicas, TheLoadOfALostDeviceMovesToTheOthers) {
  Line line(two_devices());
  line.add(0, {0}, limits(1), {{1, us(1000), us(1000)}});
  line.apply(replica(1, {1}, us(100)));
  line.arrive(1, 0);
  line.arrive(2, 0);
  line.arrive(3, 0);
  line.apply(InstanceLost{InstanceId{1}});
  EXPECT_THAT(line.only_started().requests, ElementsAre(2));
  EXPECT_EQ(line.scheduler().expected_p99(ModelId{0}, 1), us(1000)) << "of what is there";
  line.apply(InstanceReady{.instance = InstanceId{1}, .model = ModelId{0}});
  EXPECT_EQ(line.only_started().instance, 1U) << "it comes back where it was";
}

TEST(Replicas, ANewReplicaTakesASuspendedModelBackIntoService) {
  Line line(two_devices());
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.apply(InstanceLost{InstanceId{0}});
  line.apply(ModelSuspended{ModelId{0}});
  line.arrive(1, 0);
  EXPECT_EQ(line.all<Refuse>().size(), 1U);
  line.apply(replica(1, {1}, us(100)));
  line.arrive(2, 0);
  EXPECT_EQ(line.only_started().instance, 1U);
}

TEST(Replicas, ANewInstanceComesToTheDeviceThatItNames) {
  Line line(two_devices());
  line.add(0, {0}, limits(1), {{1, us(1000), us(1000)}});
  line.apply(replica(1, {}, us(100)));
  line.apply(InstanceReady{.instance = InstanceId{7}, .model = ModelId{0}, .device = DeviceId{1}});
  line.arrive(1, 0);
  const Started first = line.only_started();
  EXPECT_EQ(first.instance, 7U);
  EXPECT_EQ(line.all<StartBatch>()[0].expected_end, at_us(100));
}

TEST(Replicas, EachKeepsItsOwnProfile) {
  Line line(two_devices());
  line.add(0, {0}, limits(1), {{1, us(1000), us(1000)}});
  line.apply(replica(1, {1}, us(100)));
  for (std::uint64_t id = 1; id <= 3; ++id) {
    line.arrive(id, 0);
    line.complete(line.only_started(), 300);
  }
  EXPECT_EQ(line.scheduler().expected_p99(ModelId{0}, DeviceId{1}, 1), us(300));
  EXPECT_EQ(line.scheduler().expected_p99(ModelId{0}, DeviceId{0}, 1), us(1000));
  EXPECT_EQ(line.scheduler().expected_p99(ModelId{0}, 1), us(300));
}

TEST(Replicas, AdmissionCountsOnEveryDevice) {
  Line line(two_devices());
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.apply(replica(1, {1}, us(100)));
  for (std::uint64_t id = 1; id <= 4; ++id) line.arrive(id, 0, 200);
  EXPECT_TRUE(line.all<Refuse>().empty());
  line.arrive(5, 0, 200);
  EXPECT_EQ(line.all<Refuse>().size(), 1U);
}

TEST(Replicas, ABacklogIsSharedBetweenTheDevices) {
  Line line(two_devices());
  line.add(0, {}, limits(8), hundred_and_fifty());
  ReplicaAdded other = replica(1, {}, us(100));
  other.profile = hundred_and_fifty();
  line.apply(other);
  line.add(1, {5}, limits(1), {{1, us(100), us(100)}});
  for (std::uint64_t id = 1; id <= 4; ++id) line.arrive(id, 0);
  line.apply(InstanceReady{.instance = InstanceId{0}, .model = ModelId{0}});
  EXPECT_THAT(line.only_started().requests, ElementsAre(1, 2, 3, 4)) << "one instance, one batch";
}

TEST(Replicas, AModelIsDrainedWhenNoDeviceRunsIt) {
  Line line(two_devices());
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.apply(replica(1, {1}, us(100)));
  line.arrive(1, 0);
  const Started first = line.only_started();
  line.arrive(2, 0);
  const Started second = line.only_started();
  line.apply(ModelRemoved{ModelId{0}});
  line.complete(first, 100);
  EXPECT_TRUE(line.all<ModelDrained>().empty());
  line.complete(second, 100);
  EXPECT_EQ(line.all<ModelDrained>().size(), 1U);
}

TEST(Replicas, RefusesAReplicaThatMakesNoSense) {
  Line line(two_devices());
  const auto why = [&line] {
    const auto refused = line.all<ModelRefused>();
    return refused.empty() ? std::string("taken") : refused[0].error.message;
  };
  line.apply(replica(1, {1}, us(100)));
  EXPECT_THAT(why(), HasSubstr("add the model first"));
  line.add(0, {0}, limits(1), {{1, us(100), us(100)}});
  line.apply(replica(0, {1}, us(100)));
  EXPECT_THAT(why(), HasSubstr("is on device 0 already"));
  line.apply(replica(2, {1}, us(100)));
  EXPECT_THAT(why(), HasSubstr("there is no device 2"));
  line.apply(replica(1, {0}, us(100)));
  EXPECT_THAT(why(), HasSubstr("instance 0 belongs to another model"));
}

// Two equal devices serve twice the load of one, and either serves its share alone.
TEST(Replicas, TwoDevicesTakeTwiceTheLoad) {
  Workload workload;
  workload.options = two_devices();
  SimulatedModel model{.added = {.model = ModelId{0},
                                 .device = DeviceId{0},
                                 .instances = {InstanceId{0}},
                                 .limits = {.batch_max = 1, .queue_depth_max = 100},
                                 .profile = {{1, us(1000), us(1000)}}},
                       .times = ExecutionTimes::exactly_p99};
  model.replicas = {replica(1, {1}, us(1000))};
  workload.models = {model};
  workload.arrivals = {{.model = ModelId{0},
                        .interval = us(500),
                        .deadline_min = us(1000),
                        .deadline_max = us(1000)}};
  const auto both = simulate(workload);
  ASSERT_TRUE(both);
  EXPECT_EQ(both->streams[0].in_time, both->streams[0].offered);
  EXPECT_NEAR(static_cast<double>(both->lane_time[0].count()),
              static_cast<double>(both->lane_time[1].count()), 1e7);
}

TEST(Replicas, EachDevicesBatchesTakeTheTimesOfThatDevice) {
  Workload workload;
  workload.options = two_devices();
  SimulatedModel model{.added = {.model = ModelId{0},
                                 .device = DeviceId{0},
                                 .instances = {InstanceId{0}},
                                 .limits = {.batch_max = 1, .queue_depth_max = 100},
                                 .profile = {{1, us(1000), us(1000)}}},
                       .times = ExecutionTimes::exactly_p99};
  model.replicas = {replica(1, {1}, us(1000))};
  model.replica_times = {
      {.times = ExecutionTimes::sampled, .samples = {{1, {us(3000)}}}, .batch_overhead = us(500)}};
  workload.models = {model};
  // Two at a time: one for each device.
  workload.arrivals = {{.model = ModelId{0}, .interval = us(5000)},
                       {.model = ModelId{0}, .interval = us(5000)}};
  workload.requests_max = 200;
  const auto result = simulate(workload);
  ASSERT_TRUE(result);
  const std::int64_t here = result->lane_time[0] / us(1000);
  const std::int64_t there = result->lane_time[1] / us(3500);
  EXPECT_EQ(result->lane_time[0], here * us(1000));
  EXPECT_EQ(result->lane_time[1], there * us(3500));
  EXPECT_GT(there, 0);
  EXPECT_EQ(here + there, 200);
}

}  // namespace
}  // namespace takt::scheduler
