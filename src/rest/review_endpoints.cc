// SPDX-License-Identifier: Apache-2.0
#include "rest/review_endpoints.h"

#include "line/review_json.h"
#include "rest/query.h"
#include "server/http/json_reply.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <charconv>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace takt::rest {
namespace {

using server::ApiCode;
using server::ApiError;
using server::ApiResult;
using server::http::error_reply;
using server::http::HttpReply;
using server::http::HttpRequest;
using server::http::is_get;
using server::http::json_reply;
using server::http::wrong_method;

constexpr int kPageMax = 500;
constexpr int kExportMax = 1000;
constexpr std::size_t kDecisionBytesMax = std::size_t{1} << 20;

ApiCode code_of(line::ReviewCode code) {
  switch (code) {
    case line::ReviewCode::invalid:
    case line::ReviewCode::too_large:  // asked for too much
      return ApiCode::invalid_argument;
    case line::ReviewCode::not_found:
      return ApiCode::not_found;
    case line::ReviewCode::decided:
      return ApiCode::already_exists;
    case line::ReviewCode::unavailable:
      return ApiCode::unavailable;
    case line::ReviewCode::damaged:
      return ApiCode::internal;
  }
  return ApiCode::internal;
}

HttpReply error_of(const line::ReviewError& error) {
  return error_reply({code_of(error.code), error.message});
}

HttpReply bytes_reply(const std::vector<std::byte>& bytes, std::string content_type) {
  HttpReply reply;
  reply.body.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  reply.content_type = std::move(content_type);
  return reply;
}

std::optional<std::int64_t> id_of(const std::string& text) {
  std::int64_t id = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (failure != std::errc() || end != text.data() + text.size() || id < 0) return std::nullopt;
  return id;
}

ApiResult<line::ReviewFilter> filter_of(const Query& query) {
  if (auto checked = check_query(query, {"line", "verdict", "decided", "part_id", "from_us",
                                         "until_us", "order", "after", "limit"});
      !checked) {
    return std::unexpected(checked.error());
  }
  line::ReviewFilter filter;
  filter.line = text_of(query, "line");
  filter.part_id = text_of(query, "part_id");
  const auto verdict = verdict_of(query, "verdict");
  if (!verdict) return std::unexpected(verdict.error());
  if (*verdict) filter.verdicts = {**verdict};
  const auto decided = flag_of(query, "decided");
  if (!decided) return std::unexpected(decided.error());
  filter.decided = *decided;
  const std::string order = query.contains("order") ? text_of(query, "order") : "oldest";
  if (order == "newest") {
    filter.order = line::ReviewOrder::newest_first;
  } else if (order != "oldest") {
    return server::refuse(ApiCode::invalid_argument, "'order' must be oldest or newest");
  }
  const auto from = number_of(query, "from_us", 0, INT64_MAX);
  if (!from) return std::unexpected(from.error());
  filter.captured_from_us = *from;
  const auto until = number_of(query, "until_us", 0, INT64_MAX);
  if (!until) return std::unexpected(until.error());
  filter.captured_until_us = *until;
  const auto after = number_of(query, "after", 0, INT64_MAX);
  if (!after) return std::unexpected(after.error());
  filter.after = *after;
  const auto limit = number_of(query, "limit", 1, kPageMax);
  if (!limit) return std::unexpected(limit.error());
  if (*limit) filter.limit = static_cast<int>(**limit);
  return filter;
}

ApiResult<line::ExportOptions> export_of(const Query& query) {
  if (auto checked =
          check_query(query, {"format", "line", "decision", "role", "task", "after", "limit"});
      !checked) {
    return std::unexpected(checked.error());
  }
  line::ExportOptions options;
  options.line = text_of(query, "line");
  options.role = text_of(query, "role");
  options.task = text_of(query, "task");
  const auto decision = verdict_of(query, "decision");
  if (!decision) return std::unexpected(decision.error());
  options.decision = *decision;
  const auto after = number_of(query, "after", 0, INT64_MAX);
  if (!after) return std::unexpected(after.error());
  options.after = *after;
  const auto limit = number_of(query, "limit", 1, kExportMax);
  if (!limit) return std::unexpected(limit.error());
  if (*limit) options.limit = static_cast<int>(**limit);
  return options;
}

}  // namespace

