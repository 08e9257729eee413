// SPDX-License-Identifier: Apache-2.0
#include "server/settings.h"

#include <gtest/gtest.h>

namespace takt::server {
namespace {

template <typename T>
void expect_refused(const ApiResult<T>& result, ApiCode code, const std::string& part) {
  ASSERT_FALSE(result.has_value()) << "expected: " << part;
  EXPECT_EQ(result.error().code, code);
  EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
}

TEST(TraceSettings, AreOffAtFirst) {
  const TraceValues values = TraceSettings().values();
  EXPECT_EQ(values.size(), 6U);
  EXPECT_EQ(values.at("trace_level"), std::vector<std::string>{"OFF"});
  EXPECT_EQ(values.at("trace_rate"), std::vector<std::string>{"1000"});
}

TEST(TraceSettings, OfAModelStandInFrontOfTheServers) {
  TraceSettings settings;
  ASSERT_TRUE(settings.update("", {{"trace_rate", {"7"}}, {"trace_count", {"5"}}}));
  ASSERT_TRUE(settings.update("m", {{"trace_rate", {"9"}}}));
  EXPECT_EQ(settings.values("m").at("trace_rate"), std::vector<std::string>{"9"});
  EXPECT_EQ(settings.values("m").at("trace_count"), std::vector<std::string>{"5"});
  EXPECT_EQ(settings.values("other").at("trace_rate"), std::vector<std::string>{"7"});
  ASSERT_TRUE(settings.update("m", {{"trace_rate", {}}}));
  EXPECT_EQ(settings.values("m").at("trace_rate"), std::vector<std::string>{"7"});
  ASSERT_TRUE(settings.update("", {{"trace_rate", {}}}));
  EXPECT_EQ(settings.values("m").at("trace_rate"), std::vector<std::string>{"1000"});
}

TEST(TraceSettings, RefuseWhatTheyDoNotKnow) {
  TraceSettings settings;
  expect_refused(settings.update("", {{"trace_rat", {"1"}}}), ApiCode::invalid_argument,
                 "no setting 'trace_rat'; did you mean 'trace_rate'?");
  expect_refused(settings.update("", {{"trace_level", {"OFF", "TENSORS"}}}),
                 ApiCode::invalid_argument, "trace_level: 'OFF'");
  expect_refused(settings.update("", {{"trace_rate", {"-1"}}}), ApiCode::invalid_argument,
                 "trace_rate: '-1'; expected 0 to 4294967295");
  expect_refused(settings.update("", {{"trace_count", {"1x"}}}), ApiCode::invalid_argument,
                 "trace_count: '1x'; expected -1 to");
  expect_refused(settings.update("", {{"trace_rate", {"1", "2"}}}), ApiCode::invalid_argument,
                 "trace_rate: expected one value");
  expect_refused(settings.update("", {{"trace_mode", {"opentelemetry"}}}),
                 ApiCode::invalid_argument, "trace_mode");
  expect_refused(settings.update("", {{"trace_file", {"/tmp/x"}}}), ApiCode::invalid_argument,
                 "trace_file: clients can't choose a file on the server");
  EXPECT_EQ(settings.values(), TraceSettings().values());
}

TEST(TraceSettings, ChangeAllOrNothing) {
  TraceSettings settings;
  EXPECT_FALSE(settings.update("", {{"log_frequency", {"3"}}, {"trace_rate", {"x"}}}));
  EXPECT_EQ(settings.values().at("log_frequency"), std::vector<std::string>{"0"});
}

TEST(TraceSettings, BoundTheModelsWithSettingsOfTheirOwn) {
  TraceSettings settings;
  for (int i = 0; i < 1024; ++i) {
    ASSERT_TRUE(settings.update(std::to_string(i), {{"trace_rate", {"1"}}}));
  }
  expect_refused(settings.update("one more", {{"trace_rate", {"1"}}}), ApiCode::resource_exhausted,
                 "1024 models");
  ASSERT_TRUE(settings.update("0", {{"trace_rate", {}}}));
  EXPECT_TRUE(settings.update("one more", {{"trace_rate", {"1"}}}));
}

TEST(LogSettings, ChangeByType) {
  LogSettings settings;
  const auto values = settings.update(
      {{"log_info", false}, {"log_verbose_level", 2U}, {"log_format", std::string("ISO8601")}});
  ASSERT_TRUE(values.has_value());
  EXPECT_EQ(values->size(), 6U);
  EXPECT_EQ(values->at("log_info"), LogValue(false));
  EXPECT_EQ(values->at("log_verbose_level"), LogValue(2U));
  EXPECT_EQ(settings.values(), *values);
}

TEST(LogSettings, RefuseWhatTheyDoNotKnow) {
  LogSettings settings;
  expect_refused(settings.update({{"log_inf", true}}), ApiCode::invalid_argument,
                 "no setting 'log_inf'");
  expect_refused(settings.update({{"log_info", 1U}}), ApiCode::invalid_argument,
                 "log_info: expected a boolean");
  expect_refused(settings.update({{"log_format", std::string("xml")}}), ApiCode::invalid_argument,
                 "log_format: 'xml'; expected default or ISO8601");
  expect_refused(settings.update({{"log_file", std::string("/tmp/x")}}), ApiCode::invalid_argument,
                 "log_file: clients can't choose a file on the server");
  EXPECT_TRUE(settings.update({{"log_file", std::string()}}));
}

}  // namespace
}  // namespace takt::server
