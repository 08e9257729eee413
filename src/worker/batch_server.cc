// SPDX-License-Identifier: Apache-2.0
#include "worker/batch_server.h"

#include "backend/cpus.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

namespace takt::worker {
namespace {

// Only the gateway writes requests. What it can't have written means that memory is damaged, and
// then the process must not go on; its supervisor starts another.
[[noreturn]] void broken_channel() {
  std::abort();
}

}  // namespace

BatchServer::BatchServer(ipc::WorkerChannel channel, Duration spin)
    : channel_(std::move(channel)), spin_(spin), completions_(channel_.completions()) {}

Result<std::unique_ptr<BatchServer>> BatchServer::start(
    std::vector<std::unique_ptr<Instance>> instances, const ipc::ChannelLayout& layout,
    std::vector<ipc::Descriptor> descriptors, std::span<const ipc::SharedMemory> inputs,
    const BatchServerOptions& options) {
  if (descriptors.size() < 2 || instances.size() != layout.instances) {
    return fail(ErrorKind::invalid_input, "attach: descriptors or instances are missing");
  }
  Result<ipc::WorkerChannel> channel = ipc::WorkerChannel::map(std::move(descriptors[0]), layout);
  if (!channel) return std::unexpected(std::move(channel).error().within("channel"));
  std::unique_ptr<BatchServer> server(new BatchServer(std::move(*channel), options.spin));
  Result<ipc::SharedMemory> outputs =
      ipc::SharedMemory::map(std::move(descriptors[1]), ipc::Access::write);
  if (!outputs) return std::unexpected(std::move(outputs).error().within("outputs"));
  server->output_memory_ = std::move(*outputs);
  server->outputs_.add(server->output_memory_.bytes());
  for (const ipc::SharedMemory& region : inputs) server->inputs_.add(region.bytes());
  for (std::uint32_t i = 0; i < layout.instances; ++i) {
    server->lanes_.emplace_back(std::move(instances[i]), server->channel_.requests(i));
  }
  try {
    for (std::uint32_t i = 0; i < layout.instances; ++i) {
      Lane& lane = server->lanes_[i];
      lane.thread = std::thread([raw = server.get(), &lane, i] { raw->serve(lane, i); });
    }
  } catch (const std::system_error& error) {
    return fail(ErrorKind::unavailable, std::string("no thread to be had: ") + error.what());
  }
  // A wish: what can't be tied serves all the same.
  for (std::size_t i = 0; i < std::min(options.instance_cpus.size(), server->lanes_.size()); ++i) {
    static_cast<void>(use_cpus(server->lanes_[i].thread.native_handle(), options.instance_cpus[i]));
  }
  return server;
}

BatchServer::~BatchServer() {
  stopping_ = true;
  for (Lane& lane : lanes_) lane.requests.interrupt();
  for (Lane& lane : lanes_) {
    if (lane.thread.joinable()) lane.thread.join();
  }
}

void BatchServer::serve(Lane& lane, std::uint32_t instance) {
  ::pthread_setname_np(::pthread_self(), ("takt-batch-" + std::to_string(instance)).c_str());
  while (!stopping_) {
    const Result<std::optional<ipc::Ticket>> ticket = lane.requests.pop();
    if (!ticket) broken_channel();
    if (*ticket) {
      if ((*ticket)->instance != instance) broken_channel();
      answer(lane, **ticket, run(lane, **ticket));
    } else {
      lane.requests.wait(spin_, std::chrono::seconds(10));
    }
  }
}

BatchOutcome BatchServer::run(Lane& lane, const ipc::Ticket& ticket) {
  const std::span<std::byte> area = channel_.request_area(ticket.instance);
  if (ticket.bytes > area.size()) broken_channel();
  const Result<void> decoded = lane.batch.decode(area.first(ticket.bytes), inputs_, outputs_);
  if (!decoded) return {.status = decoded, .times = {}};
  return lane.instance->run(lane.batch.view());
}

void BatchServer::answer(const Lane& lane, const ipc::Ticket& ticket, const BatchOutcome& outcome) {
  const std::span<std::byte> area = channel_.reply_area(ticket.instance);
  const BatchView batch = lane.batch.view();
  Result<std::size_t> used = ipc::encode_reply(area, batch, outcome);
  if (!used) {
    used = ipc::encode_reply(
        area, batch, {.status = std::unexpected(std::move(used).error()), .times = outcome.times});
  }
  if (!used) broken_channel();
  const std::scoped_lock lock(completion_mutex_);
  const ipc::Ticket done{ticket.number, ticket.instance, static_cast<std::uint32_t>(*used)};
  if (!completions_.push(done)) broken_channel();
}

}  // namespace takt::worker
