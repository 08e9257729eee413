// SPDX-License-Identifier: Apache-2.0
#include "line/store_schema.h"

#include <array>
#include <cstddef>
#include <stdexcept>
#include <string>

namespace takt::line {
namespace {

// Times are microseconds; captured_us and decided_us count from the Unix epoch. Boxes are pixels of the frame's image.
// Ids rise in the order of storing, so that the oldest rows are found without a scan.
constexpr const char* kVerdicts = R"sql(
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
)sql";

// `decided` lies in verdicts so that what waits is one range of an index. The indexes hold what needs or had a review,
// not the many passes, and captured_us, so that a range of time is cut out without reading the rows.
// An id of a review is never used again, also when the store's limits took the newest: exports go on after an id.
// Rows of classes are never removed: their ids number the categories of every export.
constexpr const char* kReviews = R"sql(
ALTER TABLE verdicts ADD COLUMN decided INTEGER NOT NULL DEFAULT 0;
CREATE INDEX verdicts_to_review ON verdicts (verdict, decided, id, captured_us)
  WHERE verdict <> 'pass' OR decided = 1;
CREATE INDEX verdicts_to_review_by_line ON verdicts (line, verdict, decided, id, captured_us)
  WHERE verdict <> 'pass' OR decided = 1;
CREATE TABLE reviews (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  verdict_id INTEGER NOT NULL REFERENCES verdicts (id) ON DELETE CASCADE,
  decided_us INTEGER NOT NULL, decision TEXT NOT NULL CHECK (decision IN ('pass', 'reject')),
  by TEXT NOT NULL, note TEXT NOT NULL, labelled INTEGER NOT NULL);
CREATE INDEX reviews_by_verdict ON reviews (verdict_id);
CREATE TABLE review_labels (
  review_id INTEGER NOT NULL REFERENCES reviews (id) ON DELETE CASCADE, number INTEGER NOT NULL,
  class TEXT NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL, x2 REAL NOT NULL, y2 REAL NOT NULL,
  PRIMARY KEY (review_id, number)) WITHOUT ROWID;
CREATE TABLE classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
)sql";

// The n-th leads from version n to n + 1.
constexpr std::array kSteps{kVerdicts, kReviews};
static_assert(kSteps.size() == kStoreSchemaVersion);

}  // namespace

void bring_up_to_date(SQLite::Database& db) {
  const int version = db.execAndGet("PRAGMA user_version").getInt();
  if (version < 0) throw std::runtime_error("its schema version is negative; it is no store");
  if (version > kStoreSchemaVersion) {
    throw std::runtime_error("it was made by a newer takt (schema " + std::to_string(version) +
                             ", this one knows " + std::to_string(kStoreSchemaVersion) +
                             "); use that version or another store.path");
  }
  if (version == kStoreSchemaVersion) return;
  SQLite::Transaction transaction(db);
  for (std::size_t step = static_cast<std::size_t>(version); step < kSteps.size(); ++step) {
    db.exec(kSteps.at(step));
  }
  db.exec("PRAGMA user_version = " + std::to_string(kStoreSchemaVersion));
  transaction.commit();
}

}  // namespace takt::line
