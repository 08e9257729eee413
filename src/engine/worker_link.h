// SPDX-License-Identifier: Apache-2.0
// The gateway's end of one incarnation of a worker: its shared memory, the batches that it has, and
// the thread that takes its answers.
// Thread-safe: submit and end from any thread; start once.
// Owns: the channel, the memory of outputs, and that thread.
#pragma once

#include "core/inference.h"
#include "core/result.h"
#include "core/time.h"
#include "ipc/region_table.h"
#include "ipc/worker_channel.h"
#include "memory/slot_pool.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace takt::engine {

class Inbox;

// Inputs that every worker may look into: pools whose slots requests are made of. Filled before the
// first worker starts.
struct SharedInputs {
  void add(std::shared_ptr<SlotPool> pool) {
    table.add(pool->memory());
    pools.push_back(std::move(pool));
  }
  // In the order that ipc::LoadModel states.
  [[nodiscard]] std::vector<int> descriptors() const;
  ipc::RegionTable table;
  std::vector<std::shared_ptr<SlotPool>> pools;
};

struct LinkOptions {
  std::string label;  // in messages and of the memory: "pcb-detector 3"
  Signature signature;
  std::vector<std::size_t> output_bytes_max;  // a row
  std::uint32_t instances = 1;
  int results_held_max = 64;
  Duration spin{};                 // how long the answering thread looks before it sleeps
  std::shared_ptr<Inbox> inbox{};  // where it looks as well; may be null
};

class WorkerLink {
 public:
  // Called on the answering thread: a batch failed with device_poisoned, or the worker wrote what
  // can't be believed. The worker must be ended.
  using Alarm = std::function<void(Error)>;

  [[nodiscard]] static Result<std::shared_ptr<WorkerLink>> create(
      LinkOptions options, std::shared_ptr<const SharedInputs> inputs, Alarm alarm);
  ~WorkerLink();  // end() first, if nobody has
  WorkerLink(const WorkerLink&) = delete;
  WorkerLink& operator=(const WorkerLink&) = delete;

  [[nodiscard]] const ipc::ChannelLayout& layout() const noexcept { return layout_; }
  // In the order that ipc::AttachMemory states.
  [[nodiscard]] std::vector<int> descriptors() const;
  // Room for outputs; results keep it alive after the link.
  [[nodiscard]] const std::shared_ptr<SlotPool>& outputs() const noexcept { return outputs_; }

  // As Instance::submit; worker_lost once the worker has ended.
  [[nodiscard]] Result<void> submit(std::uint32_t instance, BatchView batch, BatchCompletion done);

  // The worker is gone and reaped: nobody writes any more. What it answered before is still
  // delivered, every other batch fails with `cause`, and so does every later submit. Returns the
  // requests of the batches that failed, when the answering thread has ended. Not from a completion.
  std::size_t end(const Error& cause);

  // Since when the batch that runs longest runs.
  [[nodiscard]] std::optional<TimePoint> longest_running_since() const;
  [[nodiscard]] std::uint64_t batches_done() const noexcept { return batches_done_; }

 private:
  struct Running {
    std::uint64_t ticket = 0;
    BatchView batch;
    BatchCompletion done;
    TimePoint since;
  };
  struct Lane {
    ipc::RingProducer requests;
    std::optional<Running> running;
  };

  WorkerLink(LinkOptions options, std::shared_ptr<const SharedInputs> inputs, Alarm alarm,
             ipc::WorkerChannel channel, const ipc::ChannelLayout& layout,
             std::shared_ptr<SlotPool> outputs);
  void take_answers();
  void spin();
  [[nodiscard]] Result<void> deliver(const ipc::Ticket& ticket);

  const LinkOptions options_;
  const std::shared_ptr<const SharedInputs> inputs_;
  const Alarm alarm_;
  const ipc::WorkerChannel channel_;
  const ipc::ChannelLayout layout_;
  const std::shared_ptr<SlotPool> outputs_;
  ipc::RegionTable output_table_;  // constant
  const SystemClock clock_;        // the worker's times come from it too

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::vector<Lane> lanes_;
  std::uint64_t last_ticket_ = 0;
  std::optional<Error> ended_;

  // Of the answering thread:
  ipc::RingConsumer completions_;
  std::vector<std::byte> reply_;

  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> batches_done_{0};
  std::thread thread_;
};

}  // namespace takt::engine
