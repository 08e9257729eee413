// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/host_memory.h"

#include <functional>
#include <utility>

namespace takt::cuda {

std::optional<std::uint64_t> PinnedInputs::address(std::span<const std::byte> bytes) const {
  const std::less_equal<const std::byte*> not_behind;
  for (const Region& region : regions_) {
    const std::byte* const begin = region.bytes.data();
    const std::byte* const end = begin + region.bytes.size();
    if (!not_behind(begin, bytes.data()) || !not_behind(bytes.data() + bytes.size(), end)) continue;
    return region.device_address + static_cast<std::uint64_t>(bytes.data() - begin);
  }
  return {};
}

HostMemory& HostMemory::of_process() {
  static auto* const memory = new HostMemory;  // models may outlive any static object
  return *memory;
}

// Counted under the lock: nobody finds a mapping whose last use is just ending.
std::shared_ptr<const void> HostMemory::use(const Place& place, Pinned& pinned) {
  ++pinned.uses;
  return {place.first, [this, place](const void*) { end_use(place); }};
}

void HostMemory::end_use(const Place& place) {
  const std::scoped_lock guard(lock_);
  const auto found = pinned_.find(place);
  if (--found->second.uses == 0) pinned_.erase(found);
}

Result<PinnedInputs> HostMemory::pin(const std::shared_ptr<const Context>& context,
                                     std::span<const std::span<const std::byte>> regions) {
  const std::scoped_lock guard(lock_);
  PinnedInputs inputs;
  for (const std::span<const std::byte> region : regions) {
    const Place place{region.data(), region.size()};
    auto found = pinned_.find(place);
    if (found == pinned_.end()) {
      Result<HostRegistration> made = HostRegistration::read_only(context, region);
      if (!made && made.error().kind == ErrorKind::device_poisoned) {
        return std::unexpected(std::move(made).error().within("the input slots"));
      }
      if (!made) {
        inputs.unpinned_ = made.error().message;
        continue;
      }
      found = pinned_.emplace(place, Pinned{*std::move(made), 0}).first;
    }
    const std::uint64_t address = found->second.registration.span().address;
    inputs.regions_.push_back({region, address, use(place, found->second)});
  }
  return inputs;
}

}  // namespace takt::cuda
