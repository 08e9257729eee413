// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/compile/host_threads.h"

#include "backend/cpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <latch>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace takt::cuda {
namespace {

using testing::Each;
using testing::HasSubstr;

TEST(HostThreads, AreAsManyAsTheProcessMayUseUpToALimit) {
  EXPECT_EQ(host_threads(1), 1);
  EXPECT_EQ(host_threads(0), 1);
  EXPECT_EQ(host_threads(CPU_SETSIZE), static_cast<int>(usable_cpus().size()));
}

TEST(HostThreads, EachJobIsDoneOnce) {
  std::array<std::atomic<int>, 200> times{};
  const Result<void> done = run_jobs("counting", 200, 4, [&](int job, int thread) -> Result<void> {
    EXPECT_GE(thread, 0);
    EXPECT_LT(thread, 4);
    ++times[static_cast<std::size_t>(job)];
    return {};
  });
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_THAT(std::vector<int>(times.begin(), times.end()), Each(1));
}

TEST(HostThreads, WithoutJobsNothingIsAsked) {
  EXPECT_TRUE(run_jobs("nothing", 0, 4, [](int, int) -> Result<void> {
    return fail(ErrorKind::internal, "asked");
  }));
}

// Each waits for all the others, and no thread is asked under another's number.
TEST(HostThreads, JobsRunBesideEachOtherAndThreadsHaveNumbersOfTheirOwn) {
  std::latch all(3);
  std::array<std::thread::id, 3> ids{};
  const Result<void> done = run_jobs("meeting", 3, 3, [&](int, int thread) -> Result<void> {
    ids[static_cast<std::size_t>(thread)] = std::this_thread::get_id();
    all.arrive_and_wait();
    return {};
  });
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_NE(ids[1], std::thread::id());
  EXPECT_NE(ids[2], std::thread::id());
  EXPECT_NE(ids[1], ids[2]);
}

TEST(HostThreads, AfterTheFirstErrorNoJobBegins) {
  std::vector<int> begun;
  const Result<void> done = run_jobs("failing", 9, 1, [&](int job, int) -> Result<void> {
    begun.push_back(job);
    if (job == 2) return fail(ErrorKind::device_poisoned, "job 2");
    return {};
  });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::device_poisoned);
  EXPECT_EQ(done.error().message, "job 2");
  EXPECT_EQ(begun, (std::vector<int>{0, 1, 2}));
}

TEST(HostThreads, WhatThrowsIsAnError) {
  const Result<void> full =
      run_jobs("making plans", 4, 2, [](int, int) -> Result<void> { throw std::bad_alloc(); });
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().kind, ErrorKind::out_of_memory);
  EXPECT_THAT(full.error().message, HasSubstr("making plans"));
  const Result<void> other = run_jobs(
      "making plans", 4, 2, [](int, int) -> Result<void> { throw std::runtime_error("broken"); });
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::internal);
  EXPECT_THAT(other.error().message, HasSubstr("making plans: broken"));
}

TEST(HostThreads, ProgressIsToldOnTheCallingThreadAndEndsWithAll) {
  std::vector<int> told;
  bool elsewhere = false;
  const auto caller = std::this_thread::get_id();
  const Result<void> done = run_jobs(
      "telling", 50, 3, [](int, int) -> Result<void> { return {}; },
      [&](int count, int total) {
        elsewhere = elsewhere || std::this_thread::get_id() != caller;
        EXPECT_EQ(total, 50);
        told.push_back(count);
      });
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_FALSE(elsewhere);
  EXPECT_TRUE(std::ranges::is_sorted(told));
  EXPECT_EQ(told.back(), 50);
}

}  // namespace
}  // namespace takt::cuda
