// SPDX-License-Identifier: Apache-2.0
#include "line/review_query.h"

namespace takt::line {
namespace {

// `verdict` and `decided` stand in the text, because an index of a part of the rows is only taken where the text proves
// that it holds the rows. INDEXED BY makes a statement that can't use its index an error, where the planner would scan.
ReviewQuery verdict_query(const ReviewFilter& filter, Verdict verdict, bool decided) {
  ReviewQuery query;
  std::string index = "verdicts_to_review";
  std::string where = " WHERE verdict = '" + std::string(to_string(verdict)) + "' AND " +
                      (decided ? "decided = 1" : "decided = 0");
  if (!decided && verdict != Verdict::pass) where += " AND verdict <> 'pass'";
  const auto restrict = [&](const char* condition, auto value) {
    where += condition;
    query.values.emplace_back(std::move(value));
  };
  if (!filter.part_id.empty()) {
    index = "verdicts_by_part";
    restrict(" AND part_id = ?", filter.part_id);
  } else if (!filter.line.empty()) {
    index = "verdicts_to_review_by_line";
  }
  if (!filter.line.empty()) restrict(" AND line = ?", filter.line);
  if (filter.captured_from_us) restrict(" AND captured_us >= ?", *filter.captured_from_us);
  if (filter.captured_until_us) restrict(" AND captured_us < ?", *filter.captured_until_us);
  const bool rising = filter.order == ReviewOrder::oldest_first;
  if (filter.after) restrict(rising ? " AND id > ?" : " AND id < ?", *filter.after);
  restrict(rising ? " ORDER BY id LIMIT ?" : " ORDER BY id DESC LIMIT ?",
           std::int64_t{filter.limit} + 1);
  query.sql = "SELECT id FROM verdicts INDEXED BY " + index + where;
  return query;
}

}  // namespace

void bind(SQLite::Statement& statement, const ReviewQuery& query) {
  int number = 0;
  for (const auto& value : query.values) {
    ++number;
    std::visit([&](const auto& bound) { statement.bind(number, bound); }, value);
  }
}

std::vector<ReviewQuery> verdict_queries(const ReviewFilter& filter) {
  std::vector<ReviewQuery> queries;
  for (const Verdict verdict : filter.verdicts) {
    for (const bool decided : {false, true}) {
      const bool waits = verdict != Verdict::pass || !filter.part_id.empty();
      if (filter.decided.value_or(decided) != decided || (!decided && !waits)) continue;
      queries.push_back(verdict_query(filter, verdict, decided));
    }
  }
  return queries;
}

ReviewQuery decision_query(const ExportOptions& options) {
  ReviewQuery query;
  query.sql = "SELECT r.id, r.verdict_id FROM reviews r";
  const auto restrict = [&](const char* condition, auto value) {
    query.sql += condition;
    query.values.emplace_back(std::move(value));
  };
  // CROSS JOIN keeps the order of the tables: the decisions first.
  if (!options.line.empty()) {
    restrict(" CROSS JOIN verdicts v ON v.id = r.verdict_id AND v.line = ?", options.line);
  }
  restrict(" WHERE r.id > ?", options.after.value_or(0));
  query.sql +=
      " AND NOT EXISTS (SELECT 1 FROM reviews n WHERE n.verdict_id = r.verdict_id AND n.id > r.id)";
  if (options.decision) {
    restrict(" AND r.decision = ?", std::string(to_string(*options.decision)));
  }
  restrict(" ORDER BY r.id LIMIT ?", std::int64_t{options.limit} + 1);
  return query;
}

}  // namespace takt::line
