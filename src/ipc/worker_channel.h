// SPDX-License-Identifier: Apache-2.0
// The shared memory between gateway and one incarnation of a worker: a ring of completions, and for
// each instance a ring of requests, an area for the request and one for the reply.
// Thread-safe: as its parts; each area belongs to whoever has the instance's ticket.
// Owns: the mapping.
#pragma once

#include "core/result.h"
#include "ipc/ring.h"
#include "ipc/shared_memory.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace takt::ipc {

struct ChannelLayout {
  std::uint32_t instances = 1;
  std::size_t request_bytes = 0;  // of one instance's area
  std::size_t reply_bytes = 0;
};

class WorkerChannel {
 public:
  // The gateway makes it, all zero. Errors: invalid_input (no instance, or more than a ring holds),
  // out_of_memory.
  [[nodiscard]] static Result<WorkerChannel> create(const ChannelLayout& layout);
  // The worker maps it. Errors: invalid_input (the file is not of this layout), out_of_memory.
  [[nodiscard]] static Result<WorkerChannel> map(Descriptor file, const ChannelLayout& layout);

  [[nodiscard]] int descriptor() const noexcept { return memory_.descriptor(); }
  [[nodiscard]] std::uint32_t instances() const noexcept { return layout_.instances; }
  [[nodiscard]] RingMemory& requests(std::uint32_t instance) const noexcept;
  [[nodiscard]] RingMemory& completions() const noexcept;
  [[nodiscard]] std::span<std::byte> request_area(std::uint32_t instance) const noexcept;
  [[nodiscard]] std::span<std::byte> reply_area(std::uint32_t instance) const noexcept;

 private:
  WorkerChannel(SharedMemory memory, const ChannelLayout& layout)
      : memory_(std::move(memory)), layout_(layout) {}

  SharedMemory memory_;
  ChannelLayout layout_;
};

}  // namespace takt::ipc
