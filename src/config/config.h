// SPDX-License-Identifier: Apache-2.0
// takt.yaml as the specifications of the layers.
// Thread-safe: pure functions and plain values.
// Owns: plain values.
#pragma once

#include "core/result.h"
#include "engine/supervisor_options.h"
#include "line/board_simulator.h"
#include "line/folder_source.h"
#include "line/journal.h"
#include "line/line_config.h"
#include "line/request_source.h"
#include "line/store.h"
#include "rest/task_runner.h"
#include "rest/verdict_feed.h"
#include "server/access.h"
#include "server/grpc/grpc_server.h"
#include "server/http/http_options.h"
#include "server/infer_service.h"
#include "server/server_identity.h"
#include "server/shared_regions.h"
#include "server/tls.h"
#include "task/task.h"
#include "worker/node_placement.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace takt::config {

struct ModelsConfig {
  std::filesystem::path repository;
  std::filesystem::path cache;  // compiled models; empty: none
};

enum class DeviceKind : std::uint8_t { cpu, cuda };
[[nodiscard]] std::string_view to_string(DeviceKind kind) noexcept;

struct DeviceConfig {
  std::string name = "cpu";
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;  // of a GPU, as CUDA counts, after CUDA_VISIBLE_DEVICES
  int lanes = 0;  // batches that run at once; 0: one for each threads_per_lane cores, on a GPU two
  int threads_per_lane = 1;
  worker::NumaPolicy numa{};
  bool pin = true;                   // each lane keeps to a CPU of its own; not on a GPU
  std::vector<int> cpus{};           // that its workers run on; empty: as `numa` says
  std::size_t memory_bytes_max = 0;  // of all models on it, as they report it; 0: no limit
  // Until a batch limit that a shortage of memory lowered is doubled again.
  Duration memory_quiet = std::chrono::seconds(30);
  // Share of the time a row that a larger batch must save.
  float batch_gain_min = 0.05F;
};

// The kind of source with its options; `recipe` is the line's.
using SourceConfig =
    std::variant<line::FolderOptions, line::BoardSimulatorOptions, line::RequestOptions>;

// The roles of the images that a source gives.
[[nodiscard]] std::vector<std::string> image_roles(const SourceConfig& source);
// 0: as fast as it goes.
[[nodiscard]] double frames_per_second(const SourceConfig& source);

// How worker processes are kept; see engine/supervisor_options.h for the meaning of each.
struct WorkersConfig {
  engine::SupervisorOptions supervisor;
  Duration spin{};
  bool sandbox = false;
  std::size_t memory_bytes_max = 0;  // of each worker; by its cgroup where one is named
};

struct LineEntry {
  SourceConfig source;
  line::LineConfig line;
};

struct SinkConfig {
  std::string type = "jsonl";
  std::filesystem::path path;
  bool replace = false;  // start the file anew instead of appending to it
};

struct StoreConfig {
  line::StoreOptions store;
  line::JournalOptions journal;
};

// What other programs may ask of this one, and where.
struct ServerConfig {
  server::ServerIdentity identity;
  bool http_enabled = true;
  server::http::HttpOptions http;
  bool grpc_enabled = true;
  server::rpc::GrpcOptions grpc;
  bool metrics_enabled = true;
  server::http::HttpOptions metrics{.port = 8002};
  std::optional<server::TlsFiles> tls;  // of all three
  std::vector<server::AccessKey> keys;  // none: everything is allowed
  bool triton_names = false;            // metrics also as nv_inference_*
  server::InferOptions infer;
  server::RegionLimits regions;
  rest::TaskRunnerOptions pictures;  // of requests that bring some
  rest::FeedOptions verdicts;        // that are kept for those who look
  // Of the repository, beside those of the tasks: served from the start. Nothing: all of them.
  std::optional<std::vector<std::string>> models;
  bool model_control = false;  // clients may load and unload models
  // Of models that no task names.
  Isolation isolation = Isolation::process;
  std::vector<std::string> backends{"openvino"};  // where config.pbtxt names none
};

// What one file says. Paths are absolute.
struct Config {
  std::filesystem::path file;
  ModelsConfig models;
  std::vector<DeviceConfig> devices;
  WorkersConfig workers;
  std::vector<TaskSpec> tasks;
  std::vector<LineEntry> lines;
  std::optional<StoreConfig> store;
  std::vector<SinkConfig> sinks;
  std::optional<ServerConfig> server;
};

struct Loaded {
  Config config;
  std::vector<std::string> warnings;  // legal, but hardly meant
};

// The name that backends know it by: "cpu", "cuda:0".
[[nodiscard]] std::string backend_device(const DeviceConfig& device);

// Whether the device is the task's, and its first backend runs there.
[[nodiscard]] bool may_run_on(const TaskSpec& task, const DeviceConfig& device);
// All such devices, in the file's order.
[[nodiscard]] std::vector<const DeviceConfig*> devices_of(const Config& config,
                                                          const TaskSpec& task);
// The same with another of its backends. Where that one runs on none of the task's devices, it runs on the first
// CPU device: what a GPU can't compute is computed all the same.
[[nodiscard]] std::vector<const DeviceConfig*> devices_of(const Config& config,
                                                          const TaskSpec& task,
                                                          std::string_view backend);

// Reads and checks a file on its own: names that refer to each other, units, ranges. Models are
// looked at later, by the repository. Errors: invalid_input; the message holds one line for each
// problem, "FILE:LINE: PATH: what, expectation, remedy".
[[nodiscard]] Result<Loaded> load(const std::filesystem::path& file);
// The same from text; `file` is named in messages and relative paths start in its folder.
[[nodiscard]] Result<Loaded> parse(std::string_view text, const std::filesystem::path& file);

}  // namespace takt::config
