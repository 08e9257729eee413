// SPDX-License-Identifier: Apache-2.0
#include "app/devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <string>
#include <vector>

namespace takt::app {
namespace {

using ::testing::HasSubstr;

// The first CPU that this process may use.
int a_cpu() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(::sched_getaffinity(0, sizeof(set), &set), 0);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) return cpu;
  }
  return -1;
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

}  // namespace
}  // namespace takt::app
