// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fair_turns.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cmath>
#include <deque>

namespace takt::scheduler {
namespace {

TEST(FairTurns, AFlowsRequestsFollowEachOther) {
  FairTurns turns;
  EXPECT_EQ(turns.next(0, 3), 0U);
  EXPECT_EQ(turns.next(0, 1), 3U);
  EXPECT_EQ(turns.next(1, 1), 0U) << "another flow begins at the virtual time";
}

TEST(FairTurns, AFlowThatPausedIsOwedNothing) {
  FairTurns turns;
  (void)turns.next(0, 1);
  turns.started(100);
  EXPECT_EQ(turns.next(0, 1), 100U);
}

TEST(FairTurns, ForgetsFlowsThatAreNotAhead) {
  FairTurns turns;
  for (std::uint64_t flow = 0; flow < 10'000; ++flow) turns.started(turns.next(flow, 1) + 1);
  EXPECT_LT(turns.flows(), 200U);
}

// Between two flows with requests waiting all the time, the rows served differ by at most the
// largest request of each (theorem 1 of Goyal, Vin and Cheng).
RC_GTEST_PROP(FairTurns, FlowsThatAlwaysWaitGetTheSameRows, ()) {
  FairTurns turns;
  struct Request {
    std::uint64_t turn = 0;
    int rows = 1;
  };
  std::array<std::deque<Request>, 3> waiting;
  std::array<int, 3> served{};
  const auto steps = *rc::gen::inRange(1, 300);
  for (int i = 0; i < steps; ++i) {
    for (std::size_t flow = 0; flow < waiting.size(); ++flow) {
      while (waiting[flow].size() < 2) {
        const int rows = *rc::gen::inRange(1, 9);
        waiting[flow].push_back({turns.next(flow, rows), rows});
      }
    }
    std::size_t next = 0;
    for (std::size_t flow = 1; flow < waiting.size(); ++flow) {
      if (waiting[flow].front().turn < waiting[next].front().turn) next = flow;
    }
    turns.started(waiting[next].front().turn);
    served[next] += waiting[next].front().rows;
    waiting[next].pop_front();
    for (const int a : served) {
      for (const int b : served) RC_ASSERT(std::abs(a - b) <= 16);
    }
  }
}

}  // namespace
}  // namespace takt::scheduler
