// SPDX-License-Identifier: Apache-2.0
#include "line/store.h"

#include "line/record_fixture.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace takt::line {
namespace {

std::int64_t count(const std::filesystem::path& path, const std::string& what) {
  SQLite::Database db(path.string());
  return db.execAndGet("SELECT count(*) FROM " + what).getInt64();
}

TEST(Store, KeepsVerdictDetectionsTasksAndPictures) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "takt.sqlite";
  std::vector<std::uint64_t> acknowledged;
  const auto acknowledge = [&](std::string_view, FrameSeq seq) {
    acknowledged.push_back(seq.value);
  };
  const Image board(8, 6, PixelFormat::gray8, 255);
  {
    const auto store = std::move(*Store::open({.path = path}, acknowledge));
    VerdictRecord rejected = sample_record("pcb", 1);
    rejected.images.push_back({"board", board.view(), {}});
    VerdictRecord passed = sample_record("pcb", 2, Verdict::pass);
    passed.images.push_back({"board", board.view(), {}});
    ASSERT_TRUE(store->write(rejected));
    ASSERT_TRUE(store->write(passed));
    EXPECT_TRUE(acknowledged.empty()) << "nothing is acknowledged before the commit";
    ASSERT_TRUE(store->flush());
    EXPECT_EQ(acknowledged, (std::vector<std::uint64_t>{1, 2}));
    EXPECT_EQ(store->counts().stored, 2U);
  }
  EXPECT_EQ(count(path, "verdicts"), 2);
  EXPECT_EQ(count(path, "detections"), 2);
  EXPECT_EQ(count(path, "tasks WHERE error_kind = 'deadline_exceeded'"), 2);
  EXPECT_EQ(count(path, "pictures WHERE width = 8 AND height = 6"), 1)
      << "a passed frame keeps no picture";
}

TEST(Store, TheSameVerdictTwiceIsOneRow) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "takt.sqlite";
  for (int run = 0; run < 2; ++run) {
    const auto store = std::move(*Store::open({.path = path}, {}));
    ASSERT_TRUE(store->write(sample_record("pcb", 1)));
    ASSERT_TRUE(store->flush());
  }
  EXPECT_EQ(count(path, "verdicts"), 1);
  EXPECT_EQ(count(path, "detections"), 1);
}

TEST(Store, KnowsTheHighestNumberOfEachLine) {
  const TemporaryDirectory directory;
  const auto store = std::move(*Store::open({.path = directory.path() / "takt.sqlite"}, {}));
  EXPECT_TRUE(store->last_seqs()->empty());
  for (const auto& [line, seq] : {std::pair{"a", 3}, {"a", 12}, {"b", 7}, {"a", 5}, {"c", 1}}) {
    ASSERT_TRUE(store->write(sample_record(line, static_cast<std::uint64_t>(seq))));
  }
  ASSERT_TRUE(store->flush());
  const std::map<std::string, FrameSeq> expected{
      {"a", FrameSeq{12}}, {"b", FrameSeq{7}}, {"c", FrameSeq{1}}};
  EXPECT_EQ(*store->last_seqs(), expected);
}

TEST(Store, TheOldestGoWhenTheLimitIsReached) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "takt.sqlite";
  {
    const auto store = std::move(*Store::open({.path = path, .verdicts_max = 10}, {}));
    for (std::uint64_t seq = 1; seq <= 25; ++seq) {
      ASSERT_TRUE(store->write(sample_record("pcb", seq)));
      ASSERT_TRUE(store->flush());
    }
  }
  EXPECT_EQ(count(path, "verdicts"), 10);
  EXPECT_EQ(count(path, "verdicts WHERE seq > 15"), 10);
  EXPECT_EQ(count(path, "detections"), 10) << "what belongs to a removed verdict goes with it";
}

// What is left of a frame would be taken for another of its pictures.
TEST(Store, TheOldestPicturesGoAFrameAtATime) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "takt.sqlite";
  const Image board(8, 6, PixelFormat::gray8, 255);
  const auto store = std::move(*Store::open({.path = path, .pictures_max = 5}, {}));
  for (std::uint64_t seq = 1; seq <= 4; ++seq) {
    VerdictRecord record = sample_record("pcb", seq);
    record.images = {{"board", board.view(), {}}, {"golden", board.view(), {}}};
    ASSERT_TRUE(store->write(record));
    ASSERT_TRUE(store->flush());
  }
  EXPECT_EQ(count(path, "pictures"), 4);
  EXPECT_EQ(count(path, "pictures WHERE verdict_id > 2"), 4);
  EXPECT_EQ(count(path, "verdicts"), 4);
}

TEST(Store, AFileThatIsNoDatabaseIsRefusedWithARemedy) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "notes.txt";
  std::ofstream(path) << std::string(4096, 'x');
  const auto store = Store::open({.path = path}, {});
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().kind, ErrorKind::invalid_input);
  EXPECT_NE(store.error().message.find("notes.txt"), std::string::npos);
  EXPECT_NE(store.error().message.find("store.path"), std::string::npos);
}

TEST(Store, AStoreOfANewerTaktIsRefused) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "takt.sqlite";
  {
    ASSERT_TRUE(Store::open({.path = path}, {}));
  }
  {
    SQLite::Database(path.string(), SQLite::OPEN_READWRITE).exec("PRAGMA user_version = 99");
  }
  const auto store = Store::open({.path = path}, {});
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message.find("newer takt"), std::string::npos);
}

// Another connection holds the write lock: commits fail, nothing is acknowledged, and all of it is there afterwards.
TEST(Store, WhatCouldNotBeCommittedIsTriedAgainAndNotAcknowledgedBefore) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "takt.sqlite";
  int acknowledged = 0;
  const auto store = std::move(
      *Store::open({.path = path, .busy_timeout = std::chrono::milliseconds(1), .pending_max = 3},
                   [&](std::string_view, FrameSeq) { ++acknowledged; }));
  {
    SQLite::Database other(path.string(), SQLite::OPEN_READWRITE);
    other.exec("BEGIN IMMEDIATE");
    for (std::uint64_t seq = 1; seq <= 5; ++seq) {
      (void)store->write(sample_record("pcb", seq));
      const Result<void> flushed = store->flush();
      ASSERT_FALSE(flushed);
      EXPECT_EQ(flushed.error().kind, ErrorKind::unavailable);
    }
    EXPECT_EQ(acknowledged, 0);
    other.exec("ROLLBACK");
  }
  ASSERT_TRUE(store->flush());
  EXPECT_EQ(acknowledged, 3);
  EXPECT_EQ(store->counts().left_to_journal, 2U)
      << "the memory for what waits is bounded; the journal has the rest";
  EXPECT_EQ(store->counts().failures, 5U);
}

}  // namespace
}  // namespace takt::line
