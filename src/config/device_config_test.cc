// SPDX-License-Identifier: Apache-2.0
// Several devices, and tasks that name them.
#include "config/config.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace takt::config {
namespace {

// A file with these devices, and with `more` in its task.
std::string text_of(const std::string& devices, const std::string& more = "") {
  return "models: {repository: models, cache: none}\ndevices:\n" + devices + R"(tasks:
  defects:
    model: pcb-detector
    inputs: [board, golden]
    postprocess: {name: yolo, classes: [open, short], score_min: 0.01}
)" + more +
         R"(lines:
  pcb:
    source: {type: board-simulator, rate: 10/s}
    tasks: [defects]
    deadline: 500ms
    decision: {default: pass}
)";
}

constexpr const char* kTwo = "  left: {cpus: 0-3}\n  right: {cpus: [4, 5]}\n";

Config config_of(const std::string& text) {
  const Result<Loaded> loaded = parse(text, "/site/takt.yaml");
  EXPECT_TRUE(loaded) << loaded.error().message;
  return loaded ? loaded->config : Config{};
}

void expect_problem(const std::string& text, const std::vector<std::string>& parts) {
  const Result<Loaded> loaded = parse(text, "/site/takt.yaml");
  ASSERT_FALSE(loaded) << text;
  EXPECT_EQ(loaded.error().kind, ErrorKind::invalid_input);
  for (const std::string& part : parts) {
    EXPECT_NE(loaded.error().message.find(part), std::string::npos) << loaded.error().message;
  }
}

TEST(Devices, HaveFreeNamesAndTheirOwnCpus) {
  const Config config = config_of(
      text_of("  left: {kind: cpu, cpus: 0-3, memory: 2GiB}\n  right: {cpus: [4, 6-7]}\n"));
  ASSERT_EQ(config.devices.size(), 2U);
  EXPECT_EQ(config.devices[0].name, "left");
  EXPECT_EQ(config.devices[0].kind, DeviceKind::cpu);
  EXPECT_EQ(config.devices[0].cpus, (std::vector{0, 1, 2, 3}));
  EXPECT_EQ(config.devices[0].memory_bytes_max, std::size_t{2} << 30);
  EXPECT_EQ(config.devices[1].cpus, (std::vector{4, 6, 7}));
  EXPECT_EQ(config.devices[1].memory_bytes_max, 0U);
}

TEST(Devices, MayBeNumaNodes) {
  const Config config = config_of(text_of("  a: {numa: 0}\n  b: {numa: 1}\n"));
  EXPECT_EQ(config.devices[0].numa.node, 0);
  EXPECT_EQ(config.devices[1].numa.node, 1);
}

TEST(Devices, WithoutAnyThereIsTheCpu) {
  const Config config = config_of(text_of("  {}\n"));
  ASSERT_EQ(config.devices.size(), 1U);
  EXPECT_EQ(config.devices[0].name, "cpu");
}

TEST(Devices, OneDeviceNeedsNoCpus) {
  EXPECT_TRUE(config_of(text_of("  server: {lanes: 2}\n")).devices[0].cpus.empty());
}

TEST(Devices, OfSeveralEachSaysWhichCpusItOwns) {
  expect_problem(text_of("  a: {cpus: 0-3}\n  b: {lanes: 2}\n"),
                 {"takt.yaml:4: devices.b: ", "doesn't say which CPUs it owns", "cpus: 0-7"});
  expect_problem(text_of("  a: {numa: auto}\n  b: {cpus: 4}\n"), {"devices.a: "});
}

TEST(Devices, NoCpuBelongsToTwo) {
  expect_problem(text_of("  a: {cpus: 0-3}\n  b: {cpus: [3, 4]}\n"),
                 {"takt.yaml:4: devices.b.cpus: CPU 3 belongs to device 'a' already",
                  "give each CPU to one device"});
  expect_problem(text_of("  a: {numa: 1}\n  b: {numa: 1}\n"),
                 {"devices.b.numa: NUMA node 1 belongs to device 'a' already"});
}

TEST(Devices, CpusOfOneNodeMayBeSplit) {
  EXPECT_EQ(
      config_of(text_of("  a: {numa: 0, cpus: 0-1}\n  b: {numa: 0, cpus: 2-3}\n")).devices.size(),
      2U);
}

