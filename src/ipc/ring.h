// SPDX-License-Identifier: Apache-2.0
// A ring of tickets from one process to another: one producer, one consumer, no lock.
// Thread-safe: one thread a side.
// Owns: nothing; the ring lies in shared memory that the other side can write.
#pragma once

#include "core/result.h"
#include "core/time.h"
#include "ipc/wake.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

namespace takt::ipc {

// Names a batch: what it is about lies in the instance's area.
struct Ticket {
  std::uint64_t number = 0;    // counts up within an incarnation of the worker; never 0
  std::uint32_t instance = 0;  // of the worker
  std::uint32_t bytes = 0;     // of the description in the instance's area
  friend bool operator==(const Ticket&, const Ticket&) = default;
};

inline constexpr std::uint32_t kRingCapacity =
    64;  // a power of two; more than a worker's instances
inline constexpr std::size_t kCacheLineBytes = 64;

// As it lies in shared memory, zeros at the start. The indices count up and wrap.
struct RingMemory {
  alignas(kCacheLineBytes) std::atomic<std::uint32_t> tail;  // the producer writes
  alignas(kCacheLineBytes) std::atomic<std::uint32_t> head;  // the consumer writes
  alignas(kCacheLineBytes) WakeWords wake;
  alignas(kCacheLineBytes) std::array<Ticket, kRingCapacity> tickets;
};

// Each side keeps its own index outside the shared memory and checks the other's.
class RingProducer {
 public:
  explicit RingProducer(RingMemory& memory) noexcept : memory_(&memory) {}

  // Publishes the ticket and wakes the consumer. Errors: unavailable (full), internal (the consumer
  // wrote an index that can't be).
  [[nodiscard]] Result<void> push(const Ticket& ticket);

 private:
  RingMemory* memory_;
  std::uint32_t tail_ = 0;
};

class RingConsumer {
 public:
  explicit RingConsumer(RingMemory& memory) noexcept : memory_(&memory) {}

  // The next ticket, or nothing. Errors: internal (the producer wrote an index that can't be).
  [[nodiscard]] Result<std::optional<Ticket>> pop();
  // Waits for a ticket, for interrupt() or for `wait_max`; `spin` as in sleep_until_ready.
  void wait(Duration spin, Duration wait_max);
  void interrupt() noexcept;  // from any thread of the consumer's process: the next wait() returns

  [[nodiscard]] bool something() const noexcept;  // wait() would return at once

 private:
  RingMemory* memory_;
  std::uint32_t head_ = 0;
  std::atomic<bool> interrupted_{false};
};

}  // namespace takt::ipc
