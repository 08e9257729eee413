// SPDX-License-Identifier: Apache-2.0
#include "engine/worker_start.h"

#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

namespace takt::engine {

Result<StartedWorker> start_worker(const SupervisorOptions& options) {
  auto ends = ipc::ControlSocket::pair();
  if (!ends) return std::unexpected(std::move(ends).error());
  std::vector<std::string> arguments = options.arguments;
  arguments.insert(arguments.end(), {"--parent", std::to_string(::getpid())});
  Result<ipc::Process> process =
      ipc::Process::start(options.program, arguments, ends->second.descriptor());
  if (!process) return std::unexpected(std::move(process).error());
  StartedWorker worker{{}, std::move(*process), std::move(ends->first)};
  if (!options.memory.cgroup.empty()) {
    // It waits for its first message, so that all its memory counts.
    auto cgroup = ipc::MemoryCgroup::create(options.memory, worker.process.pid());
    if (!cgroup) return std::unexpected(std::move(cgroup).error());
    worker.cgroup = std::move(*cgroup);
  }
  return worker;
}

}  // namespace takt::engine
