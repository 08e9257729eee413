// SPDX-License-Identifier: Apache-2.0
#include "rest/rest_endpoints.h"

#include "line/line_fixture.h"
#include "rest/openapi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <utility>

namespace takt::rest {
namespace {

using nlohmann::json;
using server::http::HttpReply;
using server::http::HttpRequest;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

// Takes what is handed in and keeps it until the test answers.
class FakeInlet final : public line::FrameInlet {
 public:
  Result<void> put(line::Submission submission, line::FrameAnswer done) override {
    if (full) return fail(ErrorKind::overloaded, "full");
    submissions.push_back(std::move(submission));
    answers.push_back(std::move(done));
    return {};
  }
  const line::RequestOptions& options() const noexcept override { return options_; }
  void on_verdict(const line::VerdictRecord& /*record*/) override {}

  bool full = false;
  std::vector<line::Submission> submissions;
  std::vector<line::FrameAnswer> answers;

 private:
  line::RequestOptions options_{.roles = {"board"}};
};

HttpRequest request(const std::string& method, std::vector<std::string> path,
                    std::map<std::string, std::string> query = {}, std::string body = {}) {
  return {method, std::move(path), std::move(query), std::move(body)};
}

class RestEndpointsTest : public ::testing::Test {
 protected:
  RestEndpointsTest() {
    runner_ = std::move(*TaskRunner::create({}, client_, pool_, clock_, {}));
    endpoints_ = std::make_unique<RestEndpoints>(
        RestParts{{"takt", "1.2"}, clock_, *runner_, feed_, {{"station", inlet_}}, nullptr, [] {
                    ServerView view;
                    view.ready = true;
                    view.lines.push_back({.name = "station",
                                          .source = "requests",
                                          .images = {"board"},
                                          .tasks = {"defects"},
                                          .deadline = std::chrono::milliseconds(5),
                                          .stats = {}});
                    view.workers.push_back({"defects", "cpu", "serving", 2});
                    return view;
                  }});
  }

  HttpReply ask(HttpRequest asked) {
    if (!endpoints_->is_long(asked)) return endpoints_->answer(asked);
    HttpReply reply;
    reply.status = 0;  // not answered
    replies_.push_back(std::make_shared<HttpReply>(reply));
    endpoints_->begin(std::move(asked),
                      [into = replies_.back()](HttpReply answer) { *into = std::move(answer); });
    return *replies_.back();
  }
  std::string error_of(HttpRequest asked, int status) {
    const HttpReply reply = ask(std::move(asked));
    EXPECT_EQ(reply.status, status) << reply.body;
    return json::parse(reply.body).at("error");
  }

  line::ScriptedClient client_;
  std::shared_ptr<SlotPool> pool_ = line::make_pool("pictures", 4);
  SystemClock clock_;
  VerdictFeed feed_{{}};
  std::shared_ptr<FakeInlet> inlet_ = std::make_shared<FakeInlet>();
  std::unique_ptr<TaskRunner> runner_;
  std::unique_ptr<RestEndpoints> endpoints_;
  std::vector<std::shared_ptr<HttpReply>> replies_;
};

TEST_F(RestEndpointsTest, EveryDescribedPathIsThereAndNoOtherMethod) {
  const json description = json::parse(openapi_json());
  for (const auto& [template_path, methods] : description.at("paths").items()) {
    if (template_path.starts_with("/v1/reviews")) continue;  // there is no store here
    std::vector<std::string> path;
    std::string rest = template_path.substr(1);
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find('/'), rest.size());
      path.push_back(rest.starts_with('{') ? "station" : rest.substr(0, end));
      rest.erase(0, end + 1);
    }
    for (const std::string method : {"GET", "POST", "PUT", "DELETE", "PATCH"}) {
      std::string key = method;
      std::ranges::transform(key, key.begin(), [](unsigned char c) { return std::tolower(c); });
      const int status = ask(request(method, path)).status;
      if (methods.contains(key)) {
        EXPECT_NE(status, 405) << method << ' ' << template_path;
      } else {
        EXPECT_EQ(status, 405) << method << ' ' << template_path;
      }
    }
  }
}

