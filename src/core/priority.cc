// SPDX-License-Identifier: Apache-2.0
#include "core/priority.h"

#include <array>
#include <string>

namespace takt {
namespace {
constexpr std::array<std::string_view, kPriorityClassCount> kNames{"critical", "high", "normal",
                                                                   "background"};
}  // namespace

std::string_view to_string(PriorityClass priority) noexcept {
  return kNames[static_cast<std::size_t>(priority)];
}

Result<PriorityClass> parse_priority(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<PriorityClass>(i);
  }
  return fail(ErrorKind::invalid_input, "unknown priority '" + std::string(name) +
                                            "'; expected critical, high, normal or background");
}

}  // namespace takt
