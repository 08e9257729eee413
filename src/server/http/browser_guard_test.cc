// SPDX-License-Identifier: Apache-2.0
#include "server/http/browser_guard.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

namespace takt::server::http {
namespace {

std::string outcome(const BrowserGuard& guard, std::string_view host, std::string_view origin) {
  const auto checked = guard.check(host, origin);
  return checked ? "yes" : std::string(to_string(checked.error().reason));
}

TEST(BrowserGuard, PicturesAndScriptsOfOtherPagesBringNoOrigin) {
  const BrowserGuard guard({});
  EXPECT_TRUE(guard.check("localhost", "", ""));
  EXPECT_TRUE(guard.check("localhost", "", "none"));
  EXPECT_TRUE(guard.check("localhost", "", "same-origin"));
  for (const char* site : {"cross-site", "same-site"}) {
    const auto checked = guard.check("localhost", "", site);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().reason, Denial::origin);
  }
}

TEST(BrowserGuard, ClientsThatAreNoBrowsersAreLetThrough) {
  const BrowserGuard guard({});
  for (const char* host :
       {"", "localhost", "localhost:8000", "LocalHost:8000", "localhost.:8000", "127.0.0.1:8000",
        "192.168.3.4", "[::1]:8000", "[fe80::1]", "0.0.0.0:1"}) {
    EXPECT_EQ(outcome(guard, host, ""), "yes") << host;
  }
  std::array<char, 256> machine{};
  ASSERT_EQ(::gethostname(machine.data(), machine.size() - 1), 0);
  EXPECT_EQ(outcome(guard, machine.data(), ""), "yes");
  EXPECT_EQ(outcome(guard, std::string(machine.data()) + ":8000", ""), "yes");
}

// A name that somebody else can bind to this machine's address.
TEST(BrowserGuard, NamesThatAreNotThisServersAreRefused) {
  const BrowserGuard guard({});
  for (const char* host :
       {"rebound.example", "rebound.example:8000", "localhost.example", "127.0.0.1.example",
        "127.0.0.1:8000.example", "127.0.0.1:x", "[::1", "[::1]x", "[::1].example", "::1", "127.1",
        "localhost:8000:9", "localhost/", "user@localhost", ":8000", "[]"}) {
    EXPECT_EQ(outcome(guard, host, ""), "host") << host;
    EXPECT_EQ(outcome(guard, host, std::string("http://") + host), "host") << host;
  }
}

TEST(BrowserGuard, FurtherNamesAreConfigured) {
  const BrowserGuard guard(
      {.tls = false, .check_host = true, .hosts = {"Gateway.Plant"}, .origins = {}});
  EXPECT_EQ(outcome(guard, "gateway.plant:8000", ""), "yes");
  EXPECT_EQ(outcome(guard, "gateway.plant:8000", "http://gateway.plant:8000"), "yes");
  EXPECT_EQ(outcome(guard, "other.plant:8000", ""), "host");
}

TEST(BrowserGuard, PagesOfOtherSitesAreRefused) {
  const BrowserGuard guard({});
  for (const char* origin :
       {"http://evil.example", "https://evil.example", "null", "http://localhost",
        "http://127.0.0.1:8000", "http://localhost:8001", "https://localhost:8000",
        "http://localhost:8000.evil.example", "http://localhost:8000, http://evil.example",
        "file://", "localhost:8000", " "}) {
    EXPECT_EQ(outcome(guard, "localhost:8000", origin), "origin") << origin;
  }
  EXPECT_EQ(outcome(guard, "", "http://"), "origin") << "no Host is no name of its own";
  EXPECT_EQ(outcome(guard, "localhost:8000", "http://localhost:8000"), "yes");
  EXPECT_EQ(outcome(guard, "localhost:8000", "HTTP://LOCALHOST:8000"), "yes");
}

TEST(BrowserGuard, FurtherOriginsAreConfigured) {
  const BrowserGuard guard(
      {.tls = false, .check_host = true, .hosts = {}, .origins = {"https://Panel.Plant:8443"}});
  EXPECT_EQ(outcome(guard, "localhost:8000", "https://panel.plant:8443"), "yes");
  EXPECT_EQ(outcome(guard, "localhost:8000", "https://panel.plant"), "origin");
  EXPECT_EQ(outcome(guard, "rebound.example", "https://panel.plant:8443"), "host");
}

TEST(BrowserGuard, WhereClientsNeedAKeyAnyNameWillDo) {
  const BrowserGuard guard({.tls = true, .check_host = false, .hosts = {}, .origins = {}});
  EXPECT_EQ(outcome(guard, "gateway.plant", ""), "yes");
  EXPECT_EQ(outcome(guard, "gateway.plant", "https://gateway.plant"), "yes");
  EXPECT_EQ(outcome(guard, "gateway.plant", "http://gateway.plant"), "origin");
  EXPECT_EQ(outcome(guard, "gateway.plant", "https://evil.example"), "origin");
}

TEST(BrowserGuard, KnowsNamesAndOriginsFromOtherTexts) {
  EXPECT_TRUE(is_host_name("gateway-2.plant_a.example"));
  for (const char* text : {"", "a b", "a:80", "http://a", "a/b", "*"})
    EXPECT_FALSE(is_host_name(text));
  EXPECT_TRUE(is_origin("https://panel.plant"));
  EXPECT_TRUE(is_origin("http://panel.plant:80"));
  for (const char* text : {"", "panel.plant", "https://", "https://a/", "https://a/b",
                           "https://a:b", "ftp://a", "*", "null", "https://*.plant"}) {
    EXPECT_FALSE(is_origin(text)) << text;
  }
}

}  // namespace
}  // namespace takt::server::http
