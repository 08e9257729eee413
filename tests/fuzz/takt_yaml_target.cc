// SPDX-License-Identifier: Apache-2.0
// takt.yaml, as far as it says something on its own.
#include "config/config.h"
#include "target.h"

#include <algorithm>
#include <string_view>

namespace takt::fuzz {
namespace {

constexpr std::string_view kFile = "/site/takt.yaml";

void check_line(const config::Config& config, const config::LineEntry& entry) {
  require(!entry.line.name.empty(), "lines have names");
  require(!config::image_roles(entry.source).empty(), "frames have images");
  require(!entry.line.deadline || *entry.line.deadline > Duration{}, "deadlines lie ahead");
  require(entry.line.ring.capacity >= 1, "rings hold a frame");
  require(!config.tasks.empty(), "lines have tasks");
}

void check(const config::Config& config) {
  require(config.file == kFile, "the file is named");
  require(config.models.repository.is_absolute(), "paths are absolute");
  require(!config.devices.empty(), "something runs the models");
  for (const TaskSpec& task : config.tasks) {
    require(!task.name.empty() && !task.model.empty(), "tasks have names and models");
    require(!config::devices_of(config, task).empty(), "tasks have a device");
  }
  for (const config::LineEntry& entry : config.lines) check_line(config, entry);
  for (const config::SinkConfig& sink : config.sinks) {
    require(sink.path.is_absolute(), "paths are absolute");
  }
}

void run(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Result<config::Loaded> loaded = config::parse(text, kFile);
  if (loaded) return check(loaded->config);
  require(loaded.error().kind == ErrorKind::invalid_input, "a bad file is invalid input");
  require(loaded.error().message.starts_with(kFile), "errors say where");
}

Seed seed(const std::string& name, std::string_view text) {
  return {name, Script().put_bytes(std::as_bytes(std::span(text))).bytes()};
}

constexpr std::string_view kLine = R"(models: {repository: models, cache: none}
tasks:
  defects:
    model: pcb-detector
    inputs: [board, golden]
    postprocess: {name: yolo, classes: [open, short], score_min: 0.01}
    priority: critical
    deadline: 200ms
    fallback: {model: small, else: reject}
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
      precedence: [reject, review, pass]
      routes: {pass: go}
      regions: {edge: {rectangle: [0, 0, 640, 20]}, nose: {polygon: [0, 0, 9, 0, 9, 9]}}
      rules:
        - name: defect
          when: {detections: {task: defects, classes: [open], score_min: 0.5, region: edge}}
          then: reject
          route: scrap
        - {name: odd, when: [{classes_disagree: {task: kinds}}, {damaged: true}], then: review}
store: {directory: data, pictures: [reject]}
sinks: [{type: jsonl, path: data/out.jsonl}]
)";
constexpr std::string_view kServer = R"(models: {repository: models, cache: none}
devices:
  cpu: {lanes: 2, threads_per_lane: 1, numa: auto, pin: false}
workers: {memory_max: 1GiB, sandbox: true}
server:
  address: 127.0.0.1
  http: {port: 8000, body_bytes_max: 64MiB, hosts: [a.example], origins: ['https://b.example']}
  grpc: {port: 8001, message_bytes_max: 64MiB}
  metrics: {triton_names: true}
  keys:
    - name: a
      hash: 'sha256:0000000000000000000000000000000000000000000000000000000000000000'
      roles: [infer, read]
  models: [a, b]
  model_control: true
)";
constexpr std::string_view kAliases = R"(models: &m {repository: models}
server: {tls: &t {certificate: c.pem, key: k.pem}}
tasks: {a: &a {model: x, inputs: [*m, *t]}, b: *a, c: {<<: *a}}
)";

std::vector<Seed> seeds() {
  return {seed("line", kLine), seed("server", kServer), seed("aliases", kAliases),
          seed("cycle", "models: &m {repository: *m}\ntasks: &t [*t, *t]\n"),
          seed("no-yaml", "models: [}\n\t- \"\\x\"")};
}

}  // namespace

Target takt_yaml() {
  return {"takt_yaml", &run, &seeds};
}

}  // namespace takt::fuzz