TEST(Devices, CpusThatMakeNoSenseAreNamed) {
  expect_problem(text_of("  a: {cpus: 3-1}\n"), {"devices.a.cpus: '3-1' names no CPUs"});
  expect_problem(text_of("  a: {cpus: [0, 0-1]}\n"), {"devices.a.cpus: CPU 0 stands here twice"});
  expect_problem(text_of("  a: {cpus: []}\n"), {"devices.a.cpus: names no CPU"});
}

TEST(Devices, AreCpusOrGpus) {
  expect_problem(text_of("  gpu: {kind: cuda:0}\n"),
                 {"devices.gpu.kind: 'cuda:0'", "expected cpu, or cuda", "{kind: cuda, index: 0}"});
  const Config config =
      config_of(text_of("  cpu: {}\n  gpu: {kind: cuda, index: 3, memory: 4GiB}\n"));
  ASSERT_EQ(config.devices.size(), 2U);
  EXPECT_EQ(backend_device(config.devices[0]), "cpu");
  EXPECT_EQ(backend_device(config.devices[1]), "cuda:3");
  EXPECT_EQ(to_string(config.devices[1].kind), "cuda");
  EXPECT_EQ(config.devices[1].memory_bytes_max, std::size_t{4} << 30);
  EXPECT_FALSE(config.devices[1].numa.automatic) << "its workers go where the file says";
}

TEST(Devices, AGpuOwnsNoCpus) {
  const Config config = config_of(text_of(
      "  a: {cpus: 0-3}\n  gpu: {kind: cuda, cpus: 0-1}\n  gpu2: {kind: cuda, index: 1}\n"));
  EXPECT_EQ(config.devices[1].cpus, (std::vector{0, 1})) << "its workers run there";
  expect_problem(text_of("  gpu: {kind: cuda, pin: true}\n"),
                 {"devices.gpu.pin: the lanes of a GPU are no CPUs"});
  expect_problem(text_of("  gpu: {kind: cuda, threads_per_lane: 2}\n"),
                 {"devices.gpu.threads_per_lane: ", "leave it out"});
}

TEST(Devices, OnlyAGpuHasAnIndexAndEachItsOwn) {
  expect_problem(text_of("  cpu: {index: 0}\n"), {"devices.cpu.index: only a GPU has one"});
  expect_problem(text_of("  a: {kind: cuda}\n  b: {kind: cuda, index: 0}\n"),
                 {"devices.b.index: GPU 0 is device 'a' already", "more lanes"});
  expect_problem(text_of("  cpu: {kind: cuda}\n"), {"devices.cpu.kind: ", "such as gpu"});
}

TEST(Devices, BackendsThatAreLeftOutFollowThem) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(config_of(text_of("  cpu: {}\n")).tasks[0].backends, Names{"openvino"});
  EXPECT_EQ(config_of(text_of("  gpu: {kind: cuda}\n")).tasks[0].backends, Names{"cuda"});
  const std::string both = "  cpu: {}\n  gpu: {kind: cuda}\n";
  EXPECT_EQ(config_of(text_of(both)).tasks[0].backends, (Names{"cuda", "openvino"}));
  EXPECT_EQ(config_of(text_of(both, "    devices: cpu\n")).tasks[0].backends, Names{"openvino"});
  EXPECT_EQ(config_of(text_of(both, "    devices: gpu\n")).tasks[0].backends, Names{"cuda"});
  const Config served =
      config_of("models: {repository: models}\nserver: {}\ndevices: {gpu: {kind: cuda}}\n");
  EXPECT_EQ(served.server->backends, Names{"cuda"});
  expect_problem(text_of(both, "    backends: []\n"), {"tasks.defects.backends: names none"});
}

TEST(Devices, ATaskRunsWhereItsFirstBackendDoes) {
  const Config config = config_of(text_of("  cpu: {}\n  gpu: {kind: cuda}\n"));
  ASSERT_EQ(devices_of(config, config.tasks[0]).size(), 1U);
  EXPECT_EQ(devices_of(config, config.tasks[0])[0]->name, "gpu");
  EXPECT_EQ(devices_of(config, config.tasks[0], "openvino")[0]->name, "cpu");
}

