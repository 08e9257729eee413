// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <gtest/gtest.h>

#include <string>

namespace takt::config {
namespace {

using namespace std::chrono_literals;

constexpr const char* kSmall = R"(
models: {repository: models, cache: none}
tasks:
  defects:
    model: pcb-detector
    inputs: [board, golden]
    postprocess: {name: yolo, classes: [open, short], score_min: 0.01}
    priority: critical
    deadline: 200ms
  kinds:
    model: pcb-classifier
    inputs: {crops: [board, golden]}
    crop: {from: defects, context: 1.5}
    postprocess: {name: softmax, classes: [open, short, false-alarm]}
lines:
  pcb:
    source: {type: board-simulator, rate: 10/s}
    tasks: [defects, kinds]
    deadline: 500ms
    ring: {capacity: 4, policy: drop_newest}
    decision:
      default: pass
      regions: {edge: {rectangle: [0, 0, 640, 20]}}
      rules:
        - name: defect
          when: {detections: {task: defects, classes: [open], score_min: 0.5, region: edge}}
          then: reject
          route: scrap
store: {directory: data, pictures: [reject]}
sinks: [{type: jsonl, path: data/out.jsonl}]
)";

std::string with(const std::string& from, const std::string& to) {
  std::string text = kSmall;
  const std::size_t place = text.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  return text.replace(place, from.size(), to);
}

std::string problem_of(const std::string& text) {
  const Result<Loaded> loaded = parse(text, "/site/takt.yaml");
  EXPECT_FALSE(loaded) << text;
  if (loaded) return {};
  EXPECT_EQ(loaded.error().kind, ErrorKind::invalid_input);
  return loaded.error().message;
}

TEST(Config, ReadsEverySection) {
  const Result<Loaded> loaded = parse(kSmall, "/site/takt.yaml");
  ASSERT_TRUE(loaded) << loaded.error().message;
  const Config& config = loaded->config;
  EXPECT_EQ(config.models.repository, "/site/models") << "paths start in the file's folder";
  EXPECT_TRUE(config.models.cache.empty());
  ASSERT_EQ(config.tasks.size(), 2U);
  EXPECT_EQ(config.tasks[0].priority, PriorityClass::critical);
  EXPECT_EQ(config.tasks[0].deadline, 200ms);
  EXPECT_EQ(config.tasks[0].inputs.at(0).images, (std::vector<std::string>{"board", "golden"}));
  EXPECT_EQ(config.tasks[1].inputs.at(0).tensor, "crops");
  EXPECT_EQ(config.tasks[1].crop->from_task, "defects");
  ASSERT_EQ(config.lines.size(), 1U);
  EXPECT_EQ(std::get<line::BoardSimulatorOptions>(config.lines[0].source).frames_per_second, 10);
  EXPECT_EQ(config.lines[0].line.deadline, 500ms);
  EXPECT_EQ(config.lines[0].line.ring.policy, RingPolicy::drop_newest);
  EXPECT_EQ(config.lines[0].line.decision.verdict_default, Verdict::pass);
  EXPECT_EQ(config.lines[0].line.decision.rules.at(0).route, "scrap");
  EXPECT_EQ(config.lines[0].line.pictures, (std::set<Verdict>{Verdict::reject}));
  EXPECT_EQ(config.store->store.path, "/site/data/takt.sqlite");
  EXPECT_TRUE(loaded->warnings.empty());
}

TEST(Config, EveryExampleIsValid) {
  const std::filesystem::path examples = std::filesystem::path(TAKT_SOURCE_DIR) / "examples";
  for (const char* file : {"station/takt.yaml", "triton/takt.yaml", "triton/http-control.yaml",
                           "triton/grpc-control.yaml"}) {
    const Result<Loaded> loaded = load(examples / file);
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_TRUE(loaded->config.server);
    EXPECT_TRUE(loaded->warnings.empty()) << file;
  }
}

TEST(Config, ALineOfRequestsNamesItsPictures) {
  const auto source_of = [](const std::string& source) {
    return parse(
        "models: {repository: m}\nserver: {}\ntasks:\n  t: {model: d, inputs: [a, b], postprocess: "
        "{name: raw}}\nlines:\n"
        "  l: {source: " +
            source + ", tasks: [t], deadline: 1s, decision: {default: review}}\n",
        "/site/takt.yaml");
  };
  const Result<Loaded> loaded =
      source_of("{type: requests, images: [a, b], decode_threads: 3, waiting_max: 5, rate: 2/s}");
  ASSERT_TRUE(loaded) << loaded.error().message;
  const auto& options = std::get<line::RequestOptions>(loaded->config.lines.at(0).source);
  EXPECT_EQ(options.roles, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(options.decode_threads, 3);
  EXPECT_EQ(options.waiting_max, 5);
  EXPECT_EQ(frames_per_second(loaded->config.lines[0].source), 2);
  const Result<Loaded> other = source_of("{type: requests, images: [a]}");
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("gives no image 'b'"), std::string::npos)
      << other.error().message;
}

TEST(Config, TheExampleIsValid) {
  const Result<Loaded> loaded =
      load(std::filesystem::path(TAKT_SOURCE_DIR) / "examples/pcb/takt.yaml");
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->config.lines.at(0).line.name, "pcb");
  EXPECT_TRUE(loaded->warnings.empty());
}

