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
    return region.registration->span().address + static_cast<std::uint64_t>(bytes.data() - begin);
  }
  return {};
}

HostMemory& HostMemory::of_process() {
  static auto* const memory = new HostMemory;  // models may outlive any static object
  return *memory;
}

// Under the lock, so that nobody pins what is just being given back.
void HostMemory::unpin(const HostRegistration* registration) {
  const std::scoped_lock guard(lock_);
  delete registration;
}

Result<PinnedInputs> HostMemory::pin(const std::shared_ptr<const Context>& context,
                                     std::span<const std::span<const std::byte>> regions) {
  const std::scoped_lock guard(lock_);
  std::erase_if(pinned_, [](const auto& known) { return known.second.expired(); });
  PinnedInputs inputs;
  for (const std::span<const std::byte> region : regions) {
    std::weak_ptr<const HostRegistration>& known = pinned_[region.data()];
    std::shared_ptr<const HostRegistration> registration = known.lock();
    if (!registration || registration->span().bytes != region.size()) {
      Result<HostRegistration> made = HostRegistration::read_only(context, region);
      if (!made) return std::unexpected(std::move(made).error().within("the input slots"));
      registration = std::shared_ptr<const HostRegistration>(
          new HostRegistration(*std::move(made)),
          [this](const HostRegistration* last) { unpin(last); });
      known = registration;
    }
    inputs.regions_.push_back({region, std::move(registration)});
  }
  return inputs;
}

}  // namespace takt::cuda
