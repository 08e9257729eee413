// SPDX-License-Identifier: Apache-2.0
#include "core/string_tensor.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace takt {
namespace {

using Strings = std::vector<std::string>;

// Bytes as text in which a length is written out: "\3\0\0\0abc".
std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

constexpr std::string_view kTwo("\3\0\0\0abc\1\0\0\0d", 12);

Strings elements_of(std::span<const std::byte> bytes, bool ok = true) {
  StringElements elements(bytes);
  Strings found;
  while (const auto element = elements.next()) found.emplace_back(*element);
  EXPECT_EQ(elements.ok(), ok);
  EXPECT_EQ(elements.next(), std::nullopt) << "the end stays the end";
  EXPECT_EQ(elements.ok(), ok);
  return found;
}

std::string refusal(std::string_view text, std::size_t count) {
  const Result<void> checked = check_strings(bytes_of(text), count);
  if (checked) return "accepted";
  EXPECT_EQ(checked.error().kind, ErrorKind::invalid_input);
  return checked.error().message;
}

TEST(StringElements, EachIsALengthAndItsBytes) {
  EXPECT_EQ(elements_of(bytes_of(kTwo)), (Strings{"abc", "d"}));
  EXPECT_EQ(elements_of({}), Strings{});
}

TEST(StringElements, MayBeEmptyAndMayHoldAnyByte) {
  const std::string_view text("\0\0\0\0\2\0\0\0\0\xff\0\0\0\0", 14);
  EXPECT_EQ(elements_of(bytes_of(text)), (Strings{"", std::string("\0\xff", 2), ""}));
}

TEST(StringElements, TheLengthIsLittleEndian) {
  std::vector<std::byte> bytes = bytes_of(std::string_view("\2\1\0\0", 4));
  bytes.resize(4 + 0x102, std::byte{'x'});
  EXPECT_EQ(elements_of(bytes), Strings{std::string(0x102, 'x')});
}

TEST(StringElements, EndWhereALengthLies) {
  EXPECT_EQ(elements_of(bytes_of({"\1\0\0\0a\4\0\0\0bcd", 12}), false), Strings{"a"});
  EXPECT_EQ(elements_of(bytes_of({"\xff\xff\xff\xff", 4}), false), Strings{});
  EXPECT_EQ(elements_of(bytes_of({"\xff\xff\xff\xff"
                                  "abcd",
                                  8}),
                        false),
            Strings{});
}

TEST(StringElements, EndWhereALengthIsCutOff) {
  for (std::size_t left = 1; left < 4; ++left) {
    EXPECT_EQ(elements_of(bytes_of(kTwo.substr(0, 7 + left)), false), Strings{"abc"});
  }
}

TEST(CheckStrings, CountsThem) {
  EXPECT_EQ(refusal(kTwo, 2), "accepted");
  EXPECT_EQ(refusal("", 0), "accepted");
  EXPECT_EQ(refusal(kTwo, 1), "expected 1 strings, got 2");
  EXPECT_EQ(refusal(kTwo, 3), "expected 3 strings, got 2");
  EXPECT_EQ(refusal("", 1), "expected 1 strings, got 0");
}

TEST(CheckStrings, NothingMayFollow) {
  EXPECT_TRUE(
      refusal(std::string(kTwo) + '\0', 2).starts_with("expected 2 strings, got 2 and then"))
      << refusal(std::string(kTwo) + '\0', 2);
  EXPECT_TRUE(refusal(kTwo.substr(0, 11), 2).starts_with("expected 2 strings, got 1 and then"));
}

TEST(PutString, WritesWhatTheWalkReads) {
  std::array<std::byte, 64> room{};
  std::size_t used = 0;
  const Strings strings{"abc", "", std::string("\0\n", 2), std::string(20, 'y')};
  for (const std::string& element : strings) used = put_string(room, used, element).value();
  EXPECT_EQ(used, 4 * 4 + 3 + 0 + 2 + 20);
  EXPECT_EQ(elements_of(std::span(room).first(used)), strings);
}

TEST(PutString, FillsARoomToItsLastByteAndNotBeyond) {
  std::array<std::byte, 16> room{};
  const std::span<std::byte> exact = std::span(room).first(12);
  EXPECT_EQ(put_string(exact, 5, "abc"), 12U);
  EXPECT_EQ(put_string(exact, 8, ""), 12U);
  room.fill(std::byte{7});
  EXPECT_EQ(put_string(exact, 5, "abcd"), std::nullopt);
  EXPECT_EQ(put_string(exact, 9, ""), std::nullopt) << "no room for the length";
  EXPECT_EQ(put_string(exact, 12, ""), std::nullopt);
  EXPECT_EQ(put_string(exact, 13, ""), std::nullopt) << "more used than there is";
  for (const std::byte byte : room)
    EXPECT_EQ(byte, std::byte{7}) << "what has no room is not begun";
}

TEST(Shown, IsShortAndPrintable) {
  EXPECT_EQ(shown("twelve"), "'twelve'");
  EXPECT_EQ(shown(std::string_view("a\0b\x7f-\xc3", 6)), "'a?b?-?'");
  EXPECT_EQ(shown(std::string(32, 'z')), "'" + std::string(32, 'z') + "'");
  EXPECT_EQ(shown(std::string(33, 'z')), "'" + std::string(32, 'z') + "...'");
}

}  // namespace
}  // namespace takt
