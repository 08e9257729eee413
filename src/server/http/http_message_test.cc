// SPDX-License-Identifier: Apache-2.0
// Targets as paths and queries, and what every error reply carries.
#include "server/http/http_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace takt::server::http {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

std::vector<std::string> path_of(std::string_view target) {
  const auto parsed = parse_target(target);
  EXPECT_TRUE(parsed) << target;
  return parsed ? parsed->path : std::vector<std::string>{};
}

std::map<std::string, std::string> query_of(std::string_view target) {
  const auto parsed = parse_target(target);
  EXPECT_TRUE(parsed) << target;
  return parsed ? parsed->query : std::map<std::string, std::string>{};
}

TEST(HttpTarget, IsAPathOfSegments) {
  EXPECT_THAT(path_of("/v2/models/simple/infer"), ElementsAre("v2", "models", "simple", "infer"));
  EXPECT_THAT(path_of("/v2"), ElementsAre("v2"));
  EXPECT_THAT(path_of("/"), IsEmpty());
}

TEST(HttpTarget, EmptySegmentsDontCount) {
  EXPECT_THAT(path_of("/v2/"), ElementsAre("v2"));
  EXPECT_THAT(path_of("//v2///health//live/"), ElementsAre("v2", "health", "live"));
  EXPECT_THAT(path_of("////"), IsEmpty());
}

TEST(HttpTarget, SegmentsAreDecodedAfterTheyWereSplit) {
  EXPECT_THAT(path_of("/v2/models/a%2Fb/infer"), ElementsAre("v2", "models", "a/b", "infer"));
  EXPECT_THAT(path_of("/%76%32/caf%c3%A9"), ElementsAre("v2", "caf\u00e9"));
  EXPECT_THAT(path_of("/a+b%2B%20c%25"), ElementsAre("a+b+ c%"));
  EXPECT_THAT(path_of("/a%3Fb%23c"), ElementsAre("a?b#c"));
  EXPECT_THAT(path_of("/%252e"), ElementsAre("%2e")) << "once, not twice";
}

TEST(HttpTarget, DotsAreNamesLikeOthers) {
  EXPECT_THAT(path_of("/v2/../etc/./x"), ElementsAre("v2", "..", "etc", ".", "x"));
  EXPECT_THAT(path_of("/v2/%2e%2e"), ElementsAre("v2", ".."));
}

TEST(HttpTarget, HasAQuery) {
  EXPECT_THAT(query_of("/v2?a=1&b=x+y%26z&c&d="),
              ElementsAre(Pair("a", "1"), Pair("b", "x y&z"), Pair("c", ""), Pair("d", "")));
  EXPECT_THAT(query_of("/v2?"), IsEmpty());
  EXPECT_THAT(query_of("/v2?&&"), IsEmpty());
  EXPECT_THAT(query_of("/v2?a=b=c"), ElementsAre(Pair("a", "b=c")));
  EXPECT_THAT(query_of("/v2?a=?x"), ElementsAre(Pair("a", "?x")));
  EXPECT_THAT(path_of("/v2?a=/b/c"), ElementsAre("v2"));
}

TEST(HttpTarget, AFragmentIsLeftOut) {
  EXPECT_THAT(path_of("/v2#a/b"), ElementsAre("v2"));
  EXPECT_THAT(query_of("/v2?a=1#b"), ElementsAre(Pair("a", "1")));
}

TEST(HttpTarget, WhatIsMalformedIsNone) {
  for (const std::string_view target :
       {"", "v2", "*", "http:/v2", "?a=1", "#", "/%", "/%2", "/%zz", "/%2g", "/a%", "/a%4", "/%00",
        "/a%00b", "/?a=%", "/?%=a", "/?a=%00", "/% 41"}) {
    EXPECT_FALSE(parse_target(target)) << target;
  }
  EXPECT_FALSE(parse_target(std::string_view("/a\0b", 4)));
}

TEST(HttpReply, AnErrorSaysWhenToTryAgainAndHowToSignIn) {
  const HttpReply full = error_reply({ApiCode::resource_exhausted, "full"});
  EXPECT_EQ(full.status, 503);
  EXPECT_EQ(full.body, R"({"error":"full"})");
  EXPECT_THAT(full.headers, ElementsAre(Pair("Retry-After", "1")));
  const HttpReply stranger = error_reply({ApiCode::unauthenticated, "who"});
  EXPECT_EQ(stranger.status, 401);
  EXPECT_THAT(stranger.headers, ElementsAre(Pair("WWW-Authenticate", "Bearer")));
  EXPECT_THAT(error_reply({ApiCode::unavailable, "gone"}).headers, IsEmpty());
}

TEST(HttpReply, EveryStatusThatIsSentHasAPhrase) {
  EXPECT_EQ(reason_phrase(200), "OK");
  EXPECT_EQ(reason_phrase(405), "Method Not Allowed");
  EXPECT_EQ(reason_phrase(431), "Request Header Fields Too Large");
  EXPECT_EQ(reason_phrase(599), "Internal Server Error");
  for (int code = 0; code <= static_cast<int>(ApiCode::internal); ++code) {
    EXPECT_NE(reason_phrase(http_status(static_cast<ApiCode>(code))), "Unknown") << code;
  }
}

}  // namespace
}  // namespace takt::server::http
