// SPDX-License-Identifier: Apache-2.0
// Tensors of strings (DataType::bytes), as the Open Inference Protocol's binary form has them and as
// they lie in slots: each element four bytes of length, little-endian, then its bytes, no padding.
// Thread-safe: pure functions.
// Owns: nothing.
#pragma once

#include "core/result.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace takt {

inline constexpr std::size_t kStringLengthBytes = 4;  // in front of each element

// Walks over the elements.
class StringElements {
 public:
  explicit StringElements(std::span<const std::byte> bytes) noexcept : rest_(bytes) {}
  // The next one; nothing at the end, or where the bytes are no further element (see ok()).
  [[nodiscard]] std::optional<std::string_view> next() noexcept;
  // False once bytes were left that are no element.
  [[nodiscard]] bool ok() const noexcept { return ok_; }

 private:
  std::span<const std::byte> rest_;
  bool ok_ = true;
};

// Whether `bytes` are exactly `count` elements. Errors: invalid_input, with how many there are.
[[nodiscard]] Result<void> check_strings(std::span<const std::byte> bytes, std::size_t count);

// Appends an element at `used` and returns what is used then; nothing when there is no room.
[[nodiscard]] std::optional<std::size_t> put_string(std::span<std::byte> room, std::size_t used,
                                                    std::string_view element) noexcept;

// An element in a message: in quotes, at most 32 characters, '?' for what isn't printable ASCII.
[[nodiscard]] std::string shown(std::string_view element);

}  // namespace takt
