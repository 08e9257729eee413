// SPDX-License-Identifier: Apache-2.0
// The threads of a kernel on the CPU: each has a stack of its own, one runs at a time until it waits for others
// or ends, and clusters of blocks follow one another. So barriers and exchanges are exact, and one that not all
// threads reach is found instead of waited for.
// Thread-safe: no, and one in a process runs at a time: while it does, the process's handlers of faults are its.
// Owns: the threads' stacks, and the shared memory of a cluster's blocks while another one runs.
#pragma once

#include "backend/cuda/emulation/running_thread.h"
#include "core/result.h"

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace takt::cuda::emulation {

// Blocks, and the threads of one, run in this order. A missing barrier goes unseen where those that write
// come before those that read: so in one of the two it is seen.
enum class Order : std::uint8_t { forwards, backwards };

struct Launch {
  unsigned blocks = 1;
  unsigned threads_x = 1;
  unsigned threads_y = 1;
  unsigned cluster = 1;         // blocks that run beside each other
  std::span<std::byte> shared;  // all ones before each block
  Order order = Order::forwards;
  // What lies at an address, for the message about a fault.
  std::function<std::string(std::uintptr_t)> describe;
};

class Block final : public RunningThread {
 public:
  Block();
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  // Calls `kernel` for every thread. Errors: internal (a barrier or an exchange that not all threads reach;
  // a fault, with the address; the message names block and thread), and then blocks that follow did not run.
  [[nodiscard]] Result<void> run(const std::function<void()>& kernel, const Launch& launch);

  void wait_for_block() override;
  const unsigned* exchange(const char* what, unsigned mask, unsigned value) override;
  [[nodiscard]] unsigned lane() const override;
  void wait_for_cluster() override;
  [[nodiscard]] const void* of_block(const void* at, unsigned number) override;
  void copy_later(void* to, const void* from, unsigned bytes) override;
  void close_copies() override;
  void wait_for_copies(unsigned open) override;

 private:
  struct Fiber;
  class FaultHandlers;
  using Threads = std::span<const std::unique_ptr<Fiber>>;

  void add_fiber();
  void run_blocks();
  void run_cluster(unsigned first);
  void resume(Fiber& fiber);
  void show_shared_of(unsigned number);
  void leave();
  void run_thread();
  [[nodiscard]] bool release();
  [[nodiscard]] bool release_block(Threads own);
  [[nodiscard]] static bool release_warp(Threads warp);
  [[nodiscard]] static bool is_whole(const Fiber& fiber, Threads warp);
  static void hand_over(const Fiber& fiber, Threads warp);
  [[nodiscard]] std::string stuck_text() const;
  [[nodiscard]] std::string fault_text() const;

  std::vector<std::unique_ptr<Fiber>> fibers_;  // as many as the largest cluster so far had threads
  // Of the present run.
  const std::function<void()>* kernel_ = nullptr;
  const Launch* launch_ = nullptr;
  std::size_t threads_ = 0;  // of a block
  std::vector<std::vector<std::byte>>
      shared_;          // of each block of the cluster, while it isn't in its place
  unsigned shown_ = 0;  // the block of the cluster whose it is there
  Fiber* current_ = nullptr;
  std::string failure_;
  std::jmp_buf scheduler_{};
};

}  // namespace takt::cuda::emulation
