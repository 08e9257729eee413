// SPDX-License-Identifier: Apache-2.0
#include "core/suggest.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace takt {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> previous(b.size() + 1);
  std::vector<std::size_t> current(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) previous[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitute = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, substitute});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) current[j] = std::min(current[j], before[j - 2] + 1);
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

std::string suggestion(std::string_view name, std::span<const std::string> candidates) {
  if (candidates.empty()) return {};
  const auto nearest = std::ranges::min_element(
      candidates, {},
      [name](const std::string& candidate) { return edit_distance(name, candidate); });
  const std::size_t allowed = std::max<std::size_t>(2, name.size() / 3);
  if (edit_distance(name, *nearest) <= allowed) return "; did you mean '" + *nearest + "'?";

  constexpr std::size_t kListedMax = 12;
  std::string text = "; expected one of ";
  for (std::size_t i = 0; i < std::min(candidates.size(), kListedMax); ++i) {
    if (i != 0) text += ", ";
    text += candidates[i];
  }
  if (candidates.size() > kListedMax) text += ", ...";
  return text;
}

}  // namespace takt
