// SPDX-License-Identifier: Apache-2.0
#include "memory/slot_pool.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <set>
#include <thread>

namespace takt {
namespace {

std::shared_ptr<SlotPool> make_pool(std::vector<SizeClass> classes, std::string name = "test") {
  Result<std::shared_ptr<SlotPool>> pool = SlotPool::create(std::move(name), classes);
  EXPECT_TRUE(pool) << pool.error().message;
  return *pool;
}

Slot take(SlotPool& pool, std::size_t bytes) {
  Result<Slot> slot = pool.acquire(bytes);
  EXPECT_TRUE(slot) << slot.error().message;
  return slot ? *slot : Slot{};
}

TEST(SlotPool, HandsOutRoomOfAtLeastTheBytesAskedForOnAPageBoundary) {
  const auto pool = make_pool({{5000, 2}});
  const Slot slot = take(*pool, 4097);
  ASSERT_TRUE(slot);
  EXPECT_EQ(slot.bytes().size(), 8192);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(slot.bytes().data()) % 4096, 0);
  std::memset(slot.bytes().data(), 0xA5, slot.bytes().size());
}

TEST(SlotPool, SlotsDoNotOverlap) {
  const auto pool = make_pool({{4096, 3}, {8192, 3}});
  std::vector<Slot> slots;
  slots.reserve(6);
  for (int i = 0; i < 6; ++i) slots.push_back(take(*pool, i < 3 ? 1 : 8192));
  for (std::size_t i = 0; i < slots.size(); ++i)
    std::ranges::fill(slots[i].bytes(), static_cast<std::byte>(i));
  for (std::size_t i = 0; i < slots.size(); ++i) {
    EXPECT_TRUE(std::ranges::all_of(slots[i].bytes(),
                                    [i](std::byte b) { return b == static_cast<std::byte>(i); }));
  }
}

TEST(SlotPool, CopiesShareTheSlotAndTheLastOneReturnsIt) {
  const auto pool = make_pool({{4096, 1}});
  Slot first = take(*pool, 1);
  Slot second = first;
  EXPECT_EQ(first.bytes().data(), second.bytes().data());
  EXPECT_EQ(pool->in_use(), 1);
  first.reset();
  EXPECT_FALSE(first);
  EXPECT_EQ(pool->in_use(), 1);
  second = Slot{};
  EXPECT_EQ(pool->in_use(), 0);
}

TEST(SlotPool, AMovedFromSlotIsEmptyAndReturnsNothing) {
  const auto pool = make_pool({{4096, 1}});
  Slot first = take(*pool, 1);
  const Slot second = std::move(first);
  // NOLINTBEGIN(bugprone-use-after-move, clang-analyzer-cplusplus.Move): the state after a move is
  // the rule here.
  EXPECT_FALSE(first);
  EXPECT_TRUE(first.bytes().empty());
  EXPECT_EQ(first.generation(), 0);
  first.reset();
  // NOLINTEND(bugprone-use-after-move, clang-analyzer-cplusplus.Move)
  EXPECT_EQ(pool->in_use(), 1);
  EXPECT_TRUE(second);
}

TEST(SlotPool, AssigningASlotToItselfKeepsIt) {
  const auto pool = make_pool({{4096, 1}});
  Slot slot = take(*pool, 1);
  const Slot& same = slot;
  slot = same;
  EXPECT_TRUE(slot);
  EXPECT_EQ(pool->in_use(), 1);
}

TEST(SlotPool, AUsedUpClassIsReplacedByALargerOne) {
  const auto pool = make_pool({{16384, 1}, {4096, 1}});
  const Slot small = take(*pool, 100);
  const Slot stand_in = take(*pool, 100);
  EXPECT_EQ(small.bytes().size(), 4096);
  EXPECT_EQ(stand_in.bytes().size(), 16384);
}

TEST(SlotPool, ExhaustionIsAnErrorThatNamesPoolClassAndCount) {
  const auto pool = make_pool({{4096, 2}}, "outputs of detector 3");
  const Slot first = take(*pool, 1);
  Slot second = take(*pool, 1);
  const Result<Slot> third = pool->acquire(1);
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().kind, ErrorKind::out_of_memory);
  EXPECT_NE(third.error().message.find("outputs of detector 3"), std::string::npos);
  EXPECT_NE(third.error().message.find("all 2 slots of class 4096 bytes"), std::string::npos);
  second.reset();
  EXPECT_TRUE(pool->acquire(1)) << "a slot that came back is handed out again";
}

