// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4): names for what a plan file keeps, and the sum that guards it.
// Thread-safe: plain values; a Sha256 is one thread's.
// Owns: the state of OpenSSL's.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace takt::cuda {

using Digest = std::array<std::byte, 32>;

class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  // The digest so far; nothing more is added afterwards.
  [[nodiscard]] Digest finish();

 private:
  struct Free {
    void operator()(void* context) const noexcept;
  };
  std::unique_ptr<void, Free> context_;
};

[[nodiscard]] Digest sha256(std::span<const std::byte> bytes);
[[nodiscard]] std::string to_hex(const Digest& digest);  // 64 small letters and digits
[[nodiscard]] std::string sha256_hex(std::string_view text);

}  // namespace takt::cuda
