// SPDX-License-Identifier: Apache-2.0
#include "line/zip_archive.h"

#include "line/review_fixture.h"

#include <gmock/gmock.h>

namespace takt::line {
namespace {

constexpr std::size_t kBytesMax = 10'000;

TEST(ZipArchive, WhatGoesInComesOut) {
  ZipArchive zip(kBytesMax);
  const std::string text(5'000, 'a');
  std::string noise;
  for (int i = 0; i < 3'000; ++i) noise += static_cast<char>(i * i % 251);
  ASSERT_TRUE(zip.add("images/noise.bin", noise, ZipMethod::store, 1'700'000'000));
  ASSERT_TRUE(zip.add("empty.txt", "", ZipMethod::deflate, 0));
  ASSERT_TRUE(zip.add("text.txt", text, ZipMethod::deflate, 1'700'000'000));
  const auto bytes = zip.finish();
  ASSERT_TRUE(bytes) << bytes.error().message;
  EXPECT_LT(bytes->size(), 4'000U) << "the text was compressed, and nothing fills blocks up";
  EXPECT_EQ(unzip(*bytes),
            (std::map<std::string, std::string>{
                {"images/noise.bin", noise}, {"empty.txt", ""}, {"text.txt", text}}));
}

TEST(ZipArchive, AnArchiveOfNothingIsOne) {
  const auto bytes = ZipArchive(kBytesMax).finish();
  ASSERT_TRUE(bytes);
  EXPECT_TRUE(unzip(*bytes).empty());
}

TEST(ZipArchive, ItStaysBelowItsBytes) {
  ZipArchive zip(kBytesMax);
  ASSERT_TRUE(zip.add("a", std::string(6'000, 'a'), ZipMethod::store, 0));
  const auto refused = zip.add("b", std::string(6'000, 'b'), ZipMethod::store, 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::overloaded);
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("10000"));
  EXPECT_FALSE(zip.add("c", "", ZipMethod::store, 0)) << "half a file is in it";
  EXPECT_FALSE(zip.finish());
  EXPECT_LE(zip.bytes(), kBytesMax);
}

// The directory at the end counts too.
TEST(ZipArchive, ADirectoryThatDoesNotFitIsNoticed) {
  ZipArchive zip(6'100);
  ASSERT_TRUE(zip.add("a", std::string(6'000, 'a'), ZipMethod::store, 0));
  const auto bytes = zip.finish();
  ASSERT_FALSE(bytes);
  EXPECT_EQ(bytes.error().kind, ErrorKind::overloaded);
}

}  // namespace
}  // namespace takt::line
