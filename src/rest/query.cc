// SPDX-License-Identifier: Apache-2.0
#include "rest/query.h"

#include "core/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace takt::rest {
namespace {

using server::ApiCode;
using server::ApiResult;

std::unexpected<server::ApiError> invalid(std::string message) {
  return server::refuse(ApiCode::invalid_argument, std::move(message));
}

}  // namespace

ApiResult<void> check_query(const Query& query, const std::vector<std::string>& known) {
  for (const auto& [key, value] : query) {
    if (std::ranges::find(known, key) != known.end()) continue;
    return invalid(known.empty()
                       ? fmt::format("unknown parameter '{}'; this path has none", key)
                       : fmt::format("unknown parameter '{}'{}", key, suggestion(key, known)));
  }
  return {};
}

std::string text_of(const Query& query, const std::string& key) {
  const auto found = query.find(key);
  return found == query.end() ? std::string() : found->second;
}

ApiResult<std::optional<std::int64_t>> number_of(const Query& query, const std::string& key,
                                                 std::int64_t min, std::int64_t max) {
  const auto found = query.find(key);
  if (found == query.end()) return std::nullopt;
  const std::string& text = found->second;
  std::int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = failure == std::errc() && end == text.data() + text.size();
  if (whole && value >= min && value <= max) return value;
  return invalid(fmt::format("'{}' must be a whole number from {} to {}", key, min, max));
}

ApiResult<std::optional<bool>> flag_of(const Query& query, const std::string& key) {
  const auto found = query.find(key);
  if (found == query.end()) return std::nullopt;
  if (found->second == "true") return true;
  if (found->second == "false") return false;
  return invalid(fmt::format("'{}' must be true or false", key));
}

ApiResult<std::optional<Verdict>> verdict_of(const Query& query, const std::string& key) {
  const auto found = query.find(key);
  if (found == query.end()) return std::nullopt;
  const Result<Verdict> verdict = parse_verdict(found->second);
  if (!verdict) return invalid(fmt::format("'{}': {}", key, verdict.error().message));
  return *verdict;
}

}  // namespace takt::rest
