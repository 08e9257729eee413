// SPDX-License-Identifier: Apache-2.0
// The threads of a kernel on the CPU: each has a stack of its own, one runs at a time until it waits for others
// or ends, and blocks follow one another. So barriers and exchanges are exact, and one that not all threads reach
// is found instead of waited for.
// Thread-safe: no, and one in a process runs at a time: while it does, the process's handlers of faults are its.
// Owns: the threads' stacks.
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

 private:
  struct Fiber;
  class FaultHandlers;

  void add_fiber();
  void run_blocks();
  void run_block();
  void resume(Fiber& fiber);
  void leave();
  void run_thread();
  [[nodiscard]] bool release();
  [[nodiscard]] bool release_warp(std::size_t first);
  [[nodiscard]] bool is_whole(const Fiber& fiber, std::size_t first) const;
  void hand_over(const Fiber& fiber, std::size_t first);
  [[nodiscard]] std::string stuck_text() const;
  [[nodiscard]] std::string fault_text() const;

  std::vector<std::unique_ptr<Fiber>> fibers_;  // as many as the largest block so far had threads
  // Of the present run.
  const std::function<void()>* kernel_ = nullptr;
  const Launch* launch_ = nullptr;
  std::size_t threads_ = 0;
  Fiber* current_ = nullptr;
  std::string failure_;
  std::jmp_buf scheduler_{};
};

}  // namespace takt::cuda::emulation
