// SPDX-License-Identifier: Apache-2.0
#include "app/devices.h"

#include "backend/cpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <string>
#include <thread>
#include <vector>

namespace takt::app {
namespace {

using ::testing::HasSubstr;

// The first CPU that this process may use.
int a_cpu() {
  return usable_cpus().front();
}

std::string problem_of(std::vector<config::DeviceConfig> devices) {
  config::Config config;
  config.devices = std::move(devices);
  const Result<void> checked = check_machine(config);
  if (checked) return "none";
  EXPECT_EQ(checked.error().kind, ErrorKind::invalid_input);
  return checked.error().message;
}

TEST(Lanes, AutoIsOneForEachGroupOfCores) {
  EXPECT_EQ(lanes_of({.name = "cpu", .lanes = 3, .threads_per_lane = 1}), 3);
  EXPECT_GE(lanes_of({.name = "cpu", .lanes = 0, .threads_per_lane = 1}), 1);
  EXPECT_EQ(lanes_of({.name = "cpu", .lanes = 0, .threads_per_lane = 1024}), 1);
}

TEST(Lanes, AutoCountsTheDevicesOwnCpus) {
  EXPECT_EQ(lanes_of({.name = "left", .cpus = {0, 1, 2, 3, 4, 5}}), 6);
  EXPECT_EQ(lanes_of({.name = "left", .threads_per_lane = 2, .cpus = {0, 1, 2, 3, 4, 5}}), 3);
}

TEST(Lanes, OfAGpuAreTwoAndNoCpus) {
  const config::DeviceConfig gpu{.name = "gpu", .kind = config::DeviceKind::cuda};
  EXPECT_EQ(lanes_of(gpu), 2);
  EXPECT_EQ(lanes_of({.name = "gpu", .kind = config::DeviceKind::cuda, .lanes = 3}), 3);
  EXPECT_TRUE(tied_cpus(gpu).empty());
  EXPECT_EQ(cpus_of(gpu), usable_cpus());
}

TEST(CheckMachine, LetsAGpusWorkersShareCpus) {
  EXPECT_EQ(problem_of({{.name = "a", .cpus = {a_cpu()}},
                        {.name = "gpu", .kind = config::DeviceKind::cuda, .cpus = {a_cpu()}}}),
            "none");
}

TEST(CheckMachine, TakesCpusThatThereAre) {
  EXPECT_EQ(problem_of({{.name = "a", .cpus = {a_cpu()}}}), "none");
}

TEST(CheckMachine, NamesACpuThatTaktMayNotUse) {
  EXPECT_THAT(problem_of({{.name = "a", .cpus = {a_cpu(), 4095}}}),
              HasSubstr("devices.a.cpus: 4095 is none of the CPUs that takt may use"));
}

TEST(CheckMachine, NamesACpuThatBelongsToTwoDevices) {
  EXPECT_THAT(problem_of({{.name = "a", .cpus = {a_cpu()}}, {.name = "b", .cpus = {a_cpu()}}}),
              HasSubstr("belongs to device 'a' already; give each CPU to one device"));
}

TEST(EngineOptions, HaveADeviceForEachConfiguredOne) {
  config::Config config;
  config.devices = {{.name = "a", .lanes = 2}, {.name = "b", .lanes = 3}};
  const EngineOptions options = engine_options(config);
  ASSERT_EQ(options.devices.size(), 2U);
  EXPECT_EQ(options.devices[0].name, "a");
  EXPECT_EQ(options.devices[1].lanes, 3);
}

void keep_to(const std::vector<int>& cpus) {
  EXPECT_TRUE(use_cpus(::pthread_self(), cpus));
}

// What the threads of a process may use after leave_lanes_alone: the calling one, one that had all
// CPUs and one that had the last alone. On a thread that ends, in place of this one, whose CPUs stay.
struct ThreadCpus {
  std::vector<int> caller;
  std::vector<int> any;
  std::vector<int> own;
};
ThreadCpus after_leaving(const std::vector<config::DeviceConfig>& devices) {
  const std::vector<int> all = usable_cpus();
  ThreadCpus seen;
  std::promise<void> left;
  const std::shared_future<void> has_left = left.get_future().share();
  std::latch ready(2);
  std::thread any([&] {
    ready.count_down();
    has_left.wait();
    seen.any = usable_cpus();
  });
  std::thread own([&] {
    keep_to({all.back()});
    ready.count_down();
    has_left.wait();
    seen.own = usable_cpus();
  });
  ready.wait();
  config::Config config;
  config.devices = devices;
  leave_lanes_alone(config);
  seen.caller = usable_cpus();
  left.set_value();
  any.join();
  own.join();
  keep_to(all);
  return seen;
}

TEST(Devices, TheGatewayLeavesTheLanesTheirCpus) {
  const std::vector<int> all = usable_cpus();
  if (all.size() < 2) GTEST_SKIP() << "needs two CPUs";
  const std::vector<int> spare(all.begin(), all.end() - 1);
  EXPECT_EQ(tied_cpus({.name = "cpu", .lanes = 1}), std::vector<int>{all.back()});
  const ThreadCpus seen = after_leaving({{.name = "cpu", .lanes = 1}});
  EXPECT_EQ(seen.caller, spare);
  EXPECT_EQ(seen.any, spare);
  EXPECT_EQ(seen.own, std::vector<int>{all.back()}) << "a lane's own thread";
}

TEST(Devices, AGpuChangesNothingForTheGateway) {
  const std::vector<int> all = usable_cpus();
  const config::DeviceConfig gpu{.name = "gpu", .kind = config::DeviceKind::cuda};
  EXPECT_EQ(after_leaving({gpu}).caller, all);
  if (all.size() < 2) GTEST_SKIP() << "needs two CPUs";
  const std::vector<int> spare(all.begin(), all.end() - 1);
  EXPECT_EQ(after_leaving({gpu, {.name = "cpu", .lanes = 1}}).caller, spare);
}

TEST(Devices, TheGatewayStaysWhereLanesLeaveNothingOrAreNotTied) {
  const std::vector<int> all = usable_cpus();
  EXPECT_EQ(after_leaving({{.name = "cpu"}}).caller, all) << "a lane a CPU";
  EXPECT_EQ(after_leaving({{.name = "cpu", .lanes = 1, .pin = false}}).caller, all);
  EXPECT_EQ(after_leaving({{.name = "cpu", .lanes = 1, .threads_per_lane = 2}}).caller, all);
  EXPECT_TRUE(tied_cpus({.name = "cpu", .lanes = 1000}).empty()) << "more lanes than CPUs";
}

}  // namespace
}  // namespace takt::app
