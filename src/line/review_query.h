// SPDX-License-Identifier: Apache-2.0
// Which verdicts a filter means, as statements that each walk one range of an index.
// Thread-safe: pure functions.
// Owns: plain values.
#pragma once

#include "line/review.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace takt::line {

struct ReviewQuery {
  std::string sql;
  std::vector<std::variant<std::int64_t, std::string>> values;  // of its parameters, in order
};

void bind(SQLite::Statement& statement, const ReviewQuery& query);

// One statement for each verdict and state that the filter names; each gives ids in the filter's order, one more than
// its limit, and one's ids are never another's.
[[nodiscard]] std::vector<ReviewQuery> verdict_queries(const ReviewFilter& filter);

// Newest decisions in their order, one more than the limit: id, verdict_id.
[[nodiscard]] ReviewQuery decision_query(const ExportOptions& options);

}  // namespace takt::line
