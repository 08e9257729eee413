// SPDX-License-Identifier: Apache-2.0
// What gateway and worker say to each other before and after the batches, over a ControlSocket:
// describe (which version is it, what does it take), load, attach (the shared memory), stop.
// Thread-safe: pure functions and plain values.
// Owns: plain values.
#pragma once

#include "core/inference.h"
#include "core/preprocess.h"
#include "core/result.h"
#include "core/time.h"
#include "ipc/worker_channel.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace takt::ipc {

struct DescribeModel {
  std::filesystem::path repository;
  std::string model;
  std::optional<std::int64_t> version;  // the highest one that is served
};

// As the files say; a backend may still narrow it.
struct ModelDescription {
  std::string name;
  std::int64_t version = 0;
  Signature signature;
};

// How a worker limits itself once its model is loaded.
struct Confinement {
  bool sandbox = false;              // Unix sockets only, no new programs, no tracing
  std::size_t memory_bytes_max = 0;  // of the process; 0: no limit
};

// With the descriptors of the regions of inputs, which the worker maps before it loads: the device of some backends
// reads them by itself.
struct LoadModel {
  DescribeModel model;
  std::string backend;
  std::vector<InputPlan> inputs;
  std::string device = "cpu";  // as backends know it: "cuda:0"
  bool may_tune = true;        // as LoadOptions of the backend
  int instances = 1;
  int batch_max = 0;
  int threads_per_instance = 1;
  std::vector<int> cpus;                        // that the process may use; empty: any
  std::vector<std::vector<int>> instance_cpus;  // of each instance's thread; empty: all of those
  std::optional<int> numa_node;                 // whose memory it takes; empty: the kernel's choice
  std::filesystem::path cache_dir;
  std::string precision = "fp32";
  // A restart of what has proven itself: no parity gate, no measuring, only warm instances.
  bool trusted = false;
  Duration profile_time_max = std::chrono::milliseconds(500);  // spent on measuring, about
  Duration spin{};  // how long the worker looks for the next batch before it sleeps
  Confinement confinement;
};

struct ModelLoaded {
  std::string backend;
  std::string backend_version;
  Signature signature;
  std::vector<std::size_t> output_bytes_max;  // a row
  std::vector<LatencyPoint> profile;
  ModelMemory memory;
  std::vector<std::string> notes;  // of its backend, for whoever runs the server
};

// On the way to ModelLoaded, now and then.
struct ModelLoading {
  std::string stage;  // "tuning at batch size 8"
  int done = 0;       // so many parts
  int total = 0;      // of so many
};

// With the descriptors: channel, outputs (written by the worker).
struct AttachMemory {
  ChannelLayout layout;
};
struct Attached {};
struct StopWorker {};  // answered by the end of the process

using WorkerRequest = std::variant<DescribeModel, LoadModel, AttachMemory, StopWorker>;
using WorkerReply = std::variant<Error, ModelDescription, ModelLoaded, Attached, ModelLoading>;

[[nodiscard]] std::string to_text(const WorkerRequest& request);
[[nodiscard]] std::string to_text(const WorkerReply& reply);
// What the other side says is believed when it is what this build would say, and could be true:
// known types, sizes and times in bounds, a size for each output, a profile. Errors: invalid_input.
[[nodiscard]] Result<WorkerRequest> parse_request(std::string_view text);
[[nodiscard]] Result<WorkerReply> parse_reply(std::string_view text);

}  // namespace takt::ipc
