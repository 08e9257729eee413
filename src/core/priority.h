// SPDX-License-Identifier: Apache-2.0
// Priority classes of tasks and requests: critical > high > normal > background.
// Thread-safe: plain values.
// Owns: nothing.
#pragma once

#include "core/result.h"

#include <cstdint>
#include <string_view>

namespace takt {

enum class PriorityClass : std::uint8_t { critical = 0, high = 1, normal = 2, background = 3 };
inline constexpr int kPriorityClassCount = 4;

[[nodiscard]] std::string_view to_string(PriorityClass priority) noexcept;
[[nodiscard]] Result<PriorityClass> parse_priority(
    std::string_view name);  // invalid_input names the four classes

}  // namespace takt
