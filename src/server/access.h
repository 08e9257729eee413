// SPDX-License-Identifier: Apache-2.0
// Who may do what: keys that clients send as "Authorization: Bearer KEY", each with its roles.
// Thread-safe: every member from any thread.
// Owns: names, roles and hashes of the keys; never a key.
#pragma once

#include "core/result.h"
#include "server/api_error.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace takt::server {

// `infer`: inferences. `read`: what is there and how it does: repository index, settings, registered
// shared memory, metrics. `operate`: changes of all these, and to read them.
enum class Role : std::uint8_t { infer, read, operate };
inline constexpr int kRoleCount = 3;
[[nodiscard]] std::string_view to_string(Role role) noexcept;
[[nodiscard]] Result<Role> parse_role(std::string_view word);

// What a request asks of whoever sends it.
enum class Need : std::uint8_t {
  nothing,  // is it alive?
  any_key,  // what every client has to know, such as the inputs of a model
  infer,
  read,
  operate,
};

// SHA-256 of a key. A key has 256 random bits, so nothing slower or salted is needed to hide it.
using KeyHash = std::array<unsigned char, 32>;
// A new one; only its hash is kept.
[[nodiscard]] Result<std::string> make_key();
[[nodiscard]] KeyHash hash_key(std::string_view key) noexcept;
[[nodiscard]] std::string to_text(const KeyHash& hash);  // "sha256:" and 64 hexadecimal digits
[[nodiscard]] Result<KeyHash> parse_key_hash(std::string_view text);

struct AccessKey {
  std::string name;
  KeyHash hash{};
  std::vector<Role> roles;
};

// Why a request was refused before anything of it was looked at.
enum class Denial : std::uint8_t { no_key, wrong_key, role, host, origin };
inline constexpr int kDenialCount = 5;
[[nodiscard]] std::string_view to_string(Denial denial) noexcept;
using DenialCounts = std::array<std::uint64_t, kDenialCount>;

class AccessControl {
 public:
  // Without keys everything is allowed.
  explicit AccessControl(std::vector<AccessKey> keys = {}) : keys_(std::move(keys)) {}

  [[nodiscard]] bool has_keys() const noexcept { return !keys_.empty(); }
  // `authorization` is the header's value, empty where there is none. Takes the same time whatever key
  // is sent. Errors: unauthenticated (no key, or an unknown one), permission_denied (a role lacks).
  [[nodiscard]] ApiResult<void> check(Need need, std::string_view authorization);

  void count(Denial denial) noexcept;
  [[nodiscard]] DenialCounts denials() const noexcept;

 private:
  [[nodiscard]] const AccessKey* find(std::string_view key) const noexcept;

  const std::vector<AccessKey> keys_;
  std::array<std::atomic<std::uint64_t>, kDenialCount> denials_{};
};

}  // namespace takt::server
