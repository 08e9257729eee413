// SPDX-License-Identifier: Apache-2.0
#include "ipc/ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace takt::ipc {
namespace {

using namespace std::chrono_literals;

std::unique_ptr<RingMemory> memory() {
  return std::make_unique<RingMemory>();
}

TEST(Ring, GivesTicketsInOrderAndThenNothing) {
  const auto shared = memory();
  RingProducer producer(*shared);
  RingConsumer consumer(*shared);
  ASSERT_TRUE(producer.push({1, 0, 10}));
  ASSERT_TRUE(producer.push({2, 1, 20}));
  EXPECT_EQ(**consumer.pop(), (Ticket{1, 0, 10}));
  EXPECT_EQ(**consumer.pop(), (Ticket{2, 1, 20}));
  EXPECT_EQ(*consumer.pop(), std::nullopt);
}

TEST(Ring, RefusesWhenFullAndTakesAgain) {
  const auto shared = memory();
  RingProducer producer(*shared);
  RingConsumer consumer(*shared);
  for (std::uint64_t i = 1; i <= kRingCapacity; ++i) ASSERT_TRUE(producer.push({i, 0, 0}));
  EXPECT_EQ(producer.push({99, 0, 0}).error().kind, ErrorKind::unavailable);
  ASSERT_TRUE(*consumer.pop());
  EXPECT_TRUE(producer.push({99, 0, 0}));
}

TEST(Ring, IndicesMayWrap) {
  const auto shared = memory();
  RingProducer producer(*shared);
  RingConsumer consumer(*shared);
  for (std::uint64_t i = 1; i <= 1000; ++i) {
    ASSERT_TRUE(producer.push({i, 0, 0}));
    ASSERT_EQ((*consumer.pop())->number, i);
  }
}

TEST(Ring, AnIndexThatTheOtherSideCannotHaveWrittenIsAnError) {
  const auto shared = memory();
  RingProducer producer(*shared);
  RingConsumer consumer(*shared);
  shared->tail.store(kRingCapacity + 1);
  EXPECT_EQ(consumer.pop().error().kind, ErrorKind::internal);
  shared->head.store(5);
  EXPECT_EQ(producer.push({1, 0, 0}).error().kind, ErrorKind::internal);
}

TEST(Ring, ASleepingConsumerIsWokenForEveryTicket) {
  constexpr std::uint64_t kTickets = 20'000;
  const auto shared = memory();
  std::uint64_t taken = 0;
  std::thread consumer_thread([&] {
    RingConsumer consumer(*shared);
    while (taken < kTickets) {
      Result<std::optional<Ticket>> ticket = consumer.pop();
      ASSERT_TRUE(ticket);
      if (!*ticket) {
        consumer.wait(Duration{}, 10s);
        continue;
      }
      ASSERT_EQ((*ticket)->number, ++taken);
    }
  });
  RingProducer producer(*shared);
  for (std::uint64_t i = 1; i <= kTickets; ++i) {
    while (!producer.push({i, 0, 0})) std::this_thread::yield();
  }
  consumer_thread.join();
  EXPECT_EQ(taken, kTickets);
}

TEST(Ring, AnInterruptEndsTheWait) {
  const auto shared = memory();
  RingConsumer consumer(*shared);
  std::atomic<bool> stop{false};
  std::thread sleeper([&] {
    while (!stop) consumer.wait(Duration{}, 60s);
  });
  stop = true;
  consumer.interrupt();
  sleeper.join();
}

TEST(Ring, AWaitWithoutTicketsEnds) {
  const auto shared = memory();
  RingConsumer consumer(*shared);
  consumer.wait(10us, 1ms);
  EXPECT_EQ(*consumer.pop(), std::nullopt);
}

}  // namespace
}  // namespace takt::ipc
