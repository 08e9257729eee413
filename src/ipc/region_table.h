// SPDX-License-Identifier: Apache-2.0
// The shared regions that inputs may lie in, by address and by number.
// Thread-safe: read-only after it has been filled.
// Owns: nothing; whoever fills it keeps the mappings alive.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace takt::ipc {

// A place in shared memory as both processes can name it.
struct Place {
  std::uint64_t region = 0;
  std::uint64_t offset = 0;
  friend bool operator==(const Place&, const Place&) = default;
};

class RegionTable {
 public:
  // Regions are numbered in the order in which they are added.
  void add(std::span<std::byte> region) { regions_.push_back(region); }
  [[nodiscard]] std::size_t size() const noexcept { return regions_.size(); }

  // Nothing when `bytes` at `address` lie in no region as a whole.
  [[nodiscard]] std::optional<Place> find(const void* address, std::size_t bytes) const noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    for (std::size_t i = 0; i < regions_.size(); ++i) {
      const auto base = reinterpret_cast<std::uintptr_t>(regions_[i].data());
      if (at >= base && at - base < regions_[i].size()) {
        const std::uint64_t offset = at - base;
        if (bytes > regions_[i].size() - offset) return std::nullopt;
        return Place{i, offset};
      }
    }
    return std::nullopt;
  }

  // An empty span when the place lies outside.
  [[nodiscard]] std::span<std::byte> at(const Place& place, std::uint64_t bytes) const noexcept {
    if (place.region >= regions_.size()) return {};
    const std::span<std::byte> region = regions_[place.region];
    if (place.offset > region.size() || bytes > region.size() - place.offset) return {};
    return region.subspan(place.offset, bytes);
  }

 private:
  std::vector<std::span<std::byte>> regions_;
};

}  // namespace takt::ipc
