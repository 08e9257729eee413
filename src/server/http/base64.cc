// SPDX-License-Identifier: Apache-2.0
#include "server/http/base64.h"

#include <openssl/evp.h>

#include <limits>

namespace takt::server::http {

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0 || text.size() > std::numeric_limits<int>::max()) return std::nullopt;
  if (text.empty()) return std::string();
  std::string decoded(text.size() / 4 * 3, '\0');
  const int bytes = ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                                      reinterpret_cast<const unsigned char*>(text.data()),
                                      static_cast<int>(text.size()));
  if (bytes < 0) return std::nullopt;
  // It decodes the padding as zeros.
  std::size_t padding = 0;
  while (padding < 2 && text[text.size() - 1 - padding] == '=') ++padding;
  decoded.resize(static_cast<std::size_t>(bytes) - padding);
  return decoded;
}

}  // namespace takt::server::http