HttpReply ReviewEndpoints::answer(const HttpRequest& request) {
  const std::span<const std::string> path = std::span(request.path).subspan(2);
  if (desk_ == nullptr) {
    return error_reply({ApiCode::not_found,
                        "this server keeps no verdicts; give it a store (store: in takt.yaml)"});
  }
  if (path.empty()) return is_get(request) ? list(request) : wrong_method("GET");
  if (path[0] == "export" && path.size() == 1) {
    return is_get(request) ? export_labels(request) : wrong_method("GET");
  }
  const std::optional<std::int64_t> id = id_of(path[0]);
  if (!id) {
    return error_reply({ApiCode::not_found, "no such verdict; its id is a whole number"});
  }
  return one(*id, path.subspan(1), request);
}

HttpReply ReviewEndpoints::list(const HttpRequest& request) const {
  const ApiResult<line::ReviewFilter> filter = filter_of(request.query);
  if (!filter) return error_reply(filter.error());
  const auto page = desk_->list(*filter);
  if (!page) return error_of(page.error());
  nlohmann::json json = line::to_json(*page);
  if (!json.contains("next")) json["next"] = nullptr;
  return json_reply(json);
}

HttpReply ReviewEndpoints::export_labels(const HttpRequest& request) const {
  const ApiResult<line::ExportOptions> options = export_of(request.query);
  if (!options) return error_reply(options.error());
  const Result<line::LabelFormat> format =
      line::parse_label_format(text_of(request.query, "format"));
  if (!format) {
    return error_reply({ApiCode::invalid_argument, "'format': " + format.error().message});
  }
  const auto archive = desk_->export_labels(*options, *format);
  if (!archive) return error_of(archive.error());
  HttpReply reply = bytes_reply(archive->zip, "application/zip");
  const auto add = [&reply](const char* name, std::int64_t value) {
    reply.headers.emplace_back(name, std::to_string(value));
  };
  reply.headers.emplace_back(
      "Content-Disposition",
      fmt::format("attachment; filename=\"labels-{}.zip\"", to_string(*format)));
  add("Takt-Images", archive->images);
  add("Takt-Labels", archive->labels);
  add("Takt-Without-Picture", archive->without_picture);
  add("Takt-Without-Labels", archive->without_labels);
  if (archive->last) add("Takt-Last", *archive->last);
  reply.headers.emplace_back("Takt-More", archive->more ? "true" : "false");
  return reply;
}

HttpReply ReviewEndpoints::one(std::int64_t id, std::span<const std::string> rest,
                               const HttpRequest& request) {
  const bool decide = rest.size() == 1 && rest[0] == "decision";
  if (decide && request.method != "POST") return wrong_method("POST");
  if (!decide && !is_get(request)) return wrong_method("GET");
  if (auto checked = check_query(request.query, {}); !checked) return error_reply(checked.error());
  if (decide) {
    if (request.body.size() > kDecisionBytesMax) {
      return error_reply(
          {ApiCode::payload_too_large, fmt::format("a decision of {} bytes; at most {} are taken",
                                                   request.body.size(), kDecisionBytesMax)});
    }
    const auto decision = line::decision_from_json(request.body);
    if (!decision) return error_of(decision.error());
    const auto review = desk_->decide(id, *decision);
    return review ? json_reply(line::to_json(*review)) : error_of(review.error());
  }
  if (rest.empty()) {
    const auto item = desk_->item(id);
    return item ? json_reply(line::to_json(*item)) : error_of(item.error());
  }
  if (rest.size() == 1 && rest[0] == "decisions") {
    const auto decisions = desk_->decisions(id);
    if (!decisions) return error_of(decisions.error());
    nlohmann::json list = nlohmann::json::array();
    for (const line::Review& review : *decisions) list.push_back(line::to_json(review));
    return json_reply(list);
  }
  if (rest.size() == 2 && rest[0] == "pictures") {
    const auto picture = desk_->picture(id, rest[1]);
    return picture ? bytes_reply(*picture, "image/png") : error_of(picture.error());
  }
  return error_reply({ApiCode::not_found, "no such path; GET /openapi.json lists what there is"});
}

}  // namespace takt::rest
