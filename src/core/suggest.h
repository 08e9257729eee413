// SPDX-License-Identifier: Apache-2.0
// "did you mean": the known name nearest to one that a person mistyped.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace takt {

// Optimal string alignment distance (insert, delete, substitute, swap of neighbours).
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

// "; did you mean 'x'?" for the nearest candidate within a third of the name's length (at least 2
// edits), otherwise "; expected one of a, b, c" (at most 12 names), or "" without candidates.
[[nodiscard]] std::string suggestion(std::string_view name,
                                     std::span<const std::string> candidates);

}  // namespace takt
