// SPDX-License-Identifier: Apache-2.0
// Bodies there and back, and those that are damaged or made to fill the memory.
#include "server/http/compression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <array>
#include <random>

namespace takt::server::http {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kEnough = std::size_t{1} << 24;
constexpr int kRawBits = -15;

std::string packed(std::string_view text, Coding coding) {
  const std::array parts{text};
  return compress(parts, coding);
}

// By zlib itself, with any window.
std::string deflated(std::string_view text, int window_bits, int level = Z_DEFAULT_COMPRESSION) {
  z_stream stream{};
  EXPECT_EQ(::deflateInit2(&stream, level, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string made(::deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(made.data());
  stream.avail_out = static_cast<uInt>(made.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  made.resize(stream.total_out);
  ::deflateEnd(&stream);
  return made;
}

std::string error_of(std::string_view body, Coding coding, std::size_t bytes_max = kEnough,
                     ApiCode code = ApiCode::invalid_argument) {
  const auto got = decompress(body, coding, bytes_max);
  if (got) return "unpacked " + std::to_string(got->size()) + " bytes";
  EXPECT_EQ(got.error().code, code);
  return got.error().message;
}

std::string noise(std::size_t bytes) {
  std::mt19937 random(7);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

TEST(Compression, WhatIsPackedIsUnpacked) {
  for (const Coding coding : {Coding::gzip, Coding::deflate}) {
    for (const std::string& text : {std::string(), std::string("a"), std::string(100'000, 'x'),
                                    noise(300'000), std::string(std::size_t{64} << 10, 'y')}) {
      const auto got = decompress(packed(text, coding), coding, kEnough);
      ASSERT_TRUE(got) << got.error().message;
      EXPECT_EQ(*got, text);
    }
  }
}

TEST(Compression, PartsArePackedAsOne) {
  const std::string large = noise(200'000);
  const std::array<std::string_view, 4> parts{"{}", "", large, "end"};
  const auto got = decompress(compress(parts, Coding::gzip), Coding::gzip, kEnough);
  ASSERT_TRUE(got);
  EXPECT_EQ(*got, "{}" + large + "end");
}

TEST(Compression, DeflateIsTakenWithAndWithoutItsHeader) {
  const std::string text = noise(5000) + std::string(5000, 'x');
  for (const int level : {0, 1, 6, 9}) {
    for (const int bits : {15, 9, kRawBits, -9}) {
      const auto got = decompress(deflated(text, bits, level), Coding::deflate, kEnough);
      ASSERT_TRUE(got) << level << " " << bits << ": " << got.error().message;
      EXPECT_EQ(*got, text);
    }
  }
}

TEST(Compression, AGzipBodyMayHaveSeveralMembers) {
  const auto got = decompress(
      packed("first,", Coding::gzip) + packed("", Coding::gzip) + packed("second", Coding::gzip),
      Coding::gzip, kEnough);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(*got, "first,second");
}

TEST(Compression, ABombIsStoppedAtTheLimit) {
  const std::string bomb = deflated(std::string(std::size_t{32} << 20, '\0'), 31, 9);
  EXPECT_LT(bomb.size(), std::size_t{1} << 20);
  EXPECT_THAT(error_of(bomb, Coding::gzip, std::size_t{1} << 20, ApiCode::payload_too_large),
              HasSubstr("more than 1048576 bytes, decompressed"));
  std::string members;
  for (int i = 0; i < 8; ++i) members += packed(std::string(200'000, 'x'), Coding::gzip);
  EXPECT_THAT(error_of(members, Coding::gzip, std::size_t{1} << 20, ApiCode::payload_too_large),
              HasSubstr("decompressed"));
}

TEST(Compression, TheLimitItselfIsTaken) {
  const std::string text(1000, 'x');
  EXPECT_TRUE(decompress(packed(text, Coding::gzip), Coding::gzip, 1000));
  EXPECT_THAT(error_of(packed(text, Coding::gzip), Coding::gzip, 999, ApiCode::payload_too_large),
              HasSubstr("more than 999 bytes"));
  EXPECT_TRUE(decompress(packed("", Coding::deflate), Coding::deflate, 0));
}

TEST(Compression, EveryCutOffBodyIsRefused) {
  const std::string text = noise(300) + std::string(300, 'x');
  for (const auto& [body, coding] : {std::pair{packed(text, Coding::gzip), Coding::gzip},
                                     std::pair{packed(text, Coding::deflate), Coding::deflate},
                                     std::pair{deflated(text, kRawBits), Coding::deflate}}) {
    for (std::size_t length = 0; length < body.size(); ++length) {
      ASSERT_THAT(error_of(std::string_view(body).substr(0, length), coding),
                  HasSubstr("can't be decompressed"))
          << length << " of " << body.size();
    }
  }
}

TEST(Compression, DamagedBodiesAreRefused) {
  EXPECT_THAT(error_of("not gzip at all", Coding::gzip), HasSubstr("can't be decompressed"));
  EXPECT_THAT(error_of(std::string(100, '\xff'), Coding::deflate),
              HasSubstr("can't be decompressed"));
  EXPECT_THAT(error_of(packed("text", Coding::deflate), Coding::gzip),
              HasSubstr("can't be decompressed"));
  std::string body = packed(std::string(1000, 'x'), Coding::gzip);
  body[body.size() - 6] ^= 1;  // the checksum
  EXPECT_THAT(error_of(body, Coding::gzip), HasSubstr("can't be decompressed"));
}

TEST(Compression, WhatFollowsTheEndIsRefused) {
  EXPECT_THAT(error_of(packed("text", Coding::gzip) + "more", Coding::gzip),
              HasSubstr("can't be decompressed"));
  EXPECT_THAT(error_of(packed("text", Coding::deflate) + "more", Coding::deflate),
              HasSubstr("can't be decompressed"));
}

TEST(Compression, NoMutationOfABodyHurts) {
  const std::string body = packed(noise(500) + std::string(5000, 'x'), Coding::gzip);
  std::mt19937 random(11);
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = body;
    for (int flips = 0; flips < 3; ++flips) {
      damaged[random() % damaged.size()] ^= static_cast<char>(1U << (random() % 8));
    }
    const Coding coding = random() % 2 == 0 ? Coding::gzip : Coding::deflate;
    const auto got = decompress(damaged, coding, 10'000);
    EXPECT_TRUE(!got || got->size() <= 10'000);
  }
}

TEST(Coding, NamesAreThoseOfHttp) {
  EXPECT_EQ(parse_coding(""), Coding::identity);
  EXPECT_EQ(parse_coding("Identity"), Coding::identity);
  EXPECT_EQ(parse_coding("gzip"), Coding::gzip);
  EXPECT_EQ(parse_coding("X-GZip"), Coding::gzip);
  EXPECT_EQ(parse_coding("deflate"), Coding::deflate);
  EXPECT_EQ(parse_coding("br"), std::nullopt);
  EXPECT_EQ(parse_coding("gzip, deflate"), std::nullopt) << "one after the other isn't done";
  EXPECT_EQ(to_string(Coding::gzip), "gzip");
  EXPECT_EQ(to_string(Coding::deflate), "deflate");
}

TEST(Coding, TheFirstThatIsAcceptedIsChosen) {
  EXPECT_EQ(choose_coding(""), Coding::identity);
  EXPECT_EQ(choose_coding("gzip"), Coding::gzip);
  EXPECT_EQ(choose_coding("deflate, gzip"), Coding::deflate);
  EXPECT_EQ(choose_coding("br, zstd ,gzip"), Coding::gzip);
  EXPECT_EQ(choose_coding("br;q=1.0, gzip;q=0.8, *;q=0.1"), Coding::gzip);
  EXPECT_EQ(choose_coding("GZIP ; q=0.001"), Coding::gzip);
  EXPECT_EQ(choose_coding("identity"), Coding::identity);
  EXPECT_EQ(choose_coding("*"), Coding::identity);
  EXPECT_EQ(choose_coding(",, ,;q=1,"), Coding::identity);
}

TEST(Coding, AQualityOfZeroIsARefusal) {
  for (const char* accepted :
       {"gzip;q=0", "gzip;q=0.0", "gzip; q=0.000", "gzip ;Q=0", "gzip;q=0."}) {
    EXPECT_EQ(choose_coding(accepted), Coding::identity) << accepted;
  }
  EXPECT_EQ(choose_coding("gzip;q=0, deflate"), Coding::deflate);
}

}  // namespace
}  // namespace takt::server::http
