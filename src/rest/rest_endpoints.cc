// SPDX-License-Identifier: Apache-2.0
#include "rest/rest_endpoints.h"

#include "core/suggest.h"
#include "core/utf8.h"
#include "line/record_json.h"
#include "rest/hide_paths.h"
#include "rest/openapi.h"
#include "rest/picture_body.h"
#include "rest/query.h"
#include "rest/rest_json.h"
#include "server/http/json_reply.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

namespace takt::rest {
namespace {

using server::ApiCode;
using server::ApiResult;
using server::http::error_reply;
using server::http::HttpReply;
using server::http::HttpRequest;
using server::http::is_get;
using server::http::json_reply;
using server::http::wrong_method;

constexpr std::int64_t kPageDefault = 100;
constexpr std::int64_t kPageMax = 500;
constexpr std::size_t kTextBytesMax = 256;  // of an id or recipe that a client gives
constexpr std::int64_t kDeadlineMsMax = 600'000;

HttpReply no_path() {
  return error_reply({ApiCode::not_found, "no such path; GET /openapi.json lists what there is"});
}

ApiResult<FeedFilter> filter_of(const Query& query) {
  FeedFilter filter;
  filter.line = text_of(query, "line");
  filter.part_id = text_of(query, "part_id");
  const auto verdict = verdict_of(query, "verdict");
  if (!verdict) return std::unexpected(verdict.error());
  filter.verdict = *verdict;
  return filter;
}

ApiResult<std::string> short_text(std::string text, const std::string& name) {
  const bool control = std::ranges::any_of(text, [](unsigned char c) { return c < 0x20; });
  if (text.size() <= kTextBytesMax && !control && is_utf8(text)) return text;
  return server::refuse(ApiCode::invalid_argument,
                        fmt::format("'{}' must be UTF-8 of at most {} bytes, without control "
                                    "characters",
                                    name, kTextBytesMax));
}

// The pictures of a request and the content that they look into.
struct Pictures {
  PictureBody body;
  std::shared_ptr<const std::string> content;
};

ApiResult<Pictures> pictures_of(HttpRequest& request, const std::vector<std::string>& roles,
                                const std::vector<std::string>& fields) {
  Pictures pictures;
  pictures.content = std::make_shared<const std::string>(std::move(request.body));
  ApiResult<PictureBody> body =
      read_pictures(request.content_type, *pictures.content, roles, fields);
  if (!body) return std::unexpected(std::move(body).error());
  pictures.body = std::move(*body);
  return pictures;
}

bool is_inspection(const HttpRequest& request) {
  const auto& path = request.path;
  return path.size() == 4 && path[0] == "v1" && path[1] == "lines" && path[3] == "inspect";
}

bool is_task_call(const HttpRequest& request) {
  const auto& path = request.path;
  return path.size() == 3 && path[0] == "v1" && path[1] == "tasks";
}

bool is_review(const HttpRequest& request) {
  const auto& path = request.path;
  return path.size() >= 2 && path[0] == "v1" && path[1] == "reviews";
}

}  // namespace

bool RestEndpoints::is_slow(const HttpRequest& request) const {
  return is_review(request);
}

bool RestEndpoints::is_long(const HttpRequest& request) const {
  return request.method == "POST" && (is_inspection(request) || is_task_call(request));
}

void RestEndpoints::begin(HttpRequest request, Done done) {
  if (is_inspection(request)) return inspect(std::move(request), std::move(done));
  run_task(std::move(request), std::move(done));
}

// Pictures and reviews change nothing of the server, but decisions are for those who may.
server::Need RestEndpoints::need(const HttpRequest& request) const {
  if (is_get(request)) return server::Need::read;
  return is_inspection(request) || is_task_call(request) ? server::Need::infer
                                                         : server::Need::operate;
}

HttpReply RestEndpoints::answer(const HttpRequest& request) {
  const Path path = request.path;
  if (path.size() == 1 && path[0] == "openapi.json") {
    if (!is_get(request)) return wrong_method("GET");
    HttpReply reply;
    reply.body = openapi_json();
    return reply;
  }
  if (path.size() < 2 || path[0] != "v1") return no_path();
  if (is_review(request)) return reviews_.answer(request);
  if (is_inspection(request)) return wrong_method("POST");
  if (is_task_call(request) && !is_get(request)) return wrong_method("GET, POST");
  const Path rest = path.subspan(2);
  const bool known = path[1] == "status" || path[1] == "lines" || path[1] == "tasks" ||
                     path[1] == "frames" || path[1] == "events";
  if (!known) return no_path();
  if (!is_get(request)) return wrong_method("GET");
  if (path[1] == "lines") return lines(rest);
  if (path[1] == "tasks") return tasks(rest);
  if (!rest.empty()) return no_path();
  if (path[1] == "frames") return frames(request);
  if (path[1] == "events") return events(request);
  return json_reply(status_json(parts_.identity, parts_.view()));
}

HttpReply RestEndpoints::lines(Path path) const {
  if (path.size() > 1) return no_path();
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  std::vector<std::string> names;
  for (const LineView& line : parts_.view().lines) {
    if (!path.empty() && line.name == path[0]) return json_reply(line_json(line));
    names.push_back(line.name);
    list.push_back(line_json(line));
  }
  if (path.empty()) return json_reply(list);
  return error_reply(
      {ApiCode::not_found, fmt::format("no line '{}'{}", path[0], suggestion(path[0], names))});
}

HttpReply RestEndpoints::tasks(Path path) const {
  if (path.size() > 1) return no_path();
  if (path.size() == 1) {
    const ApiResult<const TaskCard*> card = parts_.tasks.find(path[0]);
    return card ? json_reply(task_json(**card)) : error_reply(card.error());
  }
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& [name, card] : parts_.tasks.tasks()) list.push_back(task_json(card));
  return json_reply(list);
}

