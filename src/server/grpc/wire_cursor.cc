// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/wire_cursor.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

namespace takt::server::rpc {

static_assert(std::endian::native == std::endian::little, "the wire's fixed numbers are copied");

WireCursor::WireCursor(Pieces pieces) noexcept : piece_(pieces.data()) {
  for (const std::span<const std::byte> piece : pieces) left_ += piece.size();
}

std::nullopt_t WireCursor::broken() noexcept {
  ok_ = false;
  left_ = 0;
  return std::nullopt;
}

void WireCursor::skip(std::size_t bytes) noexcept {
  left_ -= bytes;
  while (bytes > 0) {
    const std::size_t here = std::min(bytes, piece_->size() - at_);
    at_ += here;
    bytes -= here;
    if (bytes > 0) {
      ++piece_;
      at_ = 0;
    }
  }
}

bool WireCursor::copy(std::span<std::byte> into) noexcept {
  if (into.size() > left_) {
    broken();
    return false;
  }
  left_ -= into.size();
  while (!into.empty()) {
    const std::size_t here = std::min(into.size(), piece_->size() - at_);
    if (here > 0) std::memcpy(into.data(), piece_->data() + at_, here);
    at_ += here;
    into = into.subspan(here);
    if (!into.empty()) {
      ++piece_;
      at_ = 0;
    }
  }
  return true;
}

std::optional<std::uint64_t> WireCursor::next_varint() noexcept {
  constexpr unsigned kLastShift = 63;  // the tenth byte has room for one bit
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift <= kLastShift && left_ > 0; shift += 7) {
    while (at_ == piece_->size()) {
      ++piece_;
      at_ = 0;
    }
    const auto byte = std::to_integer<std::uint64_t>((*piece_)[at_]);
    ++at_;
    --left_;
    if (shift == kLastShift && byte > 1) break;
    value |= (byte & 0x7fU) << shift;
    if (byte < 0x80U) return value;
  }
  return broken();
}

std::optional<std::uint64_t> WireCursor::next_fixed(std::size_t bytes) noexcept {
  std::array<std::byte, 8> raw{};
  if (!copy(std::span(raw).first(bytes))) return std::nullopt;
  return std::bit_cast<std::uint64_t>(raw);
}

std::optional<WireField> WireCursor::next_field() noexcept {
  if (left_ == 0) return std::nullopt;
  const std::optional<std::uint64_t> tag = next_varint();
  if (!tag || *tag > std::numeric_limits<std::uint32_t>::max() || *tag >> 3U == 0) return broken();
  WireField field;
  field.number = static_cast<std::uint32_t>(*tag >> 3U);
  field.type = static_cast<WireType>(*tag & 7U);
  std::optional<std::uint64_t> value;
  switch (field.type) {
    case WireType::varint:
    case WireType::bytes:
      value = next_varint();
      break;
    case WireType::fixed64:
      value = next_fixed(8);
      break;
    case WireType::fixed32:
      value = next_fixed(4);
      break;
    default:
      return broken();
  }
  if (!value) return std::nullopt;
  if (field.type != WireType::bytes) {
    field.value = *value;
    return field;
  }
  if (*value > left_) return broken();
  field.bytes = *this;
  field.bytes.left_ = static_cast<std::size_t>(*value);
  skip(static_cast<std::size_t>(*value));
  return field;
}

}  // namespace takt::server::rpc
