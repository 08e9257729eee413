// SPDX-License-Identifier: Apache-2.0
#include "core/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace takt {
namespace {

TEST(Utf8, WellFormedTextOfEveryLengthIsTaken) {
  for (const std::string text :
       {"", "plain", "\xc2\xa7", "\xe2\x82\xac", "\xf0\x9f\x94\xa7", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(text)) << text;
    EXPECT_EQ(to_utf8(text), text);
  }
}

// RFC 3629, sections 3 and 4.
TEST(Utf8, CutOffOverlongSurrogateAndTooLargeSequencesAreNot) {
  for (const std::string text :
       {"\xff", "\x80", "\xc2", "\xe2\x82", "\xf0\x9f\x94", "\xc0\xaf", "\xe0\x80\xaf",
        "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80"}) {
    EXPECT_FALSE(is_utf8(text));
    EXPECT_EQ(to_utf8("a" + text + "b"), "a" + std::string(text.size(), '?') + "b");
  }
}

}  // namespace
}  // namespace takt