TEST(Config, ADevicesNumaIsAutoOffOrANode) {
  const auto numa_of = [](const std::string& word) {
    const Result<Loaded> loaded =
        parse("devices: {cpu: {numa: " + word + "}}\n" + kSmall, "/site/takt.yaml");
    EXPECT_TRUE(loaded) << loaded.error().message;
    return loaded ? loaded->config.devices.at(0).numa : worker::NumaPolicy{};
  };
  EXPECT_TRUE(numa_of("auto").automatic);
  EXPECT_FALSE(numa_of("off").automatic);
  EXPECT_EQ(numa_of("off").node, std::nullopt);
  EXPECT_EQ(numa_of("1").node, 1);
  for (const char* word : {"-1", "1.5", "node0", "on"}) {
    EXPECT_NE(problem_of("devices: {cpu: {numa: " + std::string(word) + "}}\n" + kSmall)
                  .find("expected auto, off, or the number of a node"),
              std::string::npos)
        << word;
  }
}

TEST(Config, ACgroupOfWorkersNeedsALimit) {
  const std::string group = "cgroup: /sys/fs/cgroup/system.slice/takt.service";
  const Result<Loaded> loaded =
      parse("workers: {memory_max: 1GiB, " + group + "}\n" + kSmall, "/site/takt.yaml");
  ASSERT_TRUE(loaded) << loaded.error().message;
  const ipc::MemoryLimit& limit = loaded->config.workers.supervisor.memory;
  EXPECT_EQ(limit.cgroup, "/sys/fs/cgroup/system.slice/takt.service");
  EXPECT_EQ(limit.bytes_max, std::size_t{1} << 30);
  EXPECT_NE(problem_of("workers: {" + group + "}\n" + kSmall).find("workers.cgroup: limits"),
            std::string::npos);
}

TEST(Config, AMistypedTaskIsNamedWithItsPlaceAndTheNearestOne) {
  const std::string problem = problem_of(with("tasks: [defects, kinds]", "tasks: [defcts, kinds]"));
  EXPECT_NE(problem.find("/site/takt.yaml:18: lines.pcb.tasks: no task 'defcts'; did you mean "
                         "'defects'?"),
            std::string::npos)
      << problem;
}

TEST(Config, AnUnknownKeyIsNamedWithTheNearestOne) {
  const std::string problem = problem_of(with("    deadline: 500ms", "    deadlin: 500ms"));
  EXPECT_NE(problem.find("unknown key 'deadlin'; did you mean 'deadline'?"), std::string::npos)
      << problem;
  EXPECT_NE(problem.find("takt.yaml:19: lines.pcb"), std::string::npos) << problem;
}

TEST(Config, AWrongUnitIsToldWhatToWrite) {
  EXPECT_NE(problem_of(with("deadline: 500ms", "deadline: 500")).find("has no unit"),
            std::string::npos);
  EXPECT_NE(problem_of(with("rate: 10/s", "rate: 10")).find("12.5/s"), std::string::npos);
}

TEST(Config, EveryProblemOfAFileIsReportedAtOnce) {
  std::string text = with("priority: critical", "priority: urgent");
  text.replace(text.find("score_min: 0.01"), 15, "score_min: 1.50");
  text.replace(text.find("drop_newest"), 11, "drop_random");
  const std::string problem = problem_of(text);
  for (const char* part : {"urgent", "1.50", "drop_random"}) {
    EXPECT_NE(problem.find(part), std::string::npos) << problem;
  }
}

TEST(Config, ReadsTheBoundsOfTheLadder) {
  const std::string text = with("tasks:\n  defects:", R"(devices: {cpu: {memory_quiet: 5s}}
workers: {watchdog_factor: 50, watchdog_min: 200ms}
tasks:
  defects:)");
  const Result<Loaded> loaded = parse(text, "/site/takt.yaml");
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->config.devices.at(0).memory_quiet, 5s);
  EXPECT_EQ(loaded->config.workers.supervisor.watchdog_factor, 50);
  EXPECT_EQ(loaded->config.workers.supervisor.watchdog_min, 200ms);
}

