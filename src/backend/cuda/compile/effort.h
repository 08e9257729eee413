// SPDX-License-Identifier: Apache-2.0
// How long tuning looks for the fastest way.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace takt::cuda {

enum class Effort : std::uint8_t {
  fast,    // cuDNN's first guesses, few rounds
  normal,  // some more of each
  max,     // all that cuDNN knows, many rounds
};
[[nodiscard]] std::string_view to_string(Effort effort) noexcept;
[[nodiscard]] std::optional<Effort> parse_effort(std::string_view text) noexcept;

}  // namespace takt::cuda
