// SPDX-License-Identifier: Apache-2.0
// What a thread of an emulated kernel is told by its block, and asks of it. C++17 without other headers:
// kernels include it too.
// Thread-safe: no; all threads of a block run on one thread of the host.
// Owns: nothing.
#pragma once

namespace takt::cuda::emulation {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

inline constexpr unsigned kWarp = 32;

// Of the thread that runs. The block changes it whenever another one goes on.
class RunningThread {
 public:
  Index thread, block, block_size, grid_size;

  // Returns when all threads of the block are there.
  virtual void wait_for_block() = 0;
  // Returns when all threads of the warp that `mask` names (bit i: thread i of the warp) are there: the values
  // of all 32, valid until this thread exchanges again; all ones where there is no thread. `what` is the
  // instruction, for messages; all threads exchange for the same.
  virtual const unsigned* exchange(const char* what, unsigned mask, unsigned value) = 0;
  // Of this thread in its warp.
  [[nodiscard]] virtual unsigned lane() const = 0;
  // Returns when all threads of the cluster are there.
  virtual void wait_for_cluster() = 0;
  // Where block `number` of the cluster has what this one has at `at` in shared memory; until this thread waits. Null
  // where that block has ended.
  [[nodiscard]] virtual const void* of_block(const void* at, unsigned number) = 0;
  // Copies that may be made at once, or only when they are waited for: in one order of threads they are made at once,
  // in the other as late as they may be. Null: zeros.
  virtual void copy_later(void* to, const void* from, unsigned bytes) = 0;
  virtual void close_copies() = 0;
  // But for the `open` last groups that were closed.
  virtual void wait_for_copies(unsigned open) = 0;

 protected:
  ~RunningThread() = default;
};

}  // namespace takt::cuda::emulation
