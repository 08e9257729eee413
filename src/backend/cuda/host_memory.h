// SPDX-License-Identifier: Apache-2.0
// Memory of the process that a device reads by itself: mappings that were pinned for a context, once for all
// models.
// Thread-safe: yes.
// Owns: the registrations, shared with whoever uses them; never the memory.
#pragma once

#include "backend/cuda/context.h"
#include "backend/cuda/memory.h"
#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace takt::cuda {

// Mappings that one model's inputs lie in.
class PinnedInputs {
 public:
  // Where the device finds bytes of the host; nothing: they are in no mapping of these.
  [[nodiscard]] std::optional<std::uint64_t> address(std::span<const std::byte> bytes) const;

 private:
  friend class HostMemory;
  struct Region {
    std::span<const std::byte> bytes;
    std::shared_ptr<const HostRegistration> registration;
  };
  std::vector<Region> regions_;
};

class HostMemory {
 public:
  // What is pinned is pinned for every context of the process, and only once.
  [[nodiscard]] static HostMemory& of_process();

  // Pins those that aren't yet, until the last PinnedInputs with them goes. Errors: out_of_memory, device_poisoned,
  // internal.
  [[nodiscard]] Result<PinnedInputs> pin(const std::shared_ptr<const Context>& context,
                                         std::span<const std::span<const std::byte>> regions);

 private:
  HostMemory() = default;
  void unpin(const HostRegistration* registration);

  std::recursive_mutex lock_;  // the last share may end inside pin()
  std::map<const std::byte*, std::weak_ptr<const HostRegistration>> pinned_;  // guarded by lock_
};

}  // namespace takt::cuda
