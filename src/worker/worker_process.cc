// SPDX-License-Identifier: Apache-2.0
#include "worker/worker_process.h"

#include "backend/cpus.h"
#include "core/model_runtime.h"
#include "core/time.h"
#include "ipc/process.h"
#include "ipc/shared_memory.h"
#include "ipc/worker_protocol.h"
#include "repository/repository.h"
#include "worker/backends.h"
#include "worker/batch_server.h"
#include "worker/confine.h"
#include "worker/load_runtime.h"
#include "worker/topology.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::worker {
namespace {

constexpr Duration kToldEvery = std::chrono::milliseconds(500);  // what a load is at

bool has_all(const std::vector<int>& usable, std::span<const std::vector<int>> wanted) {
  const auto has = [&](int cpu) { return std::ranges::find(usable, cpu) != usable.end(); };
  return std::ranges::all_of(
      wanted, [&](const std::vector<int>& cpus) { return std::ranges::all_of(cpus, has); });
}

Result<repository::ModelVersion> find(const ipc::DescribeModel& wanted) {
  Result<repository::ScannedModel> scanned =
      repository::scan_model(wanted.repository, wanted.model);
  if (!scanned) return std::unexpected(std::move(scanned).error());
  const std::vector<repository::ScannedModel> models{std::move(*scanned)};
  return repository::find_version(models, wanted.model, wanted.version);
}

class WorkerProcess {
 public:
  using Tell = std::function<void(const ipc::ModelLoading&)>;

  // What takes long is told on the calling thread while a request is answered.
  explicit WorkerProcess(Tell tell) : tell_(std::move(tell)) {}

  // The answer to a request; nothing when the process is to end.
  std::optional<ipc::WorkerReply> answer(const ipc::WorkerRequest& request,
                                         std::vector<ipc::Descriptor> descriptors) {
    if (const auto* describe = std::get_if<ipc::DescribeModel>(&request)) {
      return reply(describe_model(*describe));
    }
    if (const auto* load = std::get_if<ipc::LoadModel>(&request)) {
      const Result<void> mapped = map_inputs(std::move(descriptors));
      return mapped ? reply(load_model(*load)) : ipc::WorkerReply(mapped.error());
    }
    if (const auto* attach = std::get_if<ipc::AttachMemory>(&request)) {
      return reply(attach_memory(*attach, std::move(descriptors)));
    }
    return std::nullopt;
  }

 private:
  template <typename T>
  static ipc::WorkerReply reply(Result<T> result) {
    if (!result) return std::move(result).error();
    return std::move(*result);
  }

  static Result<ipc::ModelDescription> describe_model(const ipc::DescribeModel& wanted) {
    Result<repository::ModelVersion> version = find(wanted);
    if (!version) return std::unexpected(std::move(version).error());
    return ipc::ModelDescription{version->name, version->version, std::move(version->signature)};
  }

  Result<void> map_inputs(std::vector<ipc::Descriptor> descriptors) {
    if (server_ != nullptr || !instances_.empty()) {
      return fail(ErrorKind::internal, "load: a model is loaded already");
    }
    inputs_.clear();
    for (ipc::Descriptor& descriptor : descriptors) {
      Result<ipc::SharedMemory> mapped =
          ipc::SharedMemory::map(std::move(descriptor), ipc::Access::read);
      if (!mapped) return std::unexpected(std::move(mapped).error().within("region of inputs"));
      inputs_.push_back(std::move(*mapped));
    }
    return {};
  }