HttpReply RestEndpoints::frames(const HttpRequest& request) const {
  if (auto checked = check_query(request.query, {"line", "verdict", "part_id", "before", "limit"});
      !checked) {
    return error_reply(checked.error());
  }
  const ApiResult<FeedFilter> filter = filter_of(request.query);
  if (!filter) return error_reply(filter.error());
  const auto before = number_of(request.query, "before", 1, INT64_MAX);
  if (!before) return error_reply(before.error());
  const auto limit = number_of(request.query, "limit", 1, kPageMax);
  if (!limit) return error_reply(limit.error());
  return json_reply(
      page_json(parts_.feed.page(*filter, static_cast<std::uint64_t>(before->value_or(0)),
                                 static_cast<std::size_t>(limit->value_or(kPageDefault)))));
}

HttpReply RestEndpoints::events(const HttpRequest& request) {
  if (auto checked = check_query(request.query, {"line", "verdict", "part_id"}); !checked) {
    return error_reply(checked.error());
  }
  ApiResult<FeedFilter> filter = filter_of(request.query);
  if (!filter) return error_reply(filter.error());
  std::optional<std::uint64_t> after;
  if (!request.last_event_id.empty()) {
    const auto id =
        number_of({{"Last-Event-ID", request.last_event_id}}, "Last-Event-ID", 0, INT64_MAX);
    if (!id) return error_reply(id.error());
    after = static_cast<std::uint64_t>(**id);
  }
  auto stream = parts_.feed.listen(std::move(*filter), after);
  if (!stream) return error_reply(stream.error());
  HttpReply reply;
  reply.content_type = "text/event-stream";
  reply.stream = std::move(*stream);
  return reply;
}

void RestEndpoints::inspect(HttpRequest request, Done done) {
  const std::string& name = request.path[2];
  const auto inlet = parts_.inlets.find(name);
  if (inlet == parts_.inlets.end()) {
    std::vector<std::string> names;
    for (const auto& [line, unused] : parts_.inlets) names.push_back(line);
    return done(error_reply({ApiCode::not_found, fmt::format("no line '{}' that takes requests{}",
                                                             name, suggestion(name, names))}));
  }
  static const std::vector<std::string> kFields{"part_id", "recipe"};
  if (auto checked = check_query(request.query, kFields); !checked) {
    return done(error_reply(checked.error()));
  }
  line::Submission submission;
  submission.captured = parts_.clock.now();
  ApiResult<Pictures> pictures = pictures_of(request, inlet->second->options().roles, kFields);
  if (!pictures) return done(error_reply(pictures.error()));
  for (const std::string& field : kFields) {
    const auto part = pictures->body.fields.find(field);
    ApiResult<std::string> text = short_text(
        part != pictures->body.fields.end() ? part->second : text_of(request.query, field), field);
    if (!text) return done(error_reply(text.error()));
    (field == "recipe" ? submission.recipe : submission.part_id) = std::move(*text);
  }
  submission.images = std::move(pictures->body.images);
  submission.content = std::move(pictures->content);
  const auto shared = std::make_shared<Done>(std::move(done));
  const auto answer = [shared](Result<const line::VerdictRecord*> verdict) {
    if (!verdict) return (*shared)(error_reply(client_error(std::move(verdict).error())));
    line::VerdictRecord record = **verdict;
    hide_paths(record);
    (*shared)(json_reply(line::to_json(record)));
  };
  if (Result<void> put = inlet->second->put(std::move(submission), answer); !put) {
    answer(std::unexpected(std::move(put).error()));
  }
}

void RestEndpoints::run_task(HttpRequest request, Done done) {
  const ApiResult<const TaskCard*> card = parts_.tasks.find(request.path[2]);
  if (!card) return done(error_reply(card.error()));
  if (auto checked = check_query(request.query, {"deadline_ms"}); !checked) {
    return done(error_reply(checked.error()));
  }
  const auto deadline = number_of(request.query, "deadline_ms", 1, kDeadlineMsMax);
  if (!deadline) return done(error_reply(deadline.error()));
  ApiResult<Pictures> pictures = pictures_of(request, (*card)->roles, {});
  if (!pictures) return done(error_reply(pictures.error()));
  TaskCall call{request.path[2], std::move(pictures->body.images), std::move(pictures->content)};
  if (*deadline) call.deadline = std::chrono::milliseconds(**deadline);
  parts_.tasks.run(std::move(call), [done = std::move(done)](ApiResult<TaskAnswer> answer) mutable {
    done(answer ? json_reply(answer_json(*answer)) : error_reply(answer.error()));
  });
}

}  // namespace takt::rest
