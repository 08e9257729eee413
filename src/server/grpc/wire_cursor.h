// SPDX-License-Identifier: Apache-2.0
// Reads protobuf's wire format from bytes that lie in several pieces, as a transport received them.
// Thread-safe: plain values.
// Owns: nothing; the pieces, and the list of them, outlive every cursor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace takt::server::rpc {

using Pieces = std::span<const std::span<const std::byte>>;

enum class WireType : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

struct WireField;

// A place in the pieces, and how many bytes may be read from there.
class WireCursor {
 public:
  WireCursor() = default;
  explicit WireCursor(Pieces pieces) noexcept;

  [[nodiscard]] std::size_t left() const noexcept { return left_; }

  // The next field of a message, whole. Nothing at the end, or where the bytes are no field: they end
  // in the middle of one, a number is too large, the field has number 0 or is a group. See ok().
  [[nodiscard]] std::optional<WireField> next_field() noexcept;
  // A varint, as packed fields have them; nothing as above.
  [[nodiscard]] std::optional<std::uint64_t> next_varint() noexcept;
  // Copies the next `into.size()` bytes; false, and ok() is false, where there are fewer.
  bool copy(std::span<std::byte> into) noexcept;
  // False once bytes were left that are not what was asked for; nothing can be read then.
  [[nodiscard]] bool ok() const noexcept { return ok_; }

 private:
  std::nullopt_t broken() noexcept;
  void skip(std::size_t bytes) noexcept;
  std::optional<std::uint64_t> next_fixed(std::size_t bytes) noexcept;

  const std::span<const std::byte>* piece_ = nullptr;
  std::size_t at_ = 0;  // in *piece_
  std::size_t left_ = 0;
  bool ok_ = true;
};

struct WireField {
  std::uint32_t number = 0;
  WireType type = WireType::varint;
  std::uint64_t value = 0;  // varint, fixed32, fixed64
  WireCursor bytes;         // bytes: what the field holds
};

}  // namespace takt::server::rpc
