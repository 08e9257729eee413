// SPDX-License-Identifier: Apache-2.0
#include "line/review_desk.h"

#include "line/review_check.h"
#include "line/review_export.h"
#include "line/review_query.h"
#include "line/store_reader.h"
#include "line/store_schema.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <algorithm>
#include <mutex>
#include <span>
#include <string>
#include <type_traits>

namespace takt::line {
namespace {

constexpr int kPageMax = 500;
constexpr int kExportMax = 1'000;
constexpr std::size_t kFilterBytesMax = 1'000;
constexpr int kLabelsMax = 10'000;

// What SQLite says in its own words may hold parts of statements, so clients get the name of the error.
ReviewError store_error(const SQLite::Exception& error) {
  const int code = error.getErrorCode() & 0xff;
  switch (code) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {ReviewCode::unavailable, "the store is being written; try again"};
    case SQLITE_FULL:
      return {ReviewCode::unavailable, "the disk of the store is full; free some room"};
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_NOMEM:
      return {ReviewCode::unavailable,
              std::string("the store can't be used now: ") + ::sqlite3_errstr(code)};
    default:
      return {ReviewCode::damaged,
              std::string("the store is not as this takt made it: ") + ::sqlite3_errstr(code)};
  }
}

std::unexpected<ReviewError> no_verdict(std::int64_t id) {
  return refuse(ReviewCode::not_found,
                "no verdict " + std::to_string(id) + "; the store may have removed it, list again");
}

ReviewResult<void> check_limit(int limit, int max) {
  if (limit >= 1 && limit <= max) return {};
  return refuse(ReviewCode::invalid,
                "limit: expected 1 to " + std::to_string(max) + ", got " + std::to_string(limit));
}

ReviewResult<void> check(const ReviewFilter& filter) {
  if (filter.verdicts.empty()) {
    return refuse(ReviewCode::invalid, "verdict: expected at least one of pass, review, reject");
  }
  if (std::max(filter.line.size(), filter.part_id.size()) > kFilterBytesMax) {
    return refuse(ReviewCode::invalid,
                  "line, part_id: expected at most " + std::to_string(kFilterBytesMax) + " bytes");
  }
  return check_limit(filter.limit, kPageMax);
}

ReviewResult<void> check(const ExportOptions& options) {
  if (options.decision == Verdict::review) {
    return refuse(ReviewCode::invalid, "decision: expected pass or reject");
  }
  if (std::max({options.line.size(), options.role.size(), options.task.size()}) > kFilterBytesMax) {
    return refuse(ReviewCode::invalid, "line, role, task: expected at most " +
                                           std::to_string(kFilterBytesMax) + " bytes");
  }
  return check_limit(options.limit, kExportMax);
}

std::vector<std::int64_t> ids_of(SQLite::Database& db, const ReviewFilter& filter) {
  std::vector<std::int64_t> ids;
  for (const ReviewQuery& query : verdict_queries(filter)) {
    SQLite::Statement rows(db, query.sql);
    bind(rows, query);
    while (rows.executeStep()) ids.push_back(rows.getColumn(0).getInt64());
  }
  if (filter.order == ReviewOrder::oldest_first) {
    std::ranges::sort(ids);
  } else {
    std::ranges::sort(ids, std::ranges::greater());
  }
  return ids;
}

// The class names that an export of this decision uses.
std::vector<std::string> class_names(const ReviewItem& item, const ReviewDecision& decision) {
  std::vector<std::string> names;
  if (decision.labels) {
    for (const ReviewLabel& label : *decision.labels) names.push_back(label.class_name);
  } else if (decision.decision == Verdict::reject) {
    for (const NamedDetection& seen : item.record.detections) names.push_back(seen.class_name);
  }
  return names;
}

// Numbers the names that are new.
ReviewResult<void> keep_classes(SQLite::Database& db, const std::vector<std::string>& names,
                                int classes_max) {
  SQLite::Statement insert(db, "INSERT OR IGNORE INTO classes (name) VALUES (?)");
  for (const std::string& name : names) {
    insert.reset();
    insert.bind(1, name);
    if (insert.exec() == 0 || db.getLastInsertRowid() <= classes_max) continue;
    return refuse(ReviewCode::invalid, "class '" + name + "' is new, and the store has " +
                                           std::to_string(classes_max) +
                                           " classes already; use one of them");
  }
  return {};
}

std::int64_t insert_review(SQLite::Database& db, std::int64_t verdict_id,
                           const ReviewDecision& decision, std::int64_t now_us) {
  SQLite::Statement review(db,
                           "INSERT INTO reviews (verdict_id, decided_us, decision, by, note, "
                           "labelled) VALUES (?,?,?,?,?,?)");
  review.bind(1, verdict_id);
  review.bind(2, now_us);
  review.bind(3, std::string(to_string(decision.decision)));
  review.bind(4, decision.by);
  review.bind(5, decision.note);
  review.bind(6, decision.labels ? 1 : 0);
  review.exec();
  return db.getLastInsertRowid();
}

void insert_labels(SQLite::Database& db, std::int64_t review_id,
                   const std::vector<ReviewLabel>& labels) {
  SQLite::Statement insert(db, "INSERT INTO review_labels VALUES (?,?,?,?,?,?,?)");
  int number = 0;
  for (const ReviewLabel& label : labels) {
    insert.reset();
    insert.bind(1, review_id);
    insert.bind(2, number++);
    insert.bind(3, label.class_name);
    insert.bind(4, static_cast<double>(label.box.x1));
    insert.bind(5, static_cast<double>(label.box.y1));
    insert.bind(6, static_cast<double>(label.box.x2));
    insert.bind(7, static_cast<double>(label.box.y2));
    insert.exec();
  }
}

void mark_decided(SQLite::Database& db, std::int64_t verdict_id) {
  SQLite::Statement mark(db, "UPDATE verdicts SET decided = 1 WHERE id = ? AND decided = 0");
  mark.bind(1, verdict_id);
  mark.exec();
}

// Whether `decision` may be the next one about the item.
ReviewResult<void> check_turn(const ReviewItem& item, const ReviewDecision& decision,
                              int decisions_max) {
  if (decision.labels && !item.pictures.empty()) {
    const StoredPicture& picture = item.pictures.front();
    if (auto inside = check_inside(*decision.labels, {picture.width, picture.height}); !inside) {
      return inside;
    }
  }
  if (!item.review) return {};
  if (!decision.replace) {
    return refuse(ReviewCode::decided, "verdict " + std::to_string(item.id) + ": " +
                                           item.review->by + " has decided " +
                                           std::string(to_string(item.review->decision)) +
                                           " already; look again and set replace to decide anew");
  }
  if (item.review->earlier + 1 < decisions_max) return {};
  return refuse(ReviewCode::invalid, "verdict " + std::to_string(item.id) + " has " +
                                         std::to_string(decisions_max) +
                                         " decisions, which is the most that are kept");
}

}  // namespace

