// SPDX-License-Identifier: Apache-2.0
#include "memory/frame_ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace takt {
namespace {

using Item = std::unique_ptr<int>;  // move-only, so that a lost item is a leak that ASan reports

TEST(FrameRing, HandsItemsOutInTheOrderTheyCame) {
  FrameRing<int> ring(3, RingPolicy::block);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ring.push(i), std::nullopt);
  EXPECT_EQ(ring.size(), 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ring.pop(), i);
  EXPECT_EQ(ring.try_pop(), std::nullopt);
}

TEST(FrameRing, DropOldestReturnsTheOldestQueuedItem) {
  FrameRing<int> ring(2, RingPolicy::drop_oldest);
  EXPECT_EQ(ring.push(1), std::nullopt);
  EXPECT_EQ(ring.push(2), std::nullopt);
  EXPECT_EQ(ring.push(3), 1);
  EXPECT_EQ(ring.dropped(), 1);
  EXPECT_EQ(ring.pop(), 2);
  EXPECT_EQ(ring.pop(), 3);
}

TEST(FrameRing, DropNewestHandsTheNewItemBack) {
  FrameRing<int> ring(2, RingPolicy::drop_newest);
  EXPECT_EQ(ring.push(1), std::nullopt);
  EXPECT_EQ(ring.push(2), std::nullopt);
  EXPECT_EQ(ring.push(3), 3);
  EXPECT_EQ(ring.dropped(), 1);
  EXPECT_EQ(ring.pop(), 1);
}

TEST(FrameRing, BlockWaitsUntilAConsumerMakesRoom) {
  FrameRing<int> ring(1, RingPolicy::block);
  EXPECT_EQ(ring.push(1), std::nullopt);
  std::atomic<bool> pushed{false};
  std::thread producer([&] {
    EXPECT_EQ(ring.push(2), std::nullopt);
    pushed = true;
  });
  EXPECT_EQ(ring.size(), 1) << "the second item waits outside";
  EXPECT_EQ(ring.pop(), 1);
  EXPECT_EQ(ring.pop(), 2);
  producer.join();
  EXPECT_TRUE(pushed);
  EXPECT_EQ(ring.dropped(), 0);
}

TEST(FrameRing, CloseHandsNewItemsBackAndLetsTheQueuedOnesOut) {
  FrameRing<int> ring(2, RingPolicy::drop_oldest);
  EXPECT_EQ(ring.push(1), std::nullopt);
  ring.close();
  EXPECT_EQ(ring.push(2), 2);
  EXPECT_EQ(ring.pop(), 1);
  EXPECT_EQ(ring.pop(), std::nullopt);
}

TEST(FrameRing, CloseWakesABlockedProducerAndAWaitingConsumer) {
  FrameRing<int> full(1, RingPolicy::block);
  EXPECT_EQ(full.push(1), std::nullopt);
  std::thread producer([&] { EXPECT_EQ(full.push(2), 2); });
  FrameRing<int> empty(1, RingPolicy::block);
  std::thread consumer([&] { EXPECT_EQ(empty.pop(), std::nullopt); });
  full.close();
  empty.close();
  producer.join();
  consumer.join();
}

TEST(FrameRing, ACapacityOfZeroIsOne) {
  FrameRing<int> ring(0, RingPolicy::drop_newest);
  EXPECT_EQ(ring.push(1), std::nullopt);
  EXPECT_EQ(ring.push(2), 2);
}

class FrameRingUnderThreads : public ::testing::TestWithParam<RingPolicy> {};

// One count an item: popped, given way or handed back, and never two of them.
TEST_P(FrameRingUnderThreads, EveryItemIsPoppedOrComesBackExactlyOnce) {
  constexpr int kProducers = 3;
  constexpr int kItems = 3000;  // a producer
  FrameRing<Item> ring(4, GetParam());
  std::vector<std::atomic<int>> outcomes(std::size_t{kProducers} * kItems);
  std::atomic<int> returned{0};
  std::atomic<int> popped{0};
  std::vector<std::thread> producers;
  producers.reserve(kProducers);
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kItems; ++i) {
        if (auto back = ring.push(std::make_unique<int>(p * kItems + i))) {
          ++outcomes[static_cast<std::size_t>(**back)];
          ++returned;
        }
        // Closing in the middle of the traffic is a part of the rule.
        if (p == 0 && i == kItems * 3 / 4) ring.close();
      }
    });
  }
  std::vector<std::thread> consumers;
  consumers.reserve(2);
  for (int c = 0; c < 2; ++c) {
    consumers.emplace_back([&] {
      while (auto item = ring.pop()) {
        ++outcomes[static_cast<std::size_t>(**item)];
        ++popped;
      }
    });
  }
  for (std::thread& thread : producers) thread.join();
  for (std::thread& thread : consumers) thread.join();

  for (std::size_t i = 0; i < outcomes.size(); ++i) ASSERT_EQ(outcomes[i], 1) << "item " << i;
  EXPECT_EQ(popped + returned, kProducers * kItems);
  EXPECT_GT(popped, 0);
  EXPECT_EQ(ring.size(), 0);
  if (GetParam() == RingPolicy::block) {
    EXPECT_EQ(ring.dropped(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, FrameRingUnderThreads,
                         ::testing::Values(RingPolicy::block, RingPolicy::drop_oldest,
                                           RingPolicy::drop_newest),
                         [](const auto& policy) { return std::string(to_string(policy.param)); });

TEST(RingPolicy, NamesAndPoliciesAgree) {
  for (const RingPolicy policy :
       {RingPolicy::block, RingPolicy::drop_oldest, RingPolicy::drop_newest}) {
    EXPECT_EQ(parse_ring_policy(to_string(policy)), policy);
  }
}

TEST(RingPolicy, AMistypedNameIsAnsweredWithTheNearestOne) {
  const Result<RingPolicy> policy = parse_ring_policy("drop_oldst");
  ASSERT_FALSE(policy);
  EXPECT_EQ(policy.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(policy.error().message.find("did you mean 'drop_oldest'"), std::string::npos)
      << policy.error().message;
}

}  // namespace
}  // namespace takt
