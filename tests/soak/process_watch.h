// SPDX-License-Identifier: Apache-2.0
// What this process holds, again and again over a long run, and whether it grows.
// Thread-safe: look and the free functions from any thread; the rest from one.
// Owns: the samples.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace takt::soak {

struct Holdings {
  double seconds = 0;           // since the first one
  std::size_t rss_bytes = 0;    // resident
  std::size_t descriptors = 0;  // open, without those that the look takes
  std::size_t memfds = 0;       // of these, anonymous files
  std::size_t answered = 0;     // requests, as told
};

[[nodiscard]] Holdings look();
// The processes that any thread of this one has started and not reaped.
[[nodiscard]] std::vector<pid_t> children();

// Growth from the end of the warm-up, a fifth of the samples, to the end: the slope by least squares
// times its time, so that one high sample says little. 0 with fewer than ten samples.
[[nodiscard]] double growth(const std::vector<Holdings>& samples,
                            const std::function<double(const Holdings&)>& value);

}  // namespace takt::soak