struct ReviewDesk::Connection {
  Connection(const std::filesystem::path& path, Duration busy_timeout)
      : db(path.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_NOMUTEX) {
    db.setBusyTimeout(static_cast<int>(to_us(busy_timeout) / 1000));
    db.exec("PRAGMA foreign_keys = ON");
    // Unlike verdicts, decisions stand in no journal: they are on the disk before anybody hears of them.
    db.exec("PRAGMA synchronous = FULL");
    const int version = db.execAndGet("PRAGMA user_version").getInt();
    if (version != kStoreSchemaVersion) {
      throw std::runtime_error("its schema is " + std::to_string(version) + ", expected " +
                               std::to_string(kStoreSchemaVersion) + "; open the store first");
    }
  }

  // What `work` makes of the database, in one transaction that only its success commits.
  template <typename Work>
  std::invoke_result_t<Work, SQLite::Database&> transact(SQLite::TransactionBehavior behavior,
                                                         Work work) {
    const std::scoped_lock lock(mutex);
    try {
      SQLite::Transaction transaction(db, behavior);
      auto result = work(db);
      if (result) transaction.commit();
      return result;
    } catch (const SQLite::Exception& error) {
      return std::unexpected(store_error(error));
    } catch (const std::bad_alloc&) {
      return refuse(ReviewCode::unavailable, "no memory for the answer; ask for less");
    } catch (const std::exception& error) {
      return refuse(ReviewCode::damaged,
                    std::string("the store is not as this takt made it: ") + error.what());
    }
  }

  std::mutex mutex;
  SQLite::Database db;  // under mutex
};

ReviewDesk::ReviewDesk(const ReviewDeskOptions& options, const Clock& clock,
                       std::unique_ptr<Connection> calls, std::unique_ptr<Connection> exports)
    : options_(options), clock_(clock), calls_(std::move(calls)), exports_(std::move(exports)) {}

ReviewDesk::~ReviewDesk() = default;

