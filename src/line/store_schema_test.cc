// SPDX-License-Identifier: Apache-2.0
#include "line/store_schema.h"

#include "line/record_fixture.h"
#include "line/review_desk.h"
#include "line/store.h"

#include <gtest/gtest.h>

namespace takt::line {
namespace {

// As version 1 made it. Not what the steps begin with, so that a change there is noticed.
constexpr const char* kVersion1 = R"sql(
CREATE TABLE verdicts (
  id INTEGER PRIMARY KEY, line TEXT NOT NULL, seq INTEGER NOT NULL, frame TEXT NOT NULL, part_id TEXT NOT NULL,
  trigger_seq INTEGER NOT NULL, recipe TEXT NOT NULL, captured_us INTEGER NOT NULL, verdict TEXT NOT NULL,
  route TEXT NOT NULL, reasons TEXT NOT NULL, by_fallback INTEGER NOT NULL, distance REAL,
  latency_us INTEGER NOT NULL, lateness_us INTEGER NOT NULL,
  UNIQUE (line, seq));
CREATE INDEX verdicts_by_time ON verdicts (captured_us);
CREATE INDEX verdicts_by_part ON verdicts (part_id);
CREATE TABLE detections (
  verdict_id INTEGER NOT NULL REFERENCES verdicts (id) ON DELETE CASCADE, number INTEGER NOT NULL,
  task TEXT NOT NULL, class TEXT NOT NULL, score REAL NOT NULL,
  x1 REAL NOT NULL, y1 REAL NOT NULL, x2 REAL NOT NULL, y2 REAL NOT NULL,
  PRIMARY KEY (verdict_id, number)) WITHOUT ROWID;
CREATE TABLE tasks (
  verdict_id INTEGER NOT NULL REFERENCES verdicts (id) ON DELETE CASCADE, task TEXT NOT NULL, model TEXT NOT NULL,
  version INTEGER NOT NULL, error_kind TEXT, error TEXT, total_us INTEGER NOT NULL, compute_us INTEGER NOT NULL,
  requests INTEGER NOT NULL,
  PRIMARY KEY (verdict_id, task)) WITHOUT ROWID;
CREATE TABLE pictures (
  id INTEGER PRIMARY KEY, verdict_id INTEGER NOT NULL REFERENCES verdicts (id) ON DELETE CASCADE, role TEXT NOT NULL,
  width INTEGER NOT NULL, height INTEGER NOT NULL, png BLOB NOT NULL,
  UNIQUE (verdict_id, role));
INSERT INTO verdicts VALUES
  (3, 'pcb', 40, 'f40', 'p40', 40, 'r', 1000, 'review', 'bin', '["task:a late"]', 1, NULL, 15, -2),
  (4, 'pcb', 41, 'f41', 'p41', 41, 'r', 1001, 'pass', '', '[]', 0, 0.5, 15, -2),
  (5, 'pcb', 42, 'f42', 'p42', 42, 'r', 1002, 'reject', 'bin', '["rule:open"]', 0, 0.5, 15, -2);
INSERT INTO detections VALUES (5, 0, 'defects', 'open', 0.75, 1, 2, 3, 4);
INSERT INTO tasks VALUES (3, 'a', 'm', 1, 'deadline_exceeded', 'late', 9, 8, 1), (5, 'a', 'm', 1, NULL, NULL, 9, 8, 1);
INSERT INTO pictures VALUES (1, 5, 'board', 8, 6, x'504e47');
PRAGMA user_version = 1;
)sql";

TEST(StoreSchema, AStoreOfVersion1KeepsAllItsRowsAndCanBeReviewed) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "takt.sqlite";
  SQLite::Database(path.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE).exec(kVersion1);

  const auto store = Store::open({.path = path}, {});
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_EQ((*store)->last_seqs()->at("pcb"), FrameSeq{42});
  const SystemClock clock;
  const auto desk = ReviewDesk::open({.path = path}, clock);
  ASSERT_TRUE(desk) << desk.error().message;

  const auto page =
      (*desk)->list({.verdicts = {Verdict::review, Verdict::reject}, .decided = false});
  ASSERT_TRUE(page);
  ASSERT_EQ(page->items.size(), 2U);
  EXPECT_EQ(page->items[0].id, 3);
  EXPECT_EQ(page->items[0].record.tasks.at(0).error->kind, ErrorKind::deadline_exceeded);
  const ReviewItem& rejected = page->items[1];
  EXPECT_EQ(rejected.record.reasons, std::vector<std::string>{"rule:open"});
  EXPECT_EQ(rejected.record.detections.at(0).box, (Box{1, 2, 3, 4}));
  EXPECT_EQ((*desk)->picture(5, "board")->size(), 3U);
  EXPECT_EQ((*desk)->item(4)->record.verdict, Verdict::pass);
  EXPECT_TRUE((*desk)->decide(3, {.decision = Verdict::pass, .by = "anna"}));
  EXPECT_TRUE((*store)->write(sample_record("pcb", 43)) && (*store)->flush());
  EXPECT_EQ((*desk)->item(6)->record.seq, FrameSeq{43});
}

std::string tables(const std::filesystem::path& path) {
  std::string out;
  SQLite::Database db(path.string());
  SQLite::Statement rows(db, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name");
  while (rows.executeStep()) out += rows.getColumn(0).getString() + '\n';
  return out;
}

TEST(StoreSchema, AnOldStoreBecomesWhatANewOneIs) {
  const TemporaryDirectory directory;
  SQLite::Database old((directory.path() / "old").string(),
                       SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  old.exec(kVersion1);
  bring_up_to_date(old);
  SQLite::Database fresh((directory.path() / "new").string(),
                         SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  bring_up_to_date(fresh);
  bring_up_to_date(fresh);  // nothing to do
  EXPECT_EQ(tables(directory.path() / "old"), tables(directory.path() / "new"));
}

// Half of a step must not be left behind.
TEST(StoreSchema, AStepThatFailsChangesNothing) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "takt.sqlite";
  SQLite::Database db(path.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  db.exec(kVersion1);
  db.exec("CREATE TABLE classes (other TEXT)");
  const std::string before = tables(path);
  EXPECT_THROW(bring_up_to_date(db), SQLite::Exception);
  EXPECT_EQ(tables(path), before);
  EXPECT_EQ(db.execAndGet("PRAGMA user_version").getInt(), 1);
}

}  // namespace
}  // namespace takt::line
