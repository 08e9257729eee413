// SPDX-License-Identifier: Apache-2.0
// Rows of the store as records and reviews again.
// Thread-safe: on the connection's thread; within one transaction what is read belongs together.
// Owns: nothing. Throws what SQLiteCpp throws, and std::exception for rows that no takt has written.
#pragma once

#include "line/review.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace takt::line {

// Nothing: there is no such verdict (any more).
[[nodiscard]] std::optional<ReviewItem> read_item(SQLite::Database& db, std::int64_t verdict_id);
[[nodiscard]] std::vector<StoredPicture> read_pictures(SQLite::Database& db,
                                                       std::int64_t verdict_id);
// The newest decisions about a verdict, the newest first.
[[nodiscard]] std::vector<Review> read_reviews(SQLite::Database& db, std::int64_t verdict_id,
                                               int count_max);
// The names of all labels so far, the first with id 1.
[[nodiscard]] std::vector<std::string> read_classes(SQLite::Database& db);

}  // namespace takt::line
