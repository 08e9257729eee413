// SPDX-License-Identifier: Apache-2.0
// Strong identifiers: an id of one thing can't be passed where another is meant.
// Thread-safe: plain values.
// Owns: nothing.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace takt {

template <typename Tag, typename Rep = std::uint64_t>
struct Id {
  Rep value{};
  friend constexpr auto operator<=>(Id, Id) = default;
};

using ModelId =
    Id<struct ModelTag, std::uint32_t>;  // a loaded version of a model, dense, given by the engine
using DeviceId = Id<struct DeviceTag, std::uint32_t>;      // a device partition, dense
using InstanceId = Id<struct InstanceTag, std::uint32_t>;  // an instance, dense over the engine
using RequestId = Id<struct RequestTag>;  // one inference, never reused in a process
using FlowId =
    Id<struct FlowTag, std::uint32_t>;  // whose requests they are: a line, a client; dense
using BatchId = Id<struct BatchTag>;    // requests executed together, never reused in a process
using FrameSeq = Id<struct FrameTag>;   // sequence number of a frame of a line, from 1, never
                                        // reused, survives restarts

}  // namespace takt

template <typename Tag, typename Rep>
struct std::hash<takt::Id<Tag, Rep>> {
  std::size_t operator()(takt::Id<Tag, Rep> id) const noexcept {
    return std::hash<Rep>{}(id.value);
  }
};
