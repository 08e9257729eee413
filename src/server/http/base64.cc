// SPDX-License-Identifier: Apache-2.0
#include "server/http/base64.h"

#include <openssl/evp.h>

#include <algorithm>
#include <limits>

namespace takt::server::http {
namespace {

bool in_alphabet(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
         c == '/';
}

}  // namespace

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0 || text.size() > std::numeric_limits<int>::max()) return std::nullopt;
  if (text.empty()) return std::string();
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  // What decodes leaves blanks out and takes padding anywhere.
  if (!std::ranges::all_of(text.substr(0, text.size() - padding), in_alphabet)) return std::nullopt;
  std::string decoded(text.size() / 4 * 3, '\0');
  const int bytes = ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                                      reinterpret_cast<const unsigned char*>(text.data()),
                                      static_cast<int>(text.size()));
  if (bytes < 0) return std::nullopt;
  // It decodes the padding as zeros.
  decoded.resize(static_cast<std::size_t>(bytes) - padding);
  return decoded;
}

}  // namespace takt::server::http
