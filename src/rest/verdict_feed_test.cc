// SPDX-License-Identifier: Apache-2.0
#include "rest/verdict_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace takt::rest {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

line::VerdictRecord record(const std::string& part, Verdict verdict = Verdict::pass,
                           const std::string& line = "a") {
  line::VerdictRecord made;
  made.line = line;
  made.part_id = part;
  made.verdict = verdict;
  return made;
}

std::vector<std::string> parts(const VerdictFeed::Page& page) {
  std::vector<std::string> ids;
  for (const FeedEntryPtr& entry : page.entries) ids.push_back(entry->record.part_id);
  return ids;
}

std::size_t count(const std::string& text, const std::string& word) {
  std::size_t found = 0;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    ++found;
  }
  return found;
}

TEST(VerdictFeed, PagesGoBackFromTheNewest) {
  VerdictFeed feed({.kept_max = 4});
  for (int i = 1; i <= 6; ++i) feed.on_verdict(record(std::to_string(i)));
  const VerdictFeed::Page first = feed.page({}, 0, 3);
  EXPECT_THAT(parts(first), ElementsAre("6", "5", "4"));
  EXPECT_TRUE(first.more);
  const VerdictFeed::Page second = feed.page({}, first.entries.back()->id, 3);
  EXPECT_THAT(parts(second), ElementsAre("3"));  // those before are kept no longer
  EXPECT_FALSE(second.more);
}

TEST(VerdictFeed, FiltersByLineVerdictAndPart) {
  VerdictFeed feed({});
  feed.on_verdict(record("1", Verdict::pass, "a"));
  feed.on_verdict(record("2", Verdict::reject, "a"));
  feed.on_verdict(record("2", Verdict::reject, "b"));
  EXPECT_EQ(feed.page({.line = "a"}, 0, 9).entries.size(), 2U);
  EXPECT_EQ(feed.page({.line = {}, .verdict = Verdict::reject}, 0, 9).entries.size(), 2U);
  EXPECT_EQ(
      feed.page({.line = "b", .verdict = Verdict::reject, .part_id = "2"}, 0, 9).entries.size(),
      1U);
  EXPECT_EQ(feed.page({.line = "c"}, 0, 9).entries.size(), 0U);
}

TEST(VerdictFeed, AListenerHearsWhatMatchesAndIsWoken) {
  VerdictFeed feed({});
  const auto stream = feed.listen({.line = "a"}, {});
  ASSERT_TRUE(stream.has_value());
  EXPECT_EQ((*stream)->take(), "");
  int woken = 0;
  (*stream)->on_change([&woken] { ++woken; });
  feed.on_verdict(record("1", Verdict::reject, "a"));
  feed.on_verdict(record("2", Verdict::reject, "b"));
  EXPECT_EQ(woken, 1);
  const std::string text = (*stream)->take().value();
  EXPECT_THAT(text, HasSubstr("id: 1\nevent: verdict\ndata: {"));
  EXPECT_THAT(text, HasSubstr("\"part_id\":\"1\""));
  EXPECT_EQ(text.substr(text.size() - 2), "\n\n");
  EXPECT_EQ((*stream)->take(), "");
}

TEST(VerdictFeed, AListenerThatComesBackGetsWhatItMissed) {
  VerdictFeed feed({});
  for (int i = 1; i <= 5; ++i) feed.on_verdict(record(std::to_string(i)));
  const auto stream = feed.listen({}, 3);
  const std::string text = (*stream)->take().value();
  EXPECT_EQ(count(text, "event: verdict"), 2U);
  EXPECT_THAT(text, HasSubstr("id: 4"));
  EXPECT_THAT(text, HasSubstr("id: 5"));
}

TEST(VerdictFeed, AGapBehindTheLastEventIsTold) {
  VerdictFeed feed({.kept_max = 2});
  for (int i = 1; i <= 5; ++i) feed.on_verdict(record(std::to_string(i)));
  const auto stream = feed.listen({}, 1);
  EXPECT_THAT((*stream)->take().value(), HasSubstr("{\"verdicts\":2}"));  // 2 and 3
  // An id of a run before: everything that is kept is new to this listener.
  const auto back = feed.listen({}, 5000);
  const std::string text = (*back)->take().value();
  EXPECT_EQ(count(text, "event: verdict"), 2U);
  EXPECT_THAT(text, HasSubstr("{\"verdicts\":3}"));
}

TEST(VerdictFeed, PathsOfThisMachineStayHere) {
  VerdictFeed feed({});
  line::VerdictRecord made = record("1");
  made.reasons = {"task:defects failed: /srv/secret/model.onnx is damaged"};
  feed.on_verdict(made);
  EXPECT_EQ(feed.page({}, 0, 1).entries.at(0)->record.reasons.at(0).find("/srv"),
            std::string::npos);
}

TEST(VerdictFeed, ASlowListenerLosesTheOldestAndIsTold) {
  VerdictFeed feed({.unheard_max = 2});
  const auto stream = feed.listen({}, {});
  for (int i = 1; i <= 5; ++i) feed.on_verdict(record(std::to_string(i)));
  const std::string text = (*stream)->take().value();
  EXPECT_THAT(text, HasSubstr("event: lost\ndata: {\"verdicts\":3}\n\n"));
  EXPECT_EQ(count(text, "event: verdict"), 2U);
}

TEST(VerdictFeed, ListenersAreBoundedAndThoseThatLeftDontCount) {
  VerdictFeed feed({.listeners_max = 1});
  auto first = feed.listen({}, {});
  const auto second = feed.listen({}, {});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, server::ApiCode::resource_exhausted);
  first->reset();
  EXPECT_TRUE(feed.listen({}, {}).has_value());
}

TEST(VerdictFeed, ClosingEndsListeners) {
  VerdictFeed feed({});
  const auto stream = feed.listen({}, {});
  feed.on_verdict(record("1"));
  feed.close();
  EXPECT_FALSE((*stream)->take().has_value());
  EXPECT_FALSE(feed.listen({}, {}).has_value());
}

TEST(VerdictFeed, ListenersComeAndGoWhileVerdictsCome) {
  VerdictFeed feed({.kept_max = 10, .listeners_max = 8});
  std::atomic<bool> stop{false};
  std::thread line([&] {
    while (!stop) feed.on_verdict(record("x"));
  });
  std::vector<std::thread> listeners;
  for (int i = 0; i < 3; ++i) {
    listeners.emplace_back([&feed] {
      for (int round = 0; round < 200; ++round) {
        const auto stream = feed.listen({}, 0);
        ASSERT_TRUE(stream.has_value());
        std::atomic<int> woken{0};
        (*stream)->on_change([&woken] { ++woken; });
        EXPECT_TRUE((*stream)->take().has_value());
        (*stream)->on_change({});
      }
    });
  }
  for (std::thread& thread : listeners) thread.join();
  stop = true;
  line.join();
}

}  // namespace
}  // namespace takt::rest
