// SPDX-License-Identifier: Apache-2.0
#include "server/access.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>

namespace takt::server {
namespace {

constexpr std::array<std::string_view, kRoleCount> kRoles{"infer", "read", "operate"};
constexpr std::array<std::string_view, kDenialCount> kDenials{"no_key", "wrong_key", "role", "host",
                                                              "origin"};
constexpr std::string_view kKeyPrefix = "takt_";  // so that a key is known for one where it leaks
constexpr std::size_t kKeyBytes = 32;
constexpr std::string_view kHashPrefix = "sha256:";
constexpr std::string_view kScheme = "bearer ";

std::string hex(std::span<const unsigned char> bytes) {
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

std::optional<Role> role_for(Need need) {
  switch (need) {
    case Need::nothing:
    case Need::any_key:
      return std::nullopt;
    case Need::infer:
      return Role::infer;
    case Need::read:
      return Role::read;
    case Need::operate:
      return Role::operate;
  }
  return Role::operate;
}

bool grants(const AccessKey& key, Role role) {
  const auto has = [&key](Role one) {
    return std::ranges::find(key.roles, one) != key.roles.end();
  };
  return has(role) || (role == Role::read && has(Role::operate));
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// The key of "Bearer KEY"; empty: there is none.
std::string_view key_of(std::string_view authorization) {
  const bool bearer =
      authorization.size() > kScheme.size() &&
      std::ranges::equal(authorization.substr(0, kScheme.size()), kScheme, {}, &lower);
  if (!bearer) return {};
  std::string_view key = authorization.substr(kScheme.size());
  key.remove_prefix(std::min(key.find_first_not_of(' '), key.size()));
  return key.substr(0, key.find_last_not_of(' ') + 1);
}

}  // namespace

std::string_view to_string(Role role) noexcept {
  return kRoles[static_cast<std::size_t>(role)];
}

Result<Role> parse_role(std::string_view word) {
  const auto found = std::ranges::find(kRoles, word);
  if (found != kRoles.end()) return static_cast<Role>(found - kRoles.begin());
  return fail(ErrorKind::invalid_input,
              fmt::format("'{}' is no role; expected infer, read or operate", word));
}

std::string_view to_string(Denial denial) noexcept {
  return kDenials[static_cast<std::size_t>(denial)];
}

Result<std::string> make_key() {
  std::array<unsigned char, kKeyBytes> bytes;
  if (::RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    return fail(ErrorKind::unavailable, "no random bytes to be had from this machine");
  }
  return std::string(kKeyPrefix) + hex(bytes);
}

KeyHash hash_key(std::string_view key) noexcept {
  KeyHash hash;
  ::SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), hash.data());
  return hash;
}

std::string to_text(const KeyHash& hash) {
  return std::string(kHashPrefix) + hex(hash);
}

Result<KeyHash> parse_key_hash(std::string_view text) {
  KeyHash hash;
  const std::string_view digits = text.substr(std::min(kHashPrefix.size(), text.size()));
  bool valid = text.starts_with(kHashPrefix) && digits.size() == 2 * hash.size();
  for (std::size_t i = 0; valid && i < hash.size(); ++i) {
    const char* const first = digits.data() + 2 * i;
    const auto [end, failure] = std::from_chars(first, first + 2, hash[i], 16);
    valid = failure == std::errc() && end == first + 2;
  }
  if (valid) return hash;
  // It isn't repeated: it may be the key itself.
  return fail(ErrorKind::invalid_input,
              "is no hash of a key; expected sha256: and 64 hexadecimal digits, as `takt key` "
              "prints them");
}

const AccessKey* AccessControl::find(std::string_view key) const noexcept {
  const KeyHash hash = hash_key(key);
  const AccessKey* found = nullptr;
  for (const AccessKey& known : keys_) {
    if (::CRYPTO_memcmp(known.hash.data(), hash.data(), hash.size()) == 0) found = &known;
  }
  return found;
}

ApiResult<void> AccessControl::check(Need need, std::string_view authorization) {
  if (keys_.empty() || need == Need::nothing) return {};
  const std::string_view sent = key_of(authorization);
  if (sent.empty()) {
    count(Denial::no_key);
    return refuse(ApiCode::unauthenticated,
                  "this server asks for a key; send it as 'Authorization: Bearer KEY'");
  }
  const AccessKey* const key = find(sent);
  if (key == nullptr) {
    count(Denial::wrong_key);
    return refuse(ApiCode::unauthenticated, "the key is not known here");
  }
  const std::optional<Role> role = role_for(need);
  if (!role || grants(*key, *role)) return {};
  count(Denial::role);
  return refuse(ApiCode::permission_denied,
                fmt::format("the key '{}' may not do this; it needs the role {}", key->name,
                            to_string(*role)));
}

void AccessControl::count(Denial denial) noexcept {
  denials_[static_cast<std::size_t>(denial)].fetch_add(1, std::memory_order_relaxed);
}

DenialCounts AccessControl::denials() const noexcept {
  DenialCounts counts{};
  for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = denials_[i];
  return counts;
}

}  // namespace takt::server
