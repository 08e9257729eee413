// SPDX-License-Identifier: Apache-2.0
// The worker's end of a channel: takes tickets, runs their batches on the instances, answers.
// Thread-safe: no; create and destroy it on one thread.
// Owns: the instances, a thread for each, and the mapping that batches write to.
#pragma once

#include "core/inference.h"
#include "core/result.h"
#include "ipc/batch_wire.h"
#include "ipc/shared_memory.h"
#include "ipc/worker_channel.h"

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace takt::worker {

struct BatchServerOptions {
  Duration spin{};  // how long a thread looks for the next ticket before it sleeps
  // Where each instance's thread runs, if it may; empty: anywhere.
  std::vector<std::vector<int>> instance_cpus;
};

class BatchServer {
 public:
  // `descriptors` are those of ipc::AttachMemory; `inputs` those of ipc::LoadModel, mapped: they outlive the server.
  // Errors: invalid_input (too few descriptors, memory of another layout), out_of_memory, unavailable (no thread).
  [[nodiscard]] static Result<std::unique_ptr<BatchServer>> start(
      std::vector<std::unique_ptr<Instance>> instances, const ipc::ChannelLayout& layout,
      std::vector<ipc::Descriptor> descriptors, std::span<const ipc::SharedMemory> inputs,
      const BatchServerOptions& options);
  ~BatchServer();  // waits for the batches that run
  BatchServer(const BatchServer&) = delete;
  BatchServer& operator=(const BatchServer&) = delete;

 private:
  // One instance. Its thread takes the tickets and runs the batches itself.
  struct Lane {
    Lane(std::unique_ptr<Instance> served, ipc::RingMemory& ring)
        : instance(std::move(served)), requests(ring) {}
    const std::unique_ptr<Instance> instance;
    ipc::RingConsumer requests;  // of the thread, interrupted by the destructor
    ipc::DecodedBatch batch;     // of the thread
    std::thread thread;
  };

  BatchServer(ipc::WorkerChannel channel, Duration spin);
  void serve(Lane& lane, std::uint32_t instance);
  BatchOutcome run(Lane& lane, const ipc::Ticket& ticket);
  void answer(const Lane& lane, const ipc::Ticket& ticket, const BatchOutcome& outcome);

  const ipc::WorkerChannel channel_;
  const Duration spin_;
  ipc::SharedMemory output_memory_;
  ipc::RegionTable inputs_;
  ipc::RegionTable outputs_;
  std::atomic<bool> stopping_{false};

  std::mutex completion_mutex_;
  ipc::RingProducer completions_;  // guarded by completion_mutex_

  std::deque<Lane> lanes_;
};

}  // namespace takt::worker
