// SPDX-License-Identifier: Apache-2.0
#include "core/string_tensor.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

namespace takt {
namespace {

// Nothing where the bytes don't begin with a whole element. The length is read once: they may be
// memory that somebody else can write.
std::optional<std::span<const std::byte>> first_element(std::span<const std::byte> bytes) noexcept {
  if (bytes.size() < kStringLengthBytes) return std::nullopt;
  std::size_t length = 0;
  for (std::size_t i = 0; i < kStringLengthBytes; ++i) {
    length |= std::to_integer<std::size_t>(bytes[i]) << (8 * i);
  }
  if (length > bytes.size() - kStringLengthBytes) return std::nullopt;
  return bytes.subspan(kStringLengthBytes, length);
}

std::array<std::byte, kStringLengthBytes> length_bytes(std::size_t length) noexcept {
  std::array<std::byte, kStringLengthBytes> bytes{};
  for (std::size_t i = 0; i < kStringLengthBytes; ++i) {
    bytes[i] = static_cast<std::byte>(length >> (8 * i));
  }
  return bytes;
}

}  // namespace

std::optional<std::string_view> StringElements::next() noexcept {
  if (!ok_ || rest_.empty()) return std::nullopt;
  const auto element = first_element(rest_);
  ok_ = element.has_value();
  if (!ok_) return std::nullopt;
  rest_ = rest_.subspan(kStringLengthBytes + element->size());
  return std::string_view(reinterpret_cast<const char*>(element->data()), element->size());
}

Result<void> check_strings(std::span<const std::byte> bytes, std::size_t count) {
  StringElements elements(bytes);
  std::size_t found = 0;
  while (elements.next()) ++found;
  if (found == count && elements.ok()) return {};
  return fail(ErrorKind::invalid_input,
              "expected " + std::to_string(count) + " strings, got " + std::to_string(found) +
                  (elements.ok() ? ""
                                 : " and then bytes that are none: a length reaches beyond the "
                                   "end, or is cut off"));
}

std::optional<std::size_t> put_string(std::span<std::byte> room, std::size_t used,
                                      std::string_view element) noexcept {
  if (used > room.size() || room.size() - used < kStringLengthBytes) return std::nullopt;
  if (element.size() > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  if (element.size() > room.size() - used - kStringLengthBytes) return std::nullopt;
  std::ranges::copy(length_bytes(element.size()), room.data() + used);
  if (!element.empty()) {
    std::memcpy(room.data() + used + kStringLengthBytes, element.data(), element.size());
  }
  return used + kStringLengthBytes + element.size();
}

std::string shown(std::string_view element) {
  constexpr std::size_t kShownMax = 32;
  std::string text(element.substr(0, kShownMax));
  std::ranges::replace_if(text, [](char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return "'" + text + (element.size() > kShownMax ? "..." : "") + "'";
}

}  // namespace takt