TEST(SlotPool, AskingForMoreThanTheLargestClassIsInvalidInput) {
  const auto pool = make_pool({{4096, 2}});
  const Result<Slot> slot = pool->acquire(4097);
  ASSERT_FALSE(slot);
  EXPECT_EQ(slot.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(slot.error().message.find("4097"), std::string::npos);
}

TEST(SlotPool, TheGenerationOfASlotRisesEachTimeItIsHandedOut) {
  const auto pool = make_pool({{4096, 1}});
  Slot slot = take(*pool, 1);
  const std::uint32_t index = slot.index();
  const std::uint32_t before = slot.generation();
  slot.reset();
  slot = take(*pool, 1);
  EXPECT_EQ(slot.index(), index);
  EXPECT_EQ(slot.generation(), before + 1);
  const Slot copy = slot;
  EXPECT_EQ(copy.generation(), before + 1) << "sharing is not handing out";
}

TEST(SlotPool, ASlotKeepsItsPoolAlive) {
  auto pool = make_pool({{4096, 1}});
  const std::weak_ptr<SlotPool> watched = pool;
  Slot slot = take(*pool, 1);
  pool.reset();
  ASSERT_FALSE(watched.expired());
  slot.bytes()[0] = std::byte{1};
  slot.reset();
  EXPECT_TRUE(watched.expired());
}

TEST(SlotPool, UseReportsEachClassWithItsHighWaterMark) {
  const auto pool = make_pool({{8192, 2}, {4096, 4}});
  {
    const Slot a = take(*pool, 1);
    const Slot b = take(*pool, 1);
    const Slot c = take(*pool, 8192);
  }
  const Slot d = take(*pool, 1);
  const std::vector<SizeClassUse> uses = pool->use();
  ASSERT_EQ(uses.size(), 2);
  EXPECT_EQ(uses[0].bytes, 4096);
  EXPECT_EQ(uses[0].count, 4);
  EXPECT_EQ(uses[0].in_use, 1);
  EXPECT_EQ(uses[0].in_use_max, 2);
  EXPECT_EQ(uses[1].bytes, 8192);
  EXPECT_EQ(uses[1].in_use, 0);
  EXPECT_EQ(uses[1].in_use_max, 1);
}

TEST(SlotPool, AnotherMappingOfTheDescriptorSeesTheSameBytes) {
  const auto pool = make_pool({{4096, 2}});
  const Slot slot = take(*pool, 1);
  slot.bytes()[17] = std::byte{42};
  void* other = ::mmap(nullptr, pool->mapped_bytes(), PROT_READ, MAP_SHARED, pool->descriptor(), 0);
  ASSERT_NE(other, MAP_FAILED);
  EXPECT_EQ(static_cast<const std::byte*>(other)[slot.index() * 4096U + 17], std::byte{42});
  ::munmap(other, pool->mapped_bytes());
}

TEST(SlotPool, TheDescriptorIsClosedWithThePool) {
  auto pool = make_pool({{4096, 1}});
  const int descriptor = pool->descriptor();
  struct stat before{};
  ASSERT_EQ(::fstat(descriptor, &before), 0);
  pool.reset();
  struct stat after{};
  // The number may have been taken again by another file, never by this one.
  EXPECT_TRUE(::fstat(descriptor, &after) != 0 || after.st_ino != before.st_ino);
}

TEST(SlotPool, UnusedSlotsCostNoMemory) {
  const auto pool = make_pool({{std::size_t{64} << 20, 64}});
  const Slot slot = take(*pool, 1);
  slot.bytes()[0] = std::byte{1};
  struct stat file{};
  ASSERT_EQ(::fstat(pool->descriptor(), &file), 0);
  EXPECT_LE(file.st_blocks * 512, 4 << 20) << "one touched page, at most one huge page";
}

TEST(SlotPool, RefusesAnEmptyOrZeroSizedLayout) {
  EXPECT_EQ(SlotPool::create("p", {}).error().kind, ErrorKind::invalid_input);
  const std::array zero_bytes{SizeClass{0, 1}};
  EXPECT_EQ(SlotPool::create("p", zero_bytes).error().kind, ErrorKind::invalid_input);
  const std::array zero_count{SizeClass{1, 0}};
  EXPECT_EQ(SlotPool::create("p", zero_count).error().kind, ErrorKind::invalid_input);
}

TEST(SlotPool, ALayoutBeyondTheAddressSpaceIsOutOfMemory) {
  for (const SizeClass huge : {SizeClass{SIZE_MAX, 1}, SizeClass{std::size_t{1} << 40, UINT32_MAX},
                               SizeClass{std::size_t{1} << 45, 3}}) {
    const std::array classes{huge, SizeClass{4096, 1}};
    const auto pool = SlotPool::create("huge", classes);
    ASSERT_FALSE(pool);
    EXPECT_EQ(pool.error().kind, ErrorKind::out_of_memory);
    EXPECT_NE(pool.error().message.find("huge"), std::string::npos);
  }
}

// Each thread writes its mark into slots that it holds and shares them with nobody: a slot that is
// handed out twice at a time is seen by a foreign mark.
TEST(SlotPool, UnderThreadsASlotHasOneHolderAndAllComeBack) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 2000;
  const auto pool = make_pool({{4096, 3}, {8192, 2}});
  std::atomic<int> foreign_marks{0};
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto mark = static_cast<std::byte>(t + 1);
      for (int i = 0; i < kRounds; ++i) {
        Result<Slot> slot = pool->acquire(i % 2 == 0 ? 64 : 8192);
        if (!slot) continue;
        ++taken;
        slot->bytes()[0] = mark;
        Slot copy = *slot;
        slot->reset();
        std::this_thread::yield();
        if (copy.bytes()[0] != mark) ++foreign_marks;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(foreign_marks, 0);
  EXPECT_GT(taken, kRounds);
  EXPECT_EQ(pool->in_use(), 0);
}

// A frame's slot goes to several tasks at once; the last of them returns it.
TEST(SlotPool, CopiesReleasedByManyThreadsReturnTheSlotOnce) {
  const auto pool = make_pool({{4096, 2}});
  for (int round = 0; round < 200; ++round) {
    Slot slot = take(*pool, 1);
    std::vector<std::thread> threads;
    threads.reserve(3);
    for (int t = 0; t < 3; ++t) threads.emplace_back([copy = slot]() mutable { copy.reset(); });
    slot.reset();
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(pool->in_use(), 0);
    const Slot a = take(*pool, 1);
    const Slot b = take(*pool, 1);
    ASSERT_NE(a.index(), b.index()) << "a slot that came back twice would be handed out twice";
  }
}

}  // namespace
}  // namespace takt
