// SPDX-License-Identifier: Apache-2.0
// Turns of flows that share a class: start-time fair queueing (Goyal, Vin and Cheng 1996), a row as
// the unit of work, all flows of equal weight.
// Thread-safe: no; owned by one scheduler.
// Owns: the virtual time and, for each flow that is ahead of it, where its next request begins.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>

namespace takt::scheduler {

class FairTurns {
 public:
  // The turn of a request that now waits: the flow's requests one after the other, none before the
  // virtual time. Among waiting requests the one with the least turn goes first.
  [[nodiscard]] std::uint64_t next(std::uint64_t flow, int rows) {
    if (ahead_.size() >= sweep_at_) sweep();
    std::uint64_t& begin = ahead_.try_emplace(flow, now_).first->second;
    const std::uint64_t turn = std::max(begin, now_);
    begin = turn + static_cast<std::uint64_t>(rows);
    return turn;
  }
  // A request with this turn started.
  void started(std::uint64_t turn) { now_ = std::max(now_, turn); }
  [[nodiscard]] std::size_t flows() const noexcept { return ahead_.size(); }

 private:
  static constexpr std::size_t kSweepAt = 64;
  // A flow that is not ahead of the virtual time begins there, as one that is new.
  void sweep() {
    std::erase_if(ahead_, [this](const auto& flow) { return flow.second <= now_; });
    sweep_at_ = std::max(kSweepAt, 2 * ahead_.size());
  }

  std::uint64_t now_ = 0;  // virtual: the turn that started last
  std::unordered_map<std::uint64_t, std::uint64_t> ahead_;
  std::size_t sweep_at_ = kSweepAt;
};

}  // namespace takt::scheduler
