// SPDX-License-Identifier: Apache-2.0
#include "line/file_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::line {
namespace {

using ::testing::HasSubstr;

TEST(FilePattern, PutsTheIdIntoTheName) {
  const Result<FilePattern> pattern = parse_file_pattern("{id}_test.png");
  ASSERT_TRUE(pattern.has_value());
  EXPECT_EQ(pattern->file_of("/boards", "17"), "/boards/17_test.png");
}

TEST(FilePattern, MayNameASubfolderOrOneFileForAll) {
  EXPECT_EQ(parse_file_pattern("golden/t{id}.png")->file_of("/b", "17"), "/b/golden/t17.png");
  EXPECT_EQ(parse_file_pattern("golden.png")->file_of("/b", "17"), "/b/golden.png");
}

TEST(FilePattern, ThatCouldLeaveTheFolderIsRefused) {
  for (const char* text :
       {"", "a/", "../{id}.png", "a/../../{id}.png", "/etc/{id}", "{id}/x.png", "{id}_{id}.png"}) {
    const Result<FilePattern> pattern = parse_file_pattern(text);
    ASSERT_FALSE(pattern.has_value()) << text;
    EXPECT_THAT(pattern.error().message, HasSubstr("{id}_test.png")) << text;
  }
}

}  // namespace
}  // namespace takt::line