  Result<ipc::ModelLoaded> load_model(const ipc::LoadModel& wanted) {
    if (Result<void> bound = use_cpus(::pthread_self(), wanted.cpus); !bound)
      return std::unexpected(bound.error());
    // Where that is not allowed (many containers), a page still comes from the node of the CPU that
    // touches it first, which is one of these.
    if (wanted.numa_node) static_cast<void>(bind_memory(*wanted.numa_node));
    const Result<repository::ModelVersion> version = find(wanted.model);
    if (!version) return std::unexpected(version.error());
    Result<std::unique_ptr<Backend>> backend = make_backend(wanted.backend);
    if (!backend) return std::unexpected(std::move(backend).error());
    backend_ = std::move(*backend);
    RuntimeOptions options;
    options.inputs = wanted.inputs;
    options.device = wanted.device;
    options.instances = wanted.instances;
    options.batch_max = wanted.batch_max;
    options.threads_per_instance = wanted.threads_per_instance;
    // The CPUs that this process may use can be others by now than when its gateway started.
    if (has_all(usable_cpus(), wanted.instance_cpus)) options.instance_cpus = wanted.instance_cpus;
    options.spin = wanted.spin;
    options.cache_dir = wanted.cache_dir;
    for (const ipc::SharedMemory& region : inputs_) options.input_memory.push_back(region.bytes());
    options.may_tune = wanted.may_tune;
    options.precision = wanted.precision;
    options.trusted = wanted.trusted;
    options.profile_time_max = wanted.profile_time_max;
    options.progress = [this, told = SystemClock().now()](std::string_view stage, int done,
                                                          int total) mutable {
      const TimePoint now = SystemClock().now();
      if (now - told < kToldEvery) return;
      told = now;
      tell_({std::string(stage), done, total});
    };
    Result<ModelRuntime> runtime = load_runtime(*backend_, *version, options);
    if (!runtime) return std::unexpected(std::move(runtime).error());
    instances_ = std::move(runtime->instances);
    instance_cpus_ = options.instance_cpus;
    spin_ = wanted.spin;
    confinement_ = wanted.confinement;
    device_ = wanted.device;
    return ipc::ModelLoaded{std::move(runtime->backend),   std::move(runtime->backend_version),
                            std::move(runtime->signature), std::move(runtime->output_bytes_max),
                            std::move(runtime->profile),   runtime->memory,
                            std::move(runtime->notes)};
  }

  Result<ipc::Attached> attach_memory(const ipc::AttachMemory& wanted,
                                      std::vector<ipc::Descriptor> descriptors) {
    if (server_ != nullptr || instances_.empty()) {
      return fail(ErrorKind::internal, "attach: no model is loaded, or it serves already");
    }
    // Before the first batch, after everything that needs more than a batch does.
    if (Result<void> confined = confine(confinement_, device_); !confined) {
      return std::unexpected(std::move(confined).error());
    }
    Result<std::unique_ptr<BatchServer>> server =
        BatchServer::start(std::move(instances_), wanted.layout, std::move(descriptors), inputs_,
                           {.spin = spin_, .instance_cpus = instance_cpus_});
    if (!server) return std::unexpected(std::move(server).error());
    server_ = std::move(*server);
    return ipc::Attached{};
  }

  const Tell tell_;
  std::vector<ipc::SharedMemory> inputs_;  // which a loaded model may have pinned
  std::unique_ptr<Backend> backend_;
  std::vector<std::unique_ptr<Instance>> instances_;  // until the server has them
  std::vector<std::vector<int>> instance_cpus_;
  Duration spin_{};
  ipc::Confinement confinement_;
  std::string device_;
  std::unique_ptr<BatchServer> server_;
};

}  // namespace

int run_worker(ipc::ControlSocket control, pid_t parent) {
  if (!ipc::follow_parent(parent)) return 1;
  // A gateway that has gone is noticed by the next receive.
  WorkerProcess worker([&control](const ipc::ModelLoading& loading) {
    static_cast<void>(control.send(ipc::to_text(loading)));
  });
  while (true) {
    Result<ipc::ControlMessage> message = control.receive(std::chrono::hours(1));
    if (!message) {
      if (message.error().kind == ErrorKind::deadline_exceeded) continue;
      return 0;  // the gateway has gone
    }
    const Result<ipc::WorkerRequest> request = ipc::parse_request(message->text);
    if (!request) return 1;
    const std::optional<ipc::WorkerReply> answer =
        worker.answer(*request, std::move(message->descriptors));
    if (!answer || !control.send(ipc::to_text(*answer))) return 0;
  }
}

std::optional<int> run_if_worker(int argc, char** argv) {
  if (argc != 4 || std::string_view(argv[1]) != "worker") return std::nullopt;
  return run_worker(ipc::ControlSocket(ipc::Descriptor(ipc::kControlDescriptor)),
                    std::atoi(argv[3]));
}

}  // namespace takt::worker
