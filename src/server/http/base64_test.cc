// SPDX-License-Identifier: Apache-2.0
// Base64 against the vectors of RFC 4648 and what isn't any.
#include "server/http/base64.h"

#include <gtest/gtest.h>

namespace takt::server::http {
namespace {

TEST(Base64, DecodesTheVectorsOfTheStandard) {
  EXPECT_EQ(decode_base64(""), "");
  EXPECT_EQ(decode_base64("Zg=="), "f");
  EXPECT_EQ(decode_base64("Zm8="), "fo");
  EXPECT_EQ(decode_base64("Zm9v"), "foo");
  EXPECT_EQ(decode_base64("Zm9vYg=="), "foob");
  EXPECT_EQ(decode_base64("Zm9vYmE="), "fooba");
  EXPECT_EQ(decode_base64("Zm9vYmFy"), "foobar");
}

TEST(Base64, DecodesEveryByte) {
  EXPECT_EQ(decode_base64("AAEC/f7/"), std::string("\0\1\2\xfd\xfe\xff", 6));
  EXPECT_EQ(decode_base64("++//"), "\xfb\xef\xff");
  EXPECT_EQ(decode_base64("AA=="), std::string(1, '\0')) << "a zero is no padding";
}

TEST(Base64, WhatIsNoneIsNotDecoded) {
  for (const char* text :
       {"Z",    "Zm",   "Zm9",      "Zm9vY",    "Zg=",  "=",        "==",           "===",
        "====", "Z===", "Zg==Zg==", "Z=g=",     "=Zg=", "Zm9v\n",   "Zm9v\n\n\n\n", "Zm8=\n\n\n\n",
        " Zm9", "    ", "    Zm9v", "Zm9v    ", "----", "Zm9v----", "Zm-_",         "Zm9\xff",
        "Zm9.", "Z\ng="}) {
    EXPECT_EQ(decode_base64(text), std::nullopt) << "'" << text << "'";
  }
}

}  // namespace
}  // namespace takt::server::http