TEST(Devices, WhatAGpuRefusesRunsOnTheFirstCpuDevice) {
  const Config config =
      config_of(text_of("  gpu: {kind: cuda}\n  left: {cpus: 0-3}\n  right: {cpus: 4-7}\n",
                        "    devices: gpu\n    backends: [cuda, openvino]\n"));
  const auto devices = devices_of(config, config.tasks[0], "openvino");
  ASSERT_EQ(devices.size(), 1U);
  EXPECT_EQ(devices[0]->name, "left");
}

TEST(Devices, WhereTheFileNamesGpusAloneThatIsTheMachinesCpu) {
  const std::string gpu = "  gpu: {kind: cuda}\n";
  EXPECT_EQ(config_of(text_of(gpu)).devices.size(), 1U) << "no backend needs it";
  const Config config = config_of(text_of(gpu, "    backends: [cuda, openvino]\n"));
  ASSERT_EQ(config.devices.size(), 2U);
  EXPECT_EQ(config.devices[1].name, "cpu");
  EXPECT_EQ(devices_of(config, config.tasks[0], "openvino")[0]->name, "cpu");
}

TEST(Devices, ABackendThatRunsOnNoneOfThemIsRefused) {
  expect_problem(text_of("  cpu: {}\n", "    backends: [cuda, openvino]\n"),
                 {"takt.yaml:9: tasks.defects.backends: 'cuda' runs on none of the devices (cpu)",
                  "gpu: {kind: cuda}"});
  expect_problem(
      text_of("  cpu: {}\n  gpu: {kind: cuda}\n", "    devices: gpu\n    backends: openvino\n"),
      {"tasks.defects.backends: 'openvino' runs on none of the devices (gpu)", "[cuda, openvino]"});
}

TEST(Devices, ATaskRunsOnAllOfThemUnlessItNamesSome) {
  const Config all = config_of(text_of(kTwo));
  EXPECT_EQ(devices_of(all, all.tasks[0]).size(), 2U);
  const Config one = config_of(text_of(kTwo, "    devices: right\n"));
  ASSERT_EQ(devices_of(one, one.tasks[0]).size(), 1U);
  EXPECT_EQ(devices_of(one, one.tasks[0])[0]->name, "right");
}

TEST(Devices, ATaskIsToldTheNearestName) {
  expect_problem(text_of(kTwo, "    devices: [left, rigth]\n"),
                 {"takt.yaml:10: tasks.defects.devices: no device 'rigth'; did you mean 'right'?"});
  expect_problem(text_of(kTwo, "    devices: [left, left]\n"), {"'left' stands here twice"});
}

TEST(Devices, ATaskThatNamesNoneIsRefused) {
  expect_problem(text_of(kTwo, "    devices: []\n"),
                 {"takt.yaml:10: tasks.defects.devices: names no device", "leave it out"});
}

TEST(Devices, OneWithoutMemoryIsRefused) {
  expect_problem(text_of("  a: {memory: 0B}\n"),
                 {"takt.yaml:3: devices.a.memory: holds no model", "such as 2GiB", "leave it out"});
  expect_problem(text_of("  a: {memory: 0GiB}\n"), {"devices.a.memory: holds no model"});
}

TEST(Devices, ATasksOwnCpusAndSeveralDevicesDontGoTogether) {
  expect_problem(text_of(kTwo, "    cpus: [0, 1]\n"),
                 {"takt.yaml:10: tasks.defects.cpus: ", "leave it out", "devices: [left]"});
  EXPECT_EQ(config_of(text_of("  cpu: {}\n", "    cpus: 0-1\n")).tasks[0].cpus,
            (std::vector{0, 1}));
}

TEST(Devices, ThreadsOfATaskStayOnTheirCpusOrAreRefused) {
  const std::string threads = "    isolation: thread\n";
  expect_problem(text_of("  a: {cpus: 0-3, threads_per_lane: 2}\n", threads),
                 {"takt.yaml:9: tasks.defects.isolation: ", "CPUs of device 'a'",
                  "isolation: process, or threads_per_lane: 1"});
  expect_problem(text_of("  a: {numa: 0, threads_per_lane: 2}\n", threads),
                 {"tasks.defects.isolation: ", "CPUs of device 'a'"});
  EXPECT_EQ(config_of(text_of(kTwo, threads)).devices.size(), 2U);
  EXPECT_EQ(config_of(text_of("  a: {threads_per_lane: 2}\n", threads)).devices.size(), 1U);
}

}  // namespace
}  // namespace takt::config
