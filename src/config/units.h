// SPDX-License-Identifier: Apache-2.0
// Values with units, as takt.yaml writes them: 500ms, 64MiB, 12.5/s, 1/255, 0-7.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/result.h"
#include "core/time.h"

#include <cstddef>
#include <string_view>
#include <vector>

namespace takt::config {

// "250us", "40ms", "2s", "1.5s", "5min", "2h". Errors: invalid_input; a bare number is told which unit it may mean.
[[nodiscard]] Result<Duration> parse_duration(std::string_view text);
// "4096B", "64KiB", "8MiB", "1GiB" (powers of 1024; KB and MB are refused with the spelling to use).
[[nodiscard]] Result<std::size_t> parse_bytes(std::string_view text);
// "12.5/s", "600/min" -> events a second, > 0.
[[nodiscard]] Result<double> parse_rate(std::string_view text);
// A number or a fraction: "0.0039", "1/255".
[[nodiscard]] Result<double> parse_number(std::string_view text);
// "3" or "0-7" -> the numbers of CPUs, rising.
[[nodiscard]] Result<std::vector<int>> parse_cpus(std::string_view text);

}  // namespace takt::config
