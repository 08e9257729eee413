// SPDX-License-Identifier: Apache-2.0
#include "server/client_text.h"

#include <string_view>

namespace takt::server {
namespace {

// Where a path may begin and end in a message.
constexpr std::string_view kBefore = " \t\n'\"`([{<=:,;";
constexpr std::string_view kAfter = " \t\n'\"`)]}>:,;";

void erase_all(std::string& text, const std::string& part) {
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at)) {
    text.erase(at, part.size());
  }
}

bool begins_path(std::string_view text, std::size_t at) {
  if (text[at] != '/' || at + 1 == text.size()) return false;
  if (at > 0 && !kBefore.contains(text[at - 1])) return false;
  return text[at + 1] != '/' && !kAfter.contains(text[at + 1]);
}

}  // namespace

std::string without_paths(std::string text, std::span<const std::filesystem::path> roots) {
  for (const std::filesystem::path& root : roots) {
    if (!root.empty()) erase_all(text, (root / "").string());
  }
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (!begins_path(text, at)) continue;
    const std::size_t end = std::min(text.find_first_of(kAfter, at), text.size());
    const std::size_t last = text.rfind('/', end - 1);
    const std::size_t name = last + 1 == end ? at + 1 : last + 1;  // one that ends with '/'
    text.erase(at, name - at);
  }
  return text;
}

}  // namespace takt::server
