// SPDX-License-Identifier: Apache-2.0
#include "line/store.h"

#include "image/encode.h"
#include "line/store_schema.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <nlohmann/json.hpp>
#include <sqlite3.h>

#include <optional>
#include <string>

namespace takt::line {
namespace {

constexpr std::size_t kBatchMax = 256;  // verdicts a transaction

void prepare(SQLite::Database& db, Duration busy_timeout) {
  db.setBusyTimeout(static_cast<int>(to_us(busy_timeout) / 1000));
  db.exec("PRAGMA journal_mode = WAL");
  // The journal in front survives the death of the process; the store may lose its last commits only with the power.
  db.exec("PRAGMA synchronous = NORMAL");
  db.exec("PRAGMA foreign_keys = ON");
  bring_up_to_date(db);
}

VerdictRecord without_slots(const VerdictRecord& record) {
  VerdictRecord copy = record;
  copy.images.clear();
  return copy;
}

}  // namespace

struct Store::Database {
  Database(const std::filesystem::path& path, Duration busy_timeout)
      : db(path.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE | SQLite::OPEN_NOMUTEX) {
    prepare(db, busy_timeout);
  }

  // The id of the new row, or nothing when the verdict is there already.
  std::optional<std::int64_t> insert(const VerdictRecord& record);
  void insert_detections(std::int64_t id, const VerdictRecord& record);
  void insert_tasks(std::int64_t id, const VerdictRecord& record);
  void insert_picture(std::int64_t id, const Picture& picture);
  void remove_oldest(const char* statement, std::int64_t rows_max);

