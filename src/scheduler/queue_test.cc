// SPDX-License-Identifier: Apache-2.0
#include "scheduler/queue.h"

#include "scheduler/indexed_heap.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>

namespace takt::scheduler {
namespace {

TimePoint at(std::int64_t ns) {
  return TimePoint(Duration(ns));
}

class Queue {
 public:
  std::uint32_t insert(PriorityClass priority, std::int64_t deadline_ns, int rows = 1) {
    const Urgency urgency{priority, at(deadline_ns), 0, ++arrivals_};
    const std::uint32_t index = pool.acquire(RequestId{arrivals_}, ModelId{0}, urgency, rows);
    queue.insert(index);
    return index;
  }
  void erase(std::uint32_t index) {
    queue.erase(index);
    pool.release(index);
  }

  RequestPool pool;
  ModelQueue queue{pool};

 private:
  std::uint64_t arrivals_ = 0;
};

TEST(ModelQueue, ServesByClassThenDeadlineThenArrival) {
  Queue q;
  const auto normal_early = q.insert(PriorityClass::normal, 10);
  const auto critical_late = q.insert(PriorityClass::critical, 100);
  const auto critical_early = q.insert(PriorityClass::critical, 50);
  const auto critical_early_2 = q.insert(PriorityClass::critical, 50);
  for (const auto expected : {critical_early, critical_early_2, critical_late, normal_early}) {
    ASSERT_EQ(q.queue.first(), expected);
    q.erase(expected);
  }
  EXPECT_TRUE(q.queue.empty());
  EXPECT_EQ(q.queue.first(), kNoRequest);
}

TEST(ModelQueue, ReusesTheRoomOfRequestsThatLeft) {
  Queue q;
  const auto first = q.insert(PriorityClass::normal, 1);
  q.erase(first);
  EXPECT_EQ(q.insert(PriorityClass::normal, 2), first);
  EXPECT_EQ(q.pool.in_use(), 1U);
}

// Against a sorted vector, under random inserts and erases.
RC_GTEST_PROP(ModelQueue, AgreesWithASortedVector, ()) {
  Queue q;
  std::vector<std::uint32_t> sorted;
  const auto before = [&](std::uint32_t a, std::uint32_t b) {
    return q.pool[a].urgency < q.pool[b].urgency;
  };
  const auto steps = *rc::gen::inRange(0, 200);
  for (int i = 0; i < steps; ++i) {
    if (sorted.empty() || *rc::gen::inRange(0, 3) != 0) {
      const auto priority = static_cast<PriorityClass>(*rc::gen::inRange(0, 4));
      const auto index = q.insert(priority, *rc::gen::inRange(0, 40), *rc::gen::inRange(1, 5));
      sorted.insert(std::ranges::upper_bound(sorted, index, before), index);
    } else {
      const auto victim = *rc::gen::inRange<std::size_t>(0, sorted.size());
      q.erase(sorted[victim]);
      sorted.erase(sorted.begin() + static_cast<std::ptrdiff_t>(victim));
    }
    RC_ASSERT(q.queue.first() == (sorted.empty() ? kNoRequest : sorted.front()));
    RC_ASSERT(q.queue.depth() == static_cast<int>(sorted.size()));
    std::int64_t rows = 0;
    for (const std::uint32_t index : sorted) {
      RC_ASSERT(q.queue.first_after_rows(rows) == index);
      rows += q.pool[index].rows;
      RC_ASSERT(q.queue.rows_up_to(q.pool[index].urgency) == rows);
    }
    RC_ASSERT(q.queue.rows() == rows);
    RC_ASSERT(q.queue.first_after_rows(rows) == kNoRequest);
  }
}

RC_GTEST_PROP(IndexedHeap, AgreesWithAMap, ()) {
  IndexedHeap<int> heap;
  std::map<std::uint32_t, int> keys;
  const auto steps = *rc::gen::inRange(0, 300);
  for (int i = 0; i < steps; ++i) {
    const auto id = *rc::gen::inRange<std::uint32_t>(0, 20);
    if (*rc::gen::inRange(0, 3) == 0) {
      heap.erase(id);
      keys.erase(id);
    } else {
      const int key = *rc::gen::inRange(0, 30);
      heap.set(id, key);
      keys[id] = key;
    }
    RC_ASSERT(heap.size() == keys.size());
    RC_ASSERT(heap.contains(id) == keys.contains(id));
    if (keys.empty()) continue;
    const auto least = std::ranges::min_element(
        keys, [](const auto& a, const auto& b) { return a.second < b.second; });
    RC_ASSERT(heap.top() == least->first);  // of equal keys the lowest id
    RC_ASSERT(heap.top_key() == least->second);
  }
}

}  // namespace
}  // namespace takt::scheduler
