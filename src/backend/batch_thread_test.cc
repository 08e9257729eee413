// SPDX-License-Identifier: Apache-2.0
#include "backend/batch_thread.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <latch>

namespace takt {
namespace {

using namespace std::chrono_literals;

BatchOutcome succeed(BatchView) {
  return {};
}

TEST(BatchThread, RunsTheBatchOnAThreadOfItsOwn) {
  std::atomic<bool> elsewhere{false};
  const auto caller = std::this_thread::get_id();
  auto thread = BatchThread::create("test", {}, Duration{}, [&](BatchView) {
    elsewhere = std::this_thread::get_id() != caller;
    return BatchOutcome{};
  });
  ASSERT_TRUE(thread.has_value());
  std::latch done(1);
  ASSERT_TRUE((*thread)->start({}, [&](const BatchOutcome&) { done.count_down(); }).has_value());
  done.wait();
  EXPECT_TRUE(elsewhere);
}

TEST(BatchThread, RefusesASecondBatchUntilTheFirstHasRun) {
  std::latch release(1);
  std::latch done(1);
  auto thread = BatchThread::create("test", {}, Duration{}, [&](BatchView) {
    release.wait();
    return BatchOutcome{};
  });
  ASSERT_TRUE((*thread)->start({}, [&](const BatchOutcome&) { done.count_down(); }).has_value());
  const Result<void> second =
      (*thread)->start({}, [](const BatchOutcome&) { ADD_FAILURE() << "completed"; });
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().kind, ErrorKind::unavailable);
  release.count_down();
  done.wait();
}

TEST(BatchThread, TakesTheNextBatchFromInsideTheCompletion) {
  auto thread = BatchThread::create("test", {}, Duration{}, succeed);
  std::latch done(1);
  Result<void> nested;
  ASSERT_TRUE((*thread)->start({}, [&](const BatchOutcome&) {
    nested = (*thread)->start({}, [&](const BatchOutcome&) { done.count_down(); });
    if (!nested) done.count_down();
  }));
  done.wait();
  EXPECT_TRUE(nested.has_value());
}

TEST(BatchThread, CompletesWhatWasStartedBeforeItEnds) {
  std::atomic<int> completed{0};
  for (int i = 0; i < 200; ++i) {
    auto thread = BatchThread::create("test", {}, Duration{}, succeed);
    ASSERT_TRUE((*thread)->start({}, [&](const BatchOutcome&) { ++completed; }).has_value());
  }
  EXPECT_EQ(completed, 200);
}

TEST(BatchThread, TakesBatchesWhileItLooksAndWhenItSleeps) {
  for (const Duration spin : {Duration(1), Duration(100us), Duration(1h)}) {
    auto thread = BatchThread::create("test", {}, spin, succeed);
    ASSERT_TRUE(thread.has_value());
    for (int i = 0; i < 200; ++i) {
      std::latch done(1);
      ASSERT_TRUE((*thread)->start({}, [&](const BatchOutcome&) { done.count_down(); }));
      done.wait();
    }
  }  // and ends at once
}

TEST(BatchThread, KeepsToItsCpus) {
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  int last = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) last = CPU_ISSET(cpu, &allowed) ? cpu : last;
  std::latch done(1);
  cpu_set_t seen;
  CPU_ZERO(&seen);
  const std::vector<int> cpus{last};
  auto thread = BatchThread::create("test", cpus, Duration{}, [&](BatchView) {
    sched_getaffinity(0, sizeof seen, &seen);
    return BatchOutcome{};
  });
  ASSERT_TRUE(thread.has_value()) << thread.error().message;
  ASSERT_TRUE((*thread)->start({}, [&](const BatchOutcome&) { done.count_down(); }).has_value());
  done.wait();
  EXPECT_EQ(CPU_COUNT(&seen), 1);
  EXPECT_TRUE(CPU_ISSET(last, &seen));
}

TEST(BatchThread, RefusesACpuThatDoesNotExist) {
  const std::vector<int> cpus{CPU_SETSIZE - 1};
  const auto thread = BatchThread::create("test", cpus, Duration{}, succeed);
  ASSERT_FALSE(thread.has_value());
  EXPECT_EQ(thread.error().kind, ErrorKind::unavailable);
}

}  // namespace
}  // namespace takt
