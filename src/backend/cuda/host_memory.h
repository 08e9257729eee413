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
#include <string>
#include <utility>
#include <vector>

namespace takt::cuda {

// Mappings that one model's inputs lie in.
class PinnedInputs {
 public:
  // Where the device finds bytes of the host; nothing: they are in no mapping of these.
  [[nodiscard]] std::optional<std::uint64_t> address(std::span<const std::byte> bytes) const;
  // Why a mapping couldn't be pinned; empty: all are.
  [[nodiscard]] const std::string& unpinned() const noexcept { return unpinned_; }

 private:
  friend class HostMemory;
  struct Region {
    std::span<const std::byte> bytes;
    std::uint64_t device_address = 0;
    std::shared_ptr<const void> use;  // while it lives, the bytes stay pinned
  };
  std::vector<Region> regions_;
  std::string unpinned_;
};

class HostMemory {
 public:
  // What is pinned is pinned for every context of the process, and only once.
  [[nodiscard]] static HostMemory& of_process();

  // Pins those that aren't yet, until the last PinnedInputs with them goes. What can't be pinned (a limit of the
  // machine, a driver that can't) is left out, and PinnedInputs::unpinned() says why. Errors: device_poisoned.
  [[nodiscard]] Result<PinnedInputs> pin(const std::shared_ptr<const Context>& context,
                                         std::span<const std::span<const std::byte>> regions);

 private:
  // Where a mapping begins and how long it is.
  using Place = std::pair<const std::byte*, std::size_t>;
  struct Pinned {
    HostRegistration registration;
    int uses = 0;
  };

  HostMemory() = default;
  [[nodiscard]] std::shared_ptr<const void> use(const Place& place, Pinned& pinned);
  void end_use(const Place& place);

  std::recursive_mutex lock_;       // a use may end inside pin()
  std::map<Place, Pinned> pinned_;  // guarded by lock_; all are in use
};

}  // namespace takt::cuda
