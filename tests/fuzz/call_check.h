// SPDX-License-Identifier: Apache-2.0
// What holds of every inference that a reader made from a client's bytes.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "server/infer_call.h"
#include "target.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace takt::fuzz {

inline bool lies_in(std::span<const std::byte> bytes, const std::vector<Slot>& slots) {
  if (bytes.empty()) return true;
  return std::ranges::any_of(slots, [bytes](const Slot& slot) {
    const std::span<std::byte> room = slot.bytes();
    return bytes.data() >= room.data() && bytes.data() + bytes.size() <= room.data() + room.size();
  });
}

inline void check_call(const server::InferCall& call) {
  constexpr std::size_t kTensorsMax = 1024;
  constexpr std::size_t kRankMax = 16;
  require(call.inputs.size() <= kTensorsMax, "inputs are bounded");
  require(call.outputs.size() <= kTensorsMax, "outputs are bounded");
  for (const server::CallInput& input : call.inputs) {
    require(input.shape.size() <= kRankMax, "ranks are bounded");
    require(input.type <= DataType::bytes, "types are known");
    require(lies_in(input.bytes, call.slots), "data lie in a slot");
    require(reinterpret_cast<std::uintptr_t>(input.bytes.data()) % 64 == 0, "data are aligned");
    require(!input.shared || input.bytes.empty(), "data come from one place");
  }
  for (const server::CallOutput& output : call.outputs) {
    require(output.classes >= 0, "classes are counted");
  }
}

}  // namespace takt::fuzz