  SQLite::Database db;
};

std::optional<std::int64_t> Store::Database::insert(const VerdictRecord& record) {
  SQLite::Statement insert(
      db,
      "INSERT OR IGNORE INTO verdicts (line, seq, frame, part_id, trigger_seq, recipe, "
      "captured_us, "
      "verdict, route, reasons, by_fallback, distance, latency_us, lateness_us) "
      "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
  int column = 0;
  insert.bind(++column, record.line);
  insert.bind(++column, static_cast<std::int64_t>(record.seq.value));
  insert.bind(++column, record.frame);
  insert.bind(++column, record.part_id);
  insert.bind(++column, static_cast<std::int64_t>(record.trigger_seq));
  insert.bind(++column, record.recipe);
  insert.bind(++column, record.captured_wall_us);
  insert.bind(++column, std::string(to_string(record.verdict)));
  insert.bind(++column, record.route);
  insert.bind(++column, nlohmann::json(record.reasons)
                            .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  insert.bind(++column, record.by_fallback ? 1 : 0);
  record.distance ? insert.bind(++column, static_cast<double>(*record.distance))
                  : insert.bind(++column);
  insert.bind(++column, to_us(record.latency));
  insert.bind(++column, to_us(record.lateness));
  if (insert.exec() == 0) return std::nullopt;
  return db.getLastInsertRowid();
}

void Store::Database::insert_detections(std::int64_t id, const VerdictRecord& record) {
  SQLite::Statement insert(db, "INSERT INTO detections VALUES (?,?,?,?,?,?,?,?,?)");
  int number = 0;
  for (const NamedDetection& detection : record.detections) {
    insert.reset();
    insert.bind(1, id);
    insert.bind(2, number++);
    insert.bind(3, detection.task);
    insert.bind(4, detection.class_name);
    insert.bind(5, static_cast<double>(detection.score));
    insert.bind(6, static_cast<double>(detection.box.x1));
    insert.bind(7, static_cast<double>(detection.box.y1));
    insert.bind(8, static_cast<double>(detection.box.x2));
    insert.bind(9, static_cast<double>(detection.box.y2));
    insert.exec();
  }
}

void Store::Database::insert_tasks(std::int64_t id, const VerdictRecord& record) {
  SQLite::Statement insert(db, "INSERT INTO tasks VALUES (?,?,?,?,?,?,?,?,?)");
  for (const TaskReport& task : record.tasks) {
    insert.reset();
    insert.clearBindings();
    insert.bind(1, id);
    insert.bind(2, task.task);
    insert.bind(3, task.model);
    insert.bind(4, task.version);
    if (task.error) {
      insert.bind(5, std::string(to_string(task.error->kind)));
      insert.bind(6, task.error->message);
    }
    insert.bind(7, to_us(task.finished - task.submitted));
    insert.bind(8, to_us(task.compute));
    insert.bind(9, task.requests);
    insert.exec();
  }
}

void Store::Database::insert_picture(std::int64_t id, const Picture& picture) {
  SQLite::Statement insert(
      db, "INSERT INTO pictures (verdict_id, role, width, height, png) VALUES (?,?,?,?,?)");
  insert.bind(1, id);
  insert.bind(2, picture.role);
  insert.bind(3, picture.width);
  insert.bind(4, picture.height);
  insert.bind(5, picture.png.data(), static_cast<int>(picture.png.size()));
  insert.exec();
}

void Store::Database::remove_oldest(const char* statement, std::int64_t rows_max) {
  SQLite::Statement remove(db, statement);
  remove.bind(1, rows_max);
  remove.exec();
}

Store::Store(StoreOptions options, Acknowledge acknowledge, std::unique_ptr<Database> database)
    : options_(std::move(options)),
      acknowledge_(std::move(acknowledge)),
      database_(std::move(database)) {}

Store::~Store() {
  (void)flush();
}

Result<std::unique_ptr<Store>> Store::open(StoreOptions options, Acknowledge acknowledge) {
  std::error_code ignored;  // opening says what is wrong
  if (options.path.has_parent_path())
    std::filesystem::create_directories(options.path.parent_path(), ignored);
  try {
    auto database = std::make_unique<Database>(options.path, options.busy_timeout);
    return std::unique_ptr<Store>(
        new Store(std::move(options), std::move(acknowledge), std::move(database)));
  } catch (const SQLite::Exception& error) {
    const bool foreign =
        error.getErrorCode() == SQLITE_NOTADB || error.getErrorCode() == SQLITE_CORRUPT;
    return fail(foreign ? ErrorKind::invalid_input : ErrorKind::unavailable,
                options.path.string() + ": can't open the store: " + error.what() +
                    (foreign ? "; move the file away or set store.path to another one"
                             : "; make its folder writable or set store.path to another one"));
  } catch (const std::exception& error) {
    return fail(ErrorKind::invalid_input,
                options.path.string() + ": can't open the store: " + error.what());
  }
}

std::vector<Store::Picture> Store::pictures_of(const VerdictRecord& record) const {
  std::vector<Picture> pictures;
  if (!options_.pictures.contains(record.verdict)) return pictures;
  for (const FrameImage& image : record.images) {
    Picture picture{image.role, image.view.width, image.view.height, {}};
    if (encode_png(image.view, picture.png)) pictures.push_back(std::move(picture));
  }
  return pictures;
}

Result<void> Store::write(const VerdictRecord& record) {
  if (pending_.size() >= options_.pending_max) {
    pending_.pop_front();
    left_to_journal_.fetch_add(1, std::memory_order_relaxed);
  }
  pending_.push_back({without_slots(record), pictures_of(record)});
  return pending_.size() % kBatchMax == 0 ? flush() : Result<void>{};
}

Result<void> Store::flush() {
  if (pending_.empty()) return {};
  try {
    const std::uint64_t pictures = commit();
    stored_.fetch_add(pending_.size(), std::memory_order_relaxed);
    pictures_.fetch_add(pictures, std::memory_order_relaxed);
  } catch (const std::exception& error) {
    failures_.fetch_add(1, std::memory_order_relaxed);
    return fail(ErrorKind::unavailable,
                options_.path.string() + ": can't store " + std::to_string(pending_.size()) +
                    " verdicts: " + error.what() +
                    "; they stay in the journal, free the disk or make the file writable");
  }
  if (acknowledge_) {
    for (const Pending& pending : pending_) acknowledge_(pending.record.line, pending.record.seq);
  }
  pending_.clear();
  return {};
}

std::uint64_t Store::commit() {
  std::uint64_t pictures = 0;
  SQLite::Transaction transaction(database_->db);
  for (const Pending& pending : pending_) {
    const std::optional<std::int64_t> id = database_->insert(pending.record);
    if (!id) continue;
    database_->insert_detections(*id, pending.record);
    database_->insert_tasks(*id, pending.record);
    for (const Picture& picture : pending.pictures) database_->insert_picture(*id, picture);
    pictures += pending.pictures.size();
  }
  database_->remove_oldest("DELETE FROM verdicts WHERE id <= (SELECT max(id) FROM verdicts) - ?",
                           options_.verdicts_max);
  // All pictures of a frame go together: the first of those that are left is the one that is looked at.
  database_->remove_oldest(
      "DELETE FROM pictures WHERE verdict_id <= (SELECT verdict_id FROM pictures WHERE id <= "
      "(SELECT max(id) FROM pictures) - ? ORDER BY id DESC LIMIT 1) "
      "AND verdict_id < (SELECT max(verdict_id) FROM pictures)",
      options_.pictures_max);
  transaction.commit();
  return pictures;
}

Result<std::map<std::string, FrameSeq>> Store::last_seqs() const {
  try {
    std::map<std::string, FrameSeq> last;
    // From line to line over the index; GROUP BY would read all of it, millions of rows at a start.
    SQLite::Statement query(
        database_->db,
        "WITH RECURSIVE lines (line) AS (SELECT min(line) FROM verdicts UNION ALL "
        "SELECT (SELECT min(line) FROM verdicts WHERE line > lines.line) FROM lines "
        "WHERE lines.line IS NOT NULL) "
        "SELECT line, (SELECT max(seq) FROM verdicts v WHERE v.line = lines.line) FROM lines "
        "WHERE line IS NOT NULL");
    while (query.executeStep()) {
      last[query.getColumn(0).getString()] =
          FrameSeq{static_cast<std::uint64_t>(query.getColumn(1).getInt64())};
    }
    return last;
  } catch (const std::exception& error) {
    return fail(ErrorKind::unavailable,
                options_.path.string() + ": can't read the store: " + error.what());
  }
}

StoreCounts Store::counts() const noexcept {
  return {stored_.load(), pictures_.load(), failures_.load(), left_to_journal_.load()};
}

}  // namespace takt::line