TEST_F(RestEndpointsTest, APartIsHandedInAndItsVerdictIsTheAnswer) {
  HttpRequest asked = request("POST", {"v1", "lines", "station", "inspect"},
                              {{"part_id", "p"}, {"recipe", "r"}}, "pixels");
  asked.content_type = "image/png";
  EXPECT_EQ(ask(std::move(asked)).status, 0);
  ASSERT_EQ(inlet_->submissions.size(), 1U);
  const line::Submission& submitted = inlet_->submissions[0];
  EXPECT_EQ(submitted.part_id, "p");
  EXPECT_EQ(submitted.recipe, "r");
  EXPECT_EQ(submitted.images.at(0).bytes.size(), 6U);
  line::VerdictRecord record;
  record.part_id = "p";
  record.verdict = Verdict::reject;
  inlet_->answers[0](&record);
  EXPECT_EQ(replies_[0]->status, 200);
  EXPECT_EQ(json::parse(replies_[0]->body).at("verdict"), "reject");
}

TEST_F(RestEndpointsTest, APartThatIsntTakenIsToldWhy) {
  const std::vector<std::string> path{"v1", "lines", "station", "inspect"};
  inlet_->full = true;
  const HttpReply full = ask(request("POST", path, {}, "x"));
  EXPECT_EQ(full.status, 503);
  EXPECT_THAT(full.headers, Contains(Pair("Retry-After", "1")));
  inlet_->full = false;
  EXPECT_THAT(error_of(request("POST", path), 400), HasSubstr("empty"));
  EXPECT_THAT(error_of(request("POST", path, {{"part_id", std::string(257, 'x')}}, "x"), 400),
              HasSubstr("at most 256"));
  EXPECT_THAT(error_of(request("POST", path, {{"part_id", "a\xff"}}, "x"), 400),
              HasSubstr("must be UTF-8"));
  EXPECT_THAT(error_of(request("POST", path, {{"part_id", "a\nb"}}, "x"), 400),
              HasSubstr("control"));
  ask(request("POST", path, {}, "x"));
  inlet_->answers.back()(std::unexpected(Error{ErrorKind::unavailable, "stopping"}));
  EXPECT_EQ(replies_.back()->status, 503);
}

TEST_F(RestEndpointsTest, ViewsComeAsJson) {
  const json status = json::parse(ask(request("GET", {"v1", "status"})).body);
  EXPECT_EQ(status.at("version"), "1.2");
  EXPECT_EQ(status.at("workers").at(0).at("restarts"), 2);
  EXPECT_EQ(status.at("lines").at(0).at("deadline_us"), 5000);
  EXPECT_EQ(json::parse(ask(request("GET", {"v1", "lines", "station"})).body).at("name"),
            "station");
  EXPECT_THAT(error_of(request("GET", {"v1", "lines", "x"}), 404), HasSubstr("no line 'x'"));
  EXPECT_EQ(json::parse(ask(request("GET", {"v1", "tasks"})).body).size(), 0U);
}

TEST_F(RestEndpointsTest, WithoutAStoreReviewsSayWhatToDo) {
  EXPECT_THAT(error_of(request("GET", {"v1", "reviews"}), 404), HasSubstr("store:"));
}

TEST_F(RestEndpointsTest, EventsAreAStream) {
  const HttpReply reply = ask(request("GET", {"v1", "events"}, {{"line", "station"}}));
  EXPECT_EQ(reply.content_type, "text/event-stream");
  ASSERT_NE(reply.stream, nullptr);
  line::VerdictRecord record;
  record.line = "station";
  feed_.on_verdict(record);
  EXPECT_THAT(reply.stream->take().value(), HasSubstr("event: verdict"));
}

}  // namespace
}  // namespace takt::rest
