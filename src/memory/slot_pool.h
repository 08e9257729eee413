// SPDX-License-Identifier: Apache-2.0
// Slots: pieces of one memory mapping, in size classes, handed out by index and shared by
// reference. Thread-safe: acquire, copy and release of slots from any thread. Owns: the mapping; a
// Slot keeps its pool alive and returns its piece when the last copy is gone.
#pragma once

#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace takt {

// `count` slots of `bytes` each; bytes is rounded up to 4096 so that a slot can be registered with
// a device.
struct SizeClass {
  std::size_t bytes = 0;
  std::uint32_t count = 0;
};

struct SizeClassUse {
  std::size_t bytes = 0;
  std::uint32_t count = 0;
  std::uint32_t in_use = 0;
  std::uint32_t in_use_max = 0;  // high-water mark since creation
};

// What other processes that get the descriptor may do with the memory. Nobody can resize it.
enum class SlotSharing : std::uint8_t {
  read,   // map it for reading: inputs
  write,  // map it for writing: outputs of one worker
};

class SlotPool;

// A reference to a slot, empty or not. Copies share the slot (a frame's pixels serve several
// tasks).
class Slot {
 public:
  Slot() = default;
  Slot(const Slot& other) noexcept;
  Slot(Slot&& other) noexcept;
  Slot& operator=(Slot other) noexcept;
  ~Slot();

  [[nodiscard]] explicit operator bool() const noexcept { return pool_ != nullptr; }
  [[nodiscard]] std::span<std::byte> bytes()
      const noexcept;  // the whole slot, at least as long as asked for
  [[nodiscard]] std::uint32_t index() const noexcept { return index_; }
  // Counts up each time the slot is handed out: a stale index from another process is told by it.
  [[nodiscard]] std::uint32_t generation() const noexcept;
  void reset() noexcept;

 private:
  friend class SlotPool;
  Slot(std::shared_ptr<SlotPool> pool, std::uint32_t index) noexcept;
  std::shared_ptr<SlotPool> pool_;
  std::uint32_t index_ = 0;
};

class SlotPool : public std::enable_shared_from_this<SlotPool> {
 public:
  // Maps all classes at once (a memfd named `name`). Errors: invalid_input (no class, zero sizes),
  // out_of_memory.
  [[nodiscard]] static Result<std::shared_ptr<SlotPool>> create(
      std::string name, std::span<const SizeClass> classes,
      SlotSharing sharing = SlotSharing::read);
  ~SlotPool();
  SlotPool(const SlotPool&) = delete;
  SlotPool& operator=(const SlotPool&) = delete;

  // A free slot of the smallest class that holds `bytes`; a larger class stands in when that one is
  // used up. Errors: invalid_input (larger than every class), out_of_memory (all used; the message
  // names pool, class and count).
  [[nodiscard]] Result<Slot> acquire(std::size_t bytes);

  [[nodiscard]] std::vector<SizeClassUse> use() const;
  [[nodiscard]] std::uint32_t in_use() const;  // slots over all classes
  [[nodiscard]] int descriptor() const noexcept;
  [[nodiscard]] std::span<std::byte> memory() const noexcept;  // all of it, as mapped here
  [[nodiscard]] std::size_t mapped_bytes() const noexcept { return memory().size(); }

 private:
  friend class Slot;
  struct State;
  explicit SlotPool(std::unique_ptr<State> state);
  void retain(std::uint32_t index) noexcept;
  void release(std::uint32_t index) noexcept;
  std::unique_ptr<State> state_;
};

}  // namespace takt
