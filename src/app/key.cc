// SPDX-License-Identifier: Apache-2.0
// `takt key`: a key for clients of a server.
#include "app/command_run.h"
#include "app/commands.h"
#include "server/access.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace takt::app {
namespace {

// It stands in YAML as it is.
bool is_key_name(std::string_view name) {
  constexpr std::size_t kNameBytesMax = 64;
  return !name.empty() && name.size() <= kNameBytesMax && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

}  // namespace

int run_key(const KeyOptions& options) {
  if (!is_key_name(options.name)) {
    return report_error({ErrorKind::invalid_input,
                         "key: '" + options.name +
                             "' is no name; expected up to 64 letters, digits, '-', '_' and '.'"});
  }
  for (const std::string& word : options.roles) {
    if (const auto role = server::parse_role(word); !role) {
      return report_error(role.error().within("key: --roles"));
    }
  }
  const Result<std::string> key = server::make_key();
  if (!key) return report_error(key.error());
  fmt::print("{}\n", *key);
  fmt::print("- {{name: {}, hash: \"{}\", roles: [{}]}}\n", options.name,
             server::to_text(server::hash_key(*key)), fmt::join(options.roles, ", "));
  report_line(
      "the key is kept nowhere: give it to its client now, as 'Authorization: Bearer KEY'; "
      "the second line goes below server.keys");
  return kExitOk;
}

}  // namespace takt::app