Result<std::unique_ptr<ReviewDesk>> ReviewDesk::open(const ReviewDeskOptions& options,
                                                     const Clock& clock) {
  if (options.labels_max < 1 || options.labels_max > kLabelsMax || options.decisions_max < 1 ||
      options.classes_max < 1) {
    return fail(ErrorKind::invalid_input,
                "can't open the store for reviews: expected labels_max from 1 to " +
                    std::to_string(kLabelsMax) + ", decisions_max and classes_max from 1");
  }
  try {
    return std::unique_ptr<ReviewDesk>(new ReviewDesk(
        options, clock, std::make_unique<Connection>(options.path, options.busy_timeout),
        std::make_unique<Connection>(options.path, options.busy_timeout)));
  } catch (const SQLite::Exception& error) {
    const ReviewError said = store_error(error);
    return fail(
        said.code == ReviewCode::damaged ? ErrorKind::invalid_input : ErrorKind::unavailable,
        "can't open the store for reviews: " + said.message);
  } catch (const std::exception& error) {
    return fail(ErrorKind::invalid_input,
                std::string("can't open the store for reviews: ") + error.what());
  }
}

ReviewResult<ReviewPage> ReviewDesk::list(const ReviewFilter& filter) const {
  if (auto valid = check(filter); !valid) return std::unexpected(std::move(valid.error()));
  return calls_->transact(SQLite::TransactionBehavior::DEFERRED,
                          [&](SQLite::Database& db) -> ReviewResult<ReviewPage> {
                            std::vector<std::int64_t> ids = ids_of(db, filter);
                            const auto limit = static_cast<std::size_t>(filter.limit);
                            ReviewPage page;
                            if (ids.size() > limit) {
                              ids.resize(limit);
                              page.next = ids.back();
                            }
                            for (const std::int64_t id : ids) {
                              if (auto item = read_item(db, id))
                                page.items.push_back(std::move(*item));
                            }
                            return page;
                          });
}

ReviewResult<ReviewItem> ReviewDesk::item(std::int64_t id) const {
  return calls_->transact(SQLite::TransactionBehavior::DEFERRED,
                          [&](SQLite::Database& db) -> ReviewResult<ReviewItem> {
                            if (auto item = read_item(db, id)) return std::move(*item);
                            return no_verdict(id);
                          });
}

ReviewResult<std::vector<Review>> ReviewDesk::decisions(std::int64_t id) const {
  return calls_->transact(SQLite::TransactionBehavior::DEFERRED,
                          [&](SQLite::Database& db) -> ReviewResult<std::vector<Review>> {
                            if (!read_item(db, id)) return no_verdict(id);
                            return read_reviews(db, id, options_.decisions_max);
                          });
}

ReviewResult<std::vector<std::byte>> ReviewDesk::picture(std::int64_t id,
                                                         std::string_view role) const {
  return calls_->transact(
      SQLite::TransactionBehavior::DEFERRED,
      [&](SQLite::Database& db) -> ReviewResult<std::vector<std::byte>> {
        SQLite::Statement row(db, "SELECT png FROM pictures WHERE verdict_id = ? AND role = ?");
        row.bind(1, id);
        row.bind(2, std::string(role));
        if (!row.executeStep()) {
          return refuse(ReviewCode::not_found,
                        "verdict " + std::to_string(id) +
                            " has no picture of that role; its item names what there is");
        }
        const SQLite::Column png = row.getColumn(0);
        const auto* bytes = static_cast<const std::byte*>(png.getBlob());
        return std::vector<std::byte>(bytes, bytes + png.getBytes());
      });
}

ReviewResult<Review> ReviewDesk::decide(std::int64_t id, const ReviewDecision& decision) {
  if (auto valid = check(decision, options_.labels_max); !valid) {
    return std::unexpected(std::move(valid.error()));
  }
  // Immediate: a transaction that begins by reading could not become a writing one beside the store's.
  return calls_->transact(
      SQLite::TransactionBehavior::IMMEDIATE, [&](SQLite::Database& db) -> ReviewResult<Review> {
        const std::optional<ReviewItem> item = read_item(db, id);
        if (!item) return no_verdict(id);
        if (auto valid = check_turn(*item, decision, options_.decisions_max); !valid) {
          return std::unexpected(std::move(valid.error()));
        }
        if (auto kept = keep_classes(db, class_names(*item, decision), options_.classes_max);
            !kept) {
          return std::unexpected(std::move(kept.error()));
        }
        const std::int64_t review = insert_review(db, id, decision, clock_.wall_time_us());
        if (decision.labels) insert_labels(db, review, *decision.labels);
        mark_decided(db, id);
        return read_reviews(db, id, 1).at(0);
      });
}

ReviewResult<ExportArchive> ReviewDesk::export_labels(const ExportOptions& options,
                                                      LabelFormat format) const {
  if (auto valid = check(options); !valid) return std::unexpected(std::move(valid.error()));
  const std::unique_lock alone(exporting_, std::try_to_lock);
  if (!alone) {
    return refuse(ReviewCode::unavailable, "another export is being made; try again later");
  }
  return exports_->transact(SQLite::TransactionBehavior::DEFERRED, [&](SQLite::Database& db) {
    return export_reviews(db, options, format, options_.export_bytes_max);
  });
}

}  // namespace takt::line