TEST(Config, BoundsOfTheLadderThatMakeNoSenseAreRefused) {
  const auto problem = [](const std::string& section) {
    return problem_of(with("tasks:\n  defects:", section + "\ntasks:\n  defects:"));
  };
  EXPECT_NE(problem("devices: {cpu: {memory_quiet: 0s}}").find("devices.cpu.memory_quiet"),
            std::string::npos);
  EXPECT_NE(problem("workers: {watchdog_factor: 0.5}").find("workers.watchdog_factor"),
            std::string::npos);
  EXPECT_NE(problem("workers: {watchdog_min: 0ms}").find("workers.watchdog_min"),
            std::string::npos);
}

TEST(Config, ATaskNeedsAtLeastOneImage) {
  for (const char* const inputs : {"inputs: {}", "inputs: []", "inputs: {crops: []}"}) {
    EXPECT_NE(problem_of(with("inputs: {crops: [board, golden]}", inputs))
                  .find("tasks.kinds.inputs: names no image"),
              std::string::npos)
        << inputs;
  }
}

TEST(Config, WhatRefersToNothingIsRefused) {
  EXPECT_NE(problem_of(with("from: defects", "from: kinds")).find("from itself"),
            std::string::npos);
  EXPECT_NE(problem_of(with("inputs: [board, golden]", "inputs: [board, gold]"))
                .find("no image 'gold'; did you mean 'golden'?"),
            std::string::npos);
  EXPECT_NE(problem_of(with("tasks: [defects, kinds]", "tasks: [kinds]")).find("no task 'defects'"),
            std::string::npos)
      << "a cascade needs the task that it takes its crops from on the same line";
  EXPECT_NE(problem_of(with("region: edge", "region: egde")).find("edge"), std::string::npos);
  EXPECT_NE(problem_of(with("name: yolo", "name: yollo")).find("did you mean 'yolo'?"),
            std::string::npos);
}

TEST(Config, ANameOrKeyThatStandsTwiceIsRefused) {
  EXPECT_NE(problem_of(with("  kinds:\n", "  defects:\n")).find("twice"), std::string::npos);
  EXPECT_NE(problem_of(with("priority: critical", "model: other")).find("twice"),
            std::string::npos);
}

TEST(Config, PassingUnjudgedPartsIsAllowedWithAWarning) {
  const Result<Loaded> loaded =
      parse(with("priority: critical", "fallback: pass"), "/site/takt.yaml");
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_EQ(loaded->warnings.size(), 1U);
  EXPECT_NE(loaded->warnings[0].find("tasks.defects.fallback"), std::string::npos);
}

TEST(Config, WhatIsNoConfigurationIsAnErrorAndNotACrash) {
  for (const char* text :
       {"", "[]", "tasks: 5", "models: [", "\x01\x02", "lines: {pcb: {source: 3}}", "&a [*a]",
        "models: {repository: {}}\ntasks: []\nlines: 7"}) {
    EXPECT_FALSE(problem_of(text).empty()) << text;
  }
  EXPECT_FALSE(load("/no/such/takt.yaml"));
  EXPECT_FALSE(load("/tmp"));
}

TEST(Config, AFallbackIsAVerdictAnotherTaskOrAnotherModel) {
  const Result<Loaded> loaded = parse(
      with("priority: critical", "fallback: {model: small, else: reject}"), "/site/takt.yaml");
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_EQ(loaded->config.tasks.size(), 3U);
  const TaskSpec& task = loaded->config.tasks[0];
  const TaskSpec& other = loaded->config.tasks[1];
  EXPECT_EQ(task.fallback, Verdict::reject);
  EXPECT_EQ(task.fallback_task, "defects.fallback");
  EXPECT_EQ(other.name, "defects.fallback");
  EXPECT_EQ(other.model, "small");
  EXPECT_EQ(other.postprocess.classes, task.postprocess.classes);
  EXPECT_TRUE(other.fallback_task.empty());
}

TEST(Config, AFallbackThatCannotStandInIsNamed) {
  const auto problem = [](const std::string& fallback) {
    return problem_of(with("priority: critical", "fallback: " + fallback));
  };
  EXPECT_NE(problem("{task: smal}").find("tasks.defects.fallback: no task 'smal'"),
            std::string::npos);
  EXPECT_NE(problem("{task: kinds}").find("crops of its own"), std::string::npos);
  EXPECT_NE(problem("{task: defects}").find("defects -> defects"), std::string::npos);
  EXPECT_NE(problem("{else: review}").find("expected one of task and model"), std::string::npos);
  EXPECT_NE(problem("{task: kinds, model: small}").find("expected one of task and model"),
            std::string::npos);
  EXPECT_NE(problem("{model: small, els: review}").find("did you mean 'else'?"), std::string::npos);
  EXPECT_NE(problem("later").find("unknown verdict"), std::string::npos);
}

TEST(Config, PassingWhatNoFallbackModelJudgedIsAWarningToo) {
  const Result<Loaded> loaded =
      parse(with("priority: critical", "fallback: {model: small, else: pass}"), "/site/takt.yaml");
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->warnings.size(), 1U);
}

}  // namespace
}  // namespace takt::config
