// SPDX-License-Identifier: Apache-2.0
#include "engine/inbox.h"

#include <gtest/gtest.h>

#include <thread>

namespace takt::engine {
namespace {

std::unique_ptr<PendingRequest> request(std::uint64_t id,
                                        const std::shared_ptr<Counters>& counters) {
  return std::make_unique<PendingRequest>(
      RequestId{id}, InferRequest{}, [](const Result<InferResult>&) {}, TimePoint{}, counters);
}

TEST(Inbox, GivesMessagesInTheOrderTheyCame) {
  Inbox inbox(4);
  ASSERT_TRUE(inbox.post_withdrawal(RequestId{1}));
  ASSERT_TRUE(inbox.post(ClockMoved{}));
  ASSERT_TRUE(inbox.post_withdrawal(RequestId{2}));
  std::vector<Message> taken;
  ASSERT_TRUE(inbox.take(taken, Duration{}));
  ASSERT_EQ(taken.size(), 3);
  EXPECT_EQ(std::get<Withdrawn>(taken[0]).request, RequestId{1});
  EXPECT_TRUE(std::holds_alternative<ClockMoved>(taken[1]));
  EXPECT_EQ(std::get<Withdrawn>(taken[2]).request, RequestId{2});
  EXPECT_EQ(inbox.depth(), 0);
}

TEST(Inbox, ARequestThatFindsNoRoomStaysWithItsCaller) {
  const auto counters = std::make_shared<Counters>();
  Inbox inbox(1);
  auto first = request(1, counters);
  EXPECT_TRUE(inbox.post_request(first));
  EXPECT_EQ(first, nullptr);
  auto second = request(2, counters);
  const Result<void> posted = inbox.post_request(second);
  ASSERT_FALSE(posted);
  EXPECT_EQ(posted.error().kind, ErrorKind::unavailable);
  EXPECT_NE(second, nullptr);
}

TEST(Inbox, ATimedTakeComesBackWithNothing) {
  Inbox inbox(1);
  std::vector<Message> taken;
  EXPECT_TRUE(inbox.take(taken, std::chrono::microseconds(10)));
  EXPECT_TRUE(taken.empty());
}

TEST(Inbox, WhatWasPostedBeforeItClosedIsStillTaken) {
  Inbox inbox(4);
  ASSERT_TRUE(inbox.post(ClockMoved{}));
  inbox.close();
  EXPECT_FALSE(inbox.post(ClockMoved{}));
  EXPECT_FALSE(inbox.post_withdrawal(RequestId{1}));
  std::vector<Message> taken;
  EXPECT_TRUE(inbox.take(taken, std::nullopt));
  EXPECT_EQ(taken.size(), 1);
  taken.clear();
  EXPECT_FALSE(inbox.take(taken, std::nullopt));
}

TEST(Inbox, NoWakeUpIsLost) {
  constexpr std::uint64_t kMessages = 20000;
  Inbox inbox(kMessages);
  std::thread producer([&] {
    for (std::uint64_t i = 0; i < kMessages; ++i) {
      EXPECT_TRUE(inbox.post_withdrawal(RequestId{i}));
      if (i % 64 == 0) std::this_thread::yield();
    }
    inbox.close();
  });
  std::uint64_t next = 0;
  std::vector<Message> taken;
  while (inbox.take(taken, std::nullopt)) {  // without a bound: a lost wake-up would hang here
    for (const Message& message : taken)
      ASSERT_EQ(std::get<Withdrawn>(message).request.value, next++);
    taken.clear();
  }
  producer.join();
  EXPECT_EQ(next, kMessages);
}

TEST(PendingRequest, AnswersWithInternalWhenItIsDestroyedUnanswered) {
  const auto counters = std::make_shared<Counters>();
  int answers = 0;
  {
    const PendingRequest lost(
        RequestId{1}, InferRequest{},
        [&](const Result<InferResult>& result) {
          ++answers;
          EXPECT_EQ(result.error().kind, ErrorKind::internal);
        },
        TimePoint{}, counters);
  }
  EXPECT_EQ(answers, 1);
  EXPECT_TRUE(counters->wait_all_answered(Duration{}));
}

TEST(Counters, WaitingForAnswersEndsWithTheLastOneOrWithItsBound) {
  Counters counters;
  counters.submitted();
  EXPECT_FALSE(counters.wait_all_answered(std::chrono::microseconds(10)));
  std::thread answering([&] { counters.answered(ErrorKind::cancelled); });
  EXPECT_TRUE(counters.wait_all_answered(std::chrono::seconds(20)));
  answering.join();
  EXPECT_EQ(counters.read().failed_by_kind[static_cast<int>(ErrorKind::cancelled)], 1);
}

}  // namespace
}  // namespace takt::engine
