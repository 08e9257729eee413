// SPDX-License-Identifier: Apache-2.0
#include "line/store_reader.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <stdexcept>

namespace takt::line {
namespace {

using std::chrono::microseconds;

Verdict verdict_from(const std::string& word) {
  const Result<Verdict> verdict = parse_verdict(word);
  if (!verdict) throw std::runtime_error(verdict.error().message);
  return *verdict;
}

ErrorKind error_kind_from(const std::string& name) {
  for (int i = 0; i < kErrorKindCount; ++i) {
    if (to_string(static_cast<ErrorKind>(i)) == name) return static_cast<ErrorKind>(i);
  }
  return ErrorKind::internal;
}

// Four columns from `first`.
Box box_from(const SQLite::Statement& row, int first) {
  const auto edge = [&](int column) {
    return static_cast<float>(row.getColumn(column).getDouble());
  };
  return {edge(first), edge(first + 1), edge(first + 2), edge(first + 3)};
}

VerdictRecord record_from(const SQLite::Statement& row) {
  VerdictRecord record;
  int column = 0;
  const auto next = [&] { return row.getColumn(column++); };
  record.line = next().getString();
  record.seq = FrameSeq{static_cast<std::uint64_t>(next().getInt64())};
  record.frame = next().getString();
  record.part_id = next().getString();
  record.trigger_seq = static_cast<std::uint64_t>(next().getInt64());
  record.recipe = next().getString();
  record.captured_wall_us = next().getInt64();
  record.verdict = verdict_from(next().getString());
  record.route = next().getString();
  record.reasons = nlohmann::json::parse(next().getString()).get<std::vector<std::string>>();
  record.by_fallback = next().getInt() != 0;
  if (const SQLite::Column distance = next(); !distance.isNull()) {
    record.distance = static_cast<float>(distance.getDouble());
  }
  record.latency = microseconds(next().getInt64());
  record.lateness = microseconds(next().getInt64());
  return record;
}

std::vector<NamedDetection> read_detections(SQLite::Database& db, std::int64_t verdict_id) {
  std::vector<NamedDetection> detections;
  SQLite::Statement rows(db,
                         "SELECT class, score, task, x1, y1, x2, y2 FROM detections "
                         "WHERE verdict_id = ? ORDER BY number");
  rows.bind(1, verdict_id);
  while (rows.executeStep()) {
    detections.push_back({rows.getColumn(0).getString(),
                          static_cast<float>(rows.getColumn(1).getDouble()), box_from(rows, 3),
                          rows.getColumn(2).getString()});
  }
  return detections;
}

std::vector<TaskReport> read_tasks(SQLite::Database& db, std::int64_t verdict_id) {
  std::vector<TaskReport> tasks;
  SQLite::Statement rows(db,
                         "SELECT task, model, version, error_kind, error, total_us, compute_us, "
                         "requests FROM tasks WHERE verdict_id = ?");
  rows.bind(1, verdict_id);
  while (rows.executeStep()) {
    TaskReport task;
    task.task = rows.getColumn(0).getString();
    task.model = rows.getColumn(1).getString();
    task.version = rows.getColumn(2).getInt64();
    if (!rows.isColumnNull(3)) {
      task.error =
          Error{error_kind_from(rows.getColumn(3).getString()), rows.getColumn(4).getString()};
    }
    task.finished = TimePoint(microseconds(rows.getColumn(5).getInt64()));
    task.compute = microseconds(rows.getColumn(6).getInt64());
    task.requests = rows.getColumn(7).getInt();
    tasks.push_back(std::move(task));
  }
  return tasks;
}

std::vector<ReviewLabel> read_labels(SQLite::Database& db, std::int64_t review_id) {
  std::vector<ReviewLabel> labels;
  SQLite::Statement rows(
      db, "SELECT class, x1, y1, x2, y2 FROM review_labels WHERE review_id = ? ORDER BY number");
  rows.bind(1, review_id);
  while (rows.executeStep()) {
    labels.push_back({rows.getColumn(0).getString(), box_from(rows, 1)});
  }
  return labels;
}

}  // namespace

std::vector<StoredPicture> read_pictures(SQLite::Database& db, std::int64_t verdict_id) {
  std::vector<StoredPicture> pictures;
  SQLite::Statement rows(
      db, "SELECT role, width, height, length(png) FROM pictures WHERE verdict_id = ? ORDER BY id");
  rows.bind(1, verdict_id);
  while (rows.executeStep()) {
    pictures.push_back({rows.getColumn(0).getString(), rows.getColumn(1).getInt(),
                        rows.getColumn(2).getInt(), rows.getColumn(3).getInt64()});
  }
  return pictures;
}

std::vector<Review> read_reviews(SQLite::Database& db, std::int64_t verdict_id, int count_max) {
  std::vector<Review> reviews;
  SQLite::Statement rows(
      db,
      "SELECT id, decided_us, decision, by, note, labelled, "
      "(SELECT count(*) FROM reviews e WHERE e.verdict_id = r.verdict_id AND "
      "e.id < r.id) FROM reviews r WHERE verdict_id = ? ORDER BY id DESC LIMIT ?");
  rows.bind(1, verdict_id);
  rows.bind(2, count_max);
  while (rows.executeStep()) {
    Review review;
    review.id = rows.getColumn(0).getInt64();
    review.decided_us = rows.getColumn(1).getInt64();
    review.decision = verdict_from(rows.getColumn(2).getString());
    review.by = rows.getColumn(3).getString();
    review.note = rows.getColumn(4).getString();
    if (rows.getColumn(5).getInt() != 0) review.labels = read_labels(db, review.id);
    review.earlier = rows.getColumn(6).getInt();
    reviews.push_back(std::move(review));
  }
  return reviews;
}

std::optional<ReviewItem> read_item(SQLite::Database& db, std::int64_t verdict_id) {
  SQLite::Statement row(db,
                        "SELECT line, seq, frame, part_id, trigger_seq, recipe, captured_us, "
                        "verdict, route, reasons, by_fallback, distance, latency_us, lateness_us "
                        "FROM verdicts WHERE id = ?");
  row.bind(1, verdict_id);
  if (!row.executeStep()) return std::nullopt;
  ReviewItem item;
  item.id = verdict_id;
  item.record = record_from(row);
  item.record.detections = read_detections(db, verdict_id);
  item.record.tasks = read_tasks(db, verdict_id);
  item.pictures = read_pictures(db, verdict_id);
  for (Review& newest : read_reviews(db, verdict_id, 1)) item.review = std::move(newest);
  return item;
}

std::vector<std::string> read_classes(SQLite::Database& db) {
  std::vector<std::string> names;
  SQLite::Statement rows(db, "SELECT name, id FROM classes ORDER BY id");
  while (rows.executeStep()) {
    names.push_back(rows.getColumn(0).getString());
    if (rows.getColumn(1).getInt64() != static_cast<std::int64_t>(names.size())) {
      throw std::runtime_error("the ids of its classes have gaps");
    }
  }
  return names;
}

}  // namespace takt::line
