// SPDX-License-Identifier: Apache-2.0
// How the consumer of a ring sleeps and its producer wakes it: a futex in shared memory.
// Thread-safe: one sleeper; any number of wakers.
// Owns: nothing; the words lie in memory that both processes map.
#pragma once

#include "core/time.h"

#include <atomic>
#include <cstdint>
#include <functional>

namespace takt::ipc {

// Both words are 0 at the start. The other process may write anything here: that costs wake-ups
// that come too often, or a sleeper that waits for its timeout, never more.
struct WakeWords {
  std::atomic<std::uint32_t> sequence;
  std::atomic<std::uint32_t> sleeping;
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

// `ready` looks with sequentially consistent loads at what whoever calls wake() has stored
// sequentially consistently: otherwise a wake-up can be missed. Waits until `ready` or `wait_max` has passed: first by looking again and again for `spin`, then
// asleep. Returns what `ready` said last.
bool sleep_until_ready(WakeWords& words, const std::function<bool()>& ready, Duration spin,
                       Duration wait_max);

// After `ready` may have become true. A system call only when somebody sleeps.
void wake(WakeWords& words) noexcept;

}  // namespace takt::ipc
