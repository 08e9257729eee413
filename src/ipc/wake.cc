// SPDX-License-Identifier: Apache-2.0
#include "ipc/wake.h"

#include "core/spin.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <ctime>

namespace takt::ipc {
namespace {

// How often a spinning consumer looks before it reads the clock.
constexpr int kLooksPerClock = 32;

bool spin_until_ready(const std::function<bool()>& ready, Duration spin) {
  const auto end = std::chrono::steady_clock::now() + spin;
  do {
    for (int look = 0; look < kLooksPerClock; ++look) {
      if (ready()) return true;
      pause_cpu();
    }
    ::sched_yield();  // to the batch of another model on this lane's core, if there is one
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t seen, Duration wait_max) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(wait_max);
  const timespec limit{.tv_sec = seconds.count(), .tv_nsec = (wait_max - seconds).count()};
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &limit, nullptr, 0);
}

}  // namespace

// The consumer announces its sleep before it looks a last time; the producer publishes before it
// looks for a sleeper. All four accesses are in one total order (seq_cst; not a fence, which the
// thread sanitizer doesn't know), so at least one sees the other.
bool sleep_until_ready(WakeWords& words, const std::function<bool()>& ready, Duration spin,
                       Duration wait_max) {
  if (ready()) return true;
  if (spin > Duration{} && spin_until_ready(ready, spin)) return true;
  const auto end = std::chrono::steady_clock::now() + wait_max;
  while (true) {
    const std::uint32_t seen = words.sequence.load(std::memory_order_acquire);
    words.sleeping.store(1, std::memory_order_seq_cst);
    if (!ready()) {
      const Duration left = end - std::chrono::steady_clock::now();
      if (left > Duration{}) futex_wait(words.sequence, seen, left);
    }
    words.sleeping.store(0, std::memory_order_relaxed);
    if (ready()) return true;
    if (std::chrono::steady_clock::now() >= end) return false;
  }
}

void wake(WakeWords& words) noexcept {
  if (words.sleeping.load(std::memory_order_seq_cst) == 0) return;
  words.sequence.fetch_add(1, std::memory_order_release);
  ::syscall(SYS_futex, &words.sequence, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace takt::ipc
