// SPDX-License-Identifier: Apache-2.0
#include "server/access.h"

#include <gmock/gmock.h>

#include <set>

namespace takt::server {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

AccessKey key_of(const std::string& key, std::vector<Role> roles) {
  return {key + "'s owner", hash_key(key), std::move(roles)};
}

// What a request got: the code's name, or "yes".
std::string outcome(AccessControl& access, Need need, const std::string& authorization) {
  const ApiResult<void> checked = access.check(need, authorization);
  return checked ? "yes" : std::string(to_string(checked.error().code));
}

TEST(AccessKeys, AreRandomAndKnownByTheirHashAlone) {
  std::set<std::string> made;
  for (int i = 0; i < 100; ++i) made.insert(make_key().value());
  EXPECT_EQ(made.size(), 100U);
  const std::string& key = *made.begin();
  EXPECT_THAT(key, StartsWith("takt_"));
  EXPECT_EQ(key.size(), 5U + 64U);
  const KeyHash hash = hash_key(key);
  EXPECT_EQ(parse_key_hash(to_text(hash)).value(), hash);
  EXPECT_NE(hash_key(key + "x"), hash);
}

TEST(AccessKeys, AreHashedAsOtherToolsDoIt) {
  EXPECT_EQ(to_text(hash_key("abc")),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(AccessKeys, WhatIsNoHashIsRefusedAndNotRepeated) {
  const std::string digits(64, 'a');
  EXPECT_TRUE(parse_key_hash("sha256:" + digits));
  EXPECT_TRUE(parse_key_hash("sha256:" + std::string(64, 'A')));
  for (const std::string& text :
       {std::string(), digits, "sha1:" + digits, "sha256:" + digits + "a",
        "sha256:" + digits.substr(1), "sha256:" + digits.substr(1) + "g",
        "sha256:" + digits.substr(2) + "-1", std::string("takt_secret")}) {
    const auto parsed = parse_key_hash(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_THAT(parsed.error().message, HasSubstr("64 hexadecimal digits"));
    EXPECT_THAT(parsed.error().message, ::testing::Not(HasSubstr("secret")));
  }
}

TEST(AccessKeys, RolesHaveTheirWords) {
  EXPECT_EQ(parse_role("infer").value(), Role::infer);
  EXPECT_EQ(parse_role("read").value(), Role::read);
  EXPECT_EQ(parse_role("operate").value(), Role::operate);
  EXPECT_THAT(parse_role("admin").error().message, HasSubstr("infer, read or operate"));
}

TEST(AccessControl, WithoutKeysEverythingIsAllowed) {
  AccessControl access;
  EXPECT_FALSE(access.has_keys());
  for (const Need need : {Need::nothing, Need::any_key, Need::infer, Need::read, Need::operate}) {
    EXPECT_EQ(outcome(access, need, ""), "yes");
    EXPECT_EQ(outcome(access, need, "Bearer whatever"), "yes");
  }
}

TEST(AccessControl, EachRoleGrantsWhatItSays) {
  AccessControl access({key_of("i", {Role::infer}), key_of("r", {Role::read}),
                        key_of("o", {Role::operate}), key_of("io", {Role::infer, Role::operate})});
  struct Row {
    const char* key;
    const char* infer;
    const char* read;
    const char* operate;
  };
  constexpr const char* kNo = "permission_denied";
  for (const Row& row : {Row{"i", "yes", kNo, kNo}, Row{"r", kNo, "yes", kNo},
                         Row{"o", kNo, "yes", "yes"}, Row{"io", "yes", "yes", "yes"}}) {
    const std::string sent = std::string("Bearer ") + row.key;
    EXPECT_EQ(outcome(access, Need::nothing, sent), "yes") << row.key;
    EXPECT_EQ(outcome(access, Need::any_key, sent), "yes") << row.key;
    EXPECT_EQ(outcome(access, Need::infer, sent), row.infer) << row.key;
    EXPECT_EQ(outcome(access, Need::read, sent), row.read) << row.key;
    EXPECT_EQ(outcome(access, Need::operate, sent), row.operate) << row.key;
  }
  EXPECT_THAT(access.check(Need::operate, "Bearer i").error().message,
              HasSubstr("the role operate"));
}

TEST(AccessControl, WithoutAKnownKeyOnlyLifeIsTold) {
  AccessControl access({key_of("secret", {Role::infer, Role::operate})});
  for (const std::string sent :
       {"", "secret", "Bearer", "Bearer ", "Bearer wrong", "Bearer Secret", "Bearer secret2",
        "Bearer secre", "Basic secret", "Bearersecret", "Bearer secret, Bearer x"}) {
    EXPECT_EQ(outcome(access, Need::nothing, sent), "yes") << sent;
    EXPECT_EQ(outcome(access, Need::any_key, sent), "unauthenticated") << sent;
    EXPECT_EQ(outcome(access, Need::infer, sent), "unauthenticated") << sent;
  }
  EXPECT_EQ(outcome(access, Need::infer, "Bearer secret"), "yes");
  EXPECT_EQ(outcome(access, Need::infer, "bearer   secret "), "yes") << "the scheme has no case";
  // The hash must be as good as no key at all.
  EXPECT_EQ(outcome(access, Need::infer, "Bearer " + to_text(hash_key("secret"))),
            "unauthenticated");
}

TEST(AccessControl, CountsWhatItRefusesByReason) {
  AccessControl access({key_of("i", {Role::infer})});
  static_cast<void>(outcome(access, Need::infer, "Bearer i"));
  static_cast<void>(outcome(access, Need::infer, ""));
  static_cast<void>(outcome(access, Need::infer, "Bearer x"));
  static_cast<void>(outcome(access, Need::infer, "Bearer y"));
  static_cast<void>(outcome(access, Need::read, "Bearer i"));
  access.count(Denial::origin);
  EXPECT_EQ(access.denials(), (DenialCounts{1, 2, 1, 0, 1}));
  EXPECT_EQ(to_string(Denial::wrong_key), "wrong_key");
}

}  // namespace
}  // namespace takt::server
