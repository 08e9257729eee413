// SPDX-License-Identifier: Apache-2.0
#include "engine/inbox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <future>
#include <thread>
#include <vector>

namespace takt::engine {
namespace {

std::unique_ptr<PendingRequest> request(std::uint64_t id,
                                        const std::shared_ptr<Counters>& counters) {
  return std::make_unique<PendingRequest>(
      RequestId{id}, InferRequest{}, [](const Result<InferResult>&) {}, TimePoint{}, *counters);
}

// What a dispatcher's thread would do, on a thread of the test.
class Serving {
 public:
  Serving(Inbox& inbox, Inbox::Round round)
      : inbox_(inbox), thread_([this, round = std::move(round)]() mutable {
          inbox_.serve(clock_, std::move(round));
        }) {}
  ~Serving() {
    inbox_.close();
    thread_.join();
  }

 private:
  const SystemClock clock_;
  Inbox& inbox_;
  std::thread thread_;
};

// The first message that the dispatcher's thread sees: from then on posters take turns.
void wait_until_served(Inbox& inbox) {
  ASSERT_TRUE(inbox.post(ClockMoved{}));
  while (inbox.depth() > 0) std::this_thread::yield();
}

// `here`: set by a round on this thread, which has found that the dispatcher's thread has ended its own.
void wait_until_turn_is_free(Inbox& inbox, const std::atomic<bool>& here) {
  wait_until_served(inbox);
  while (!here) {
    static_cast<void>(inbox.post_withdrawal(RequestId{7}));  // full where that thread is slow
    std::this_thread::yield();
  }
}

TEST(Inbox, GivesMessagesInTheOrderTheyCame) {
  Inbox inbox(4);
  ASSERT_TRUE(inbox.post_withdrawal(RequestId{1}));
  ASSERT_TRUE(inbox.post(ClockMoved{}));
  ASSERT_TRUE(inbox.post_withdrawal(RequestId{2}));
  EXPECT_EQ(inbox.depth(), 3);
  inbox.close();
  std::vector<std::vector<Message>> rounds;
  inbox.serve(SystemClock(), [&](std::vector<Message>& messages, Inbox::Offer*) {
    rounds.push_back(std::move(messages));
    return kNever;
  });
  ASSERT_EQ(rounds.size(), 1);
  ASSERT_EQ(rounds[0].size(), 3);
  EXPECT_EQ(std::get<Withdrawn>(rounds[0][0]).request, RequestId{1});
  EXPECT_TRUE(std::holds_alternative<ClockMoved>(rounds[0][1]));
  EXPECT_EQ(std::get<Withdrawn>(rounds[0][2]).request, RequestId{2});
  EXPECT_EQ(inbox.depth(), 0);
}

TEST(Inbox, ARequestThatFindsNoRoomStaysWithItsCaller) {
  const auto counters = std::make_shared<Counters>();
  Inbox inbox(1);
  auto first = request(1, counters);
  EXPECT_TRUE(inbox.post_request(first, {}));
  EXPECT_EQ(first, nullptr);
  auto second = request(2, counters);
  const Result<void> posted = inbox.post_request(second, {});
  ASSERT_FALSE(posted);
  EXPECT_EQ(posted.error().kind, ErrorKind::overloaded);
  EXPECT_NE(second, nullptr);
}

TEST(Inbox, LowerClassesLeaveRoomForHigherOnes) {
  const auto counters = std::make_shared<Counters>();
  Inbox inbox(8);
  std::uint64_t id = 0;
  const auto post_all = [&](PriorityClass priority) {
    int posted = 0;
    while (true) {
      auto made = request(++id, counters);
      made->request.priority = priority;
      if (!inbox.post_request(made, {})) return posted;
      ++posted;
    }
  };
  EXPECT_EQ(post_all(PriorityClass::background), 5);
  EXPECT_EQ(post_all(PriorityClass::normal), 1);
  EXPECT_EQ(post_all(PriorityClass::high), 1);
  EXPECT_EQ(post_all(PriorityClass::critical), 1);
}

TEST(Inbox, WhoeverFindsNobodyAtWorkWorksItself) {
  Inbox inbox(4);
  std::atomic<int> here = 0;
  const Serving serving(
      inbox, [&, poster = std::this_thread::get_id()](std::vector<Message>&, Inbox::Offer*) {
        if (std::this_thread::get_id() == poster) ++here;
        return kNever;
      });
  wait_until_served(inbox);
  // The dispatcher's thread may still be about to end its turn.
  for (std::uint64_t i = 0; here == 0 && i < 1'000'000; ++i) {
    ASSERT_TRUE(inbox.post_withdrawal(RequestId{i}));
    while (inbox.depth() > 0) std::this_thread::yield();
  }
  EXPECT_EQ(here, 1);
}

// Counts withdrawals, and on which thread they were worked on.
struct Seen {
  Inbox::Round round() {
    return [this](std::vector<Message>& messages, Inbox::Offer*) {
      for (const Message& message : messages) {
        if (!std::holds_alternative<Withdrawn>(message)) continue;
        thread = std::this_thread::get_id();
        ++count;
      }
      return kNever;
    };
  }
  std::atomic<int> count = 0;
  std::atomic<std::thread::id> thread;
};

// Of one who looks: afterwards the dispatcher's thread has ended its own turn and sleeps.
void take_a_turn(Inbox& inbox, const Seen& seen) {
  while (seen.thread.load() != std::this_thread::get_id()) {
    static_cast<void>(inbox.post_withdrawal(RequestId{1}));  // full while the other has its turn
    inbox.look();
  }
}

TEST(Inbox, WhileSomebodyLooksPostersLeaveTheTurnToThem) {
  Inbox inbox(4);
  Seen seen;
  const Serving serving(inbox, seen.round());
  wait_until_served(inbox);
  inbox.start_looking();
  take_a_turn(inbox, seen);
  const int before = seen.count;
  std::thread poster([&] { EXPECT_TRUE(inbox.post_withdrawal(RequestId{1})); });
  poster.join();
  EXPECT_EQ(seen.count, before);
  EXPECT_TRUE(inbox.something_posted());
  inbox.look();
  EXPECT_EQ(seen.count, before + 1);
  EXPECT_FALSE(inbox.something_posted());
  inbox.stop_looking();
}

TEST(Inbox, WhoeverStopsLookingTakesTheTurnThatWasLeftToThem) {
  Inbox inbox(4);
  Seen seen;
  const Serving serving(inbox, seen.round());
  wait_until_served(inbox);
  inbox.start_looking();
  take_a_turn(inbox, seen);
  const int before = seen.count;
  ASSERT_TRUE(inbox.post_withdrawal(RequestId{1}));
  EXPECT_EQ(seen.count, before);
  inbox.stop_looking();
  EXPECT_EQ(seen.count, before + 1);
}

TEST(Inbox, NoMessageIsLeftWhereLookersComeAndGo) {
  constexpr std::uint64_t kMessages = 50000;
  Inbox inbox(kMessages);
  Seen seen;
  const Serving serving(inbox, seen.round());
  wait_until_served(inbox);
  std::atomic<bool> posting = true;
  std::thread looker([&] {
    while (posting) {
      inbox.start_looking();
      if (inbox.something_posted()) inbox.look();
      inbox.stop_looking();
    }
  });
  for (std::uint64_t i = 0; i < kMessages; ++i) {
    ASSERT_TRUE(inbox.post_withdrawal(RequestId{i}));
    // One that nobody saw would wait for the next, so each is waited for now and then.
    if (i % 16 == 0) {
      while (inbox.depth() > 0) std::this_thread::yield();
    }
  }
  posting = false;
  looker.join();
  while (seen.count < static_cast<int>(kMessages)) std::this_thread::yield();
  EXPECT_EQ(seen.count, static_cast<int>(kMessages));
}

TEST(Inbox, WhatARoundPostsIsWorkedOnInTheNext) {
  Inbox inbox(4);
  int depth = 0;
  int rounds = 0;
  std::promise<void> done;
  const Serving serving(inbox, [&](std::vector<Message>& messages, Inbox::Offer*) {
    EXPECT_EQ(++depth, 1) << "a round within a round";
    for (const Message& message : messages) {
      if (!std::holds_alternative<Withdrawn>(message)) continue;
      if (++rounds == 1000) done.set_value();
      if (rounds < 1000 && !inbox.post_withdrawal(RequestId{1})) ADD_FAILURE() << "not posted";
    }
    --depth;
    return kNever;
  });
  wait_until_served(inbox);
  ASSERT_TRUE(inbox.post_withdrawal(RequestId{1}));  // comes back long before the 1000th
  EXPECT_EQ(done.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

TEST(Inbox, TheTimerOfAnyTurnIsKept) {
  const SystemClock clock;
  Inbox inbox(4);
  TimePoint due = kNever;
  std::promise<void> fired;
  const Serving serving(inbox, [&](std::vector<Message>& messages, Inbox::Offer*) {
    if (messages.empty()) {
      EXPECT_LE(due, clock.now());
      fired.set_value();
      due = kNever;
    } else if (std::holds_alternative<Withdrawn>(messages.front())) {
      due = clock.now() + std::chrono::milliseconds(1);
    }
    return due;
  });
  wait_until_served(inbox);
  ASSERT_TRUE(inbox.post_withdrawal(RequestId{1}));
  EXPECT_EQ(fired.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

TEST(Inbox, WhatWasPostedBeforeItClosedIsStillTaken) {
  Inbox inbox(4);
  ASSERT_TRUE(inbox.post(ClockMoved{}));
  inbox.close();
  EXPECT_FALSE(inbox.post(ClockMoved{}));
  EXPECT_FALSE(inbox.post_withdrawal(RequestId{1}));
  std::size_t taken = 0;
  inbox.serve(SystemClock(), [&](std::vector<Message>& messages, Inbox::Offer*) {
    taken += messages.size();
    return kNever;
  });
  EXPECT_EQ(taken, 1);
}

TEST(Inbox, NoMessageIsLostAndNoneOvertakesWhereverItIsWorkedOn) {
  constexpr std::uint64_t kMessages = 20000;
  constexpr std::uint64_t kProducers = 3;
  Inbox inbox(kProducers * kMessages);
  std::array<std::uint64_t, kProducers> next{};
  std::atomic<std::uint64_t> seen = 0;
  std::atomic<int> at_work = 0;
  std::vector<std::thread> producers;
  {
    const Serving serving(inbox, [&](std::vector<Message>& messages, Inbox::Offer*) {
      EXPECT_EQ(++at_work, 1);
      for (const Message& message : messages) {
        const std::uint64_t number = std::get<Withdrawn>(message).request.value;
        EXPECT_EQ(number / kProducers, next[number % kProducers]++);
        ++seen;
      }
      --at_work;
      return kNever;
    });
    for (std::uint64_t p = 0; p < kProducers; ++p) {
      producers.emplace_back([&inbox, p] {
        for (std::uint64_t i = 0; i < kMessages; ++i) {
          EXPECT_TRUE(inbox.post_withdrawal(RequestId{i * kProducers + p}));
          if (i % 64 == 0) std::this_thread::yield();
        }
      });
    }
    for (std::thread& producer : producers) producer.join();
  }
  EXPECT_EQ(seen, kProducers * kMessages);
}

TEST(Inbox, RequestsOfABurstAreWorkedOnTogetherWhenItEnds) {
  const auto counters = std::make_shared<Counters>();
  Inbox inbox(64);
  std::atomic<bool> here = false;   // the dispatcher's thread has ended its turn
  std::vector<std::size_t> rounds;  // of this thread
  const Serving serving(
      inbox, [&, own = std::this_thread::get_id()](auto& messages, Inbox::Offer* /*offer*/) {
        if (std::this_thread::get_id() != own) return kNever;
        here = true;
        rounds.push_back(messages.size());
        return kNever;
      });
  wait_until_turn_is_free(inbox, here);
  rounds.clear();
  for (const std::uint64_t id : {1, 2, 3}) {
    auto made = request(id, counters);
    made->request.more_come = true;
    ASSERT_TRUE(inbox.post_request(made, {}));
  }
  EXPECT_EQ(inbox.depth(), 3);
  EXPECT_TRUE(rounds.empty());
  inbox.flush({});
  EXPECT_EQ(rounds, std::vector<std::size_t>{3});
  inbox.flush({});
  EXPECT_EQ(rounds.size(), 1) << "nothing was left";
}

TEST(Inbox, WhoeverFlushesDoesTheErrandThatItOffersTimeFor) {
  const auto counters = std::make_shared<Counters>();
  Inbox inbox(64);
  std::atomic<bool> here = false;
  int offers = 0;
  int errands = 0;
  const Serving serving(
      inbox, [&, own = std::this_thread::get_id()](std::vector<Message>&, Inbox::Offer* offer) {
        if (std::this_thread::get_id() != own) return kNever;
        here = true;
        if (offer == nullptr) return kNever;
        ++offers;
        EXPECT_EQ(offer->spare, std::chrono::microseconds(50));
        for (int i = 0; i < 2; ++i) {
          offer->errands.emplace_back([&] {
            ++errands;
            EXPECT_TRUE(inbox.post_withdrawal(RequestId{8})) << "the turn is free again";
          });
        }
        return kNever;
      });
  wait_until_turn_is_free(inbox, here);
  EXPECT_EQ(offers, 0) << "those that don't flush offer nothing";
  auto made = request(1, counters);
  made->request.more_come = true;
  ASSERT_TRUE(inbox.post_request(made, {}));
  inbox.flush(std::chrono::microseconds(50));
  EXPECT_EQ(offers, 1);
  EXPECT_EQ(errands, 2);
}

TEST(Inbox, WhateverIsDecidedTakesABurstAlong) {
  const auto counters = std::make_shared<Counters>();
  Inbox inbox(64);
  std::atomic<std::size_t> seen = 0;
  const Serving serving(inbox, [&](const std::vector<Message>& messages, Inbox::Offer*) {
    seen += messages.size();
    return kNever;
  });
  wait_until_served(inbox);
  auto made = request(1, counters);
  made->request.more_come = true;
  ASSERT_TRUE(inbox.post_request(made, {}));
  ASSERT_TRUE(inbox.post_withdrawal(RequestId{7}));
  while (seen < 3) std::this_thread::yield();
  EXPECT_EQ(inbox.depth(), 0);
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
        TimePoint{}, *counters);
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
