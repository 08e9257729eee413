// SPDX-License-Identifier: Apache-2.0
// Answers as JSON: a strict reader gets the same values back.
#include "server/http/json_answer.h"

#include "server/server_fixture.h"

#include <nlohmann/json.hpp>

#include <limits>

namespace takt::server::http {
namespace {

using Json = nlohmann::json;
using server_test::bytes_of;
using server_test::bytes_of_strings;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

AnswerOutput output(DataType type, const Shape& shape, std::vector<std::byte> bytes) {
  AnswerOutput made;
  made.name = "OUTPUT0";
  made.type = type;
  made.shape = shape;
  made.made = std::move(bytes);
  made.bytes = made.made;
  return made;
}

InferAnswer answer_of(AnswerOutput one) {
  InferAnswer answer;
  answer.model = "simple";
  answer.version = "3";
  answer.outputs.push_back(std::move(one));
  return answer;
}

Json written(const InferAnswer& answer) {
  std::string json = "before";
  std::vector<std::span<const std::byte>> binary;
  const auto done = write_answer(answer, json, binary);
  EXPECT_TRUE(done) << (done ? "" : done.error().message);
  EXPECT_EQ(json.substr(0, 6), "before");
  return Json::parse(json.substr(6));
}

std::string error_of(const InferAnswer& answer) {
  std::string json = "before";
  std::vector<std::span<const std::byte>> binary;
  const auto done = write_answer(answer, json, binary);
  EXPECT_EQ(json, "before");
  if (done) return "written";
  EXPECT_EQ(done.error().code, ApiCode::invalid_argument);
  return done.error().message;
}

template <typename T>
void expect_round_trip(DataType type, const std::vector<T>& values) {
  const Json json = written(
      answer_of(output(type, {static_cast<std::int64_t>(values.size())}, bytes_of(values))));
  const Json& data = json["outputs"][0]["data"];
  ASSERT_EQ(data.size(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(data[i].get<T>(), values[i]) << i;
}

TEST(JsonAnswer, HasTheFieldsOfTheProtocol) {
  InferAnswer answer = answer_of(output(DataType::int32, {1, 2}, bytes_of<std::int32_t>({7, -9})));
  EXPECT_EQ(written(answer), Json::parse(R"({"model_name":"simple","model_version":"3","outputs":[
    {"name":"OUTPUT0","datatype":"INT32","shape":[1,2],"data":[7,-9]}]})"));
  answer.id = "part 7";
  EXPECT_EQ(written(answer)["id"], "part 7");
  answer.outputs.clear();
  EXPECT_EQ(written(answer)["outputs"], Json::array());
}

TEST(JsonAnswer, NumbersComeBackAsTheyWere) {
  expect_round_trip<std::int8_t>(DataType::int8, {-128, 0, 127});
  expect_round_trip<std::int16_t>(DataType::int16, {-32768, 32767});
  expect_round_trip<std::int32_t>(DataType::int32, {std::numeric_limits<std::int32_t>::min(), 7});
  expect_round_trip<std::int64_t>(DataType::int64, {std::numeric_limits<std::int64_t>::min(),
                                                    std::numeric_limits<std::int64_t>::max()});
  expect_round_trip<std::uint8_t>(DataType::uint8, {0, 255});
  expect_round_trip<std::uint16_t>(DataType::uint16, {0, 65535});
  expect_round_trip<std::uint32_t>(DataType::uint32, {0, 4294967295U});
  expect_round_trip<std::uint64_t>(DataType::uint64, {0, ~std::uint64_t{0}});
  expect_round_trip<float>(DataType::fp32,
                           {0.1F, -0.0F, 3, 1e-45F, std::numeric_limits<float>::max(), 16777216});
  expect_round_trip<double>(DataType::fp64, {0.1, 1e300, -5e-324, 1.0 / 3, 1e22, 123456789.125});
}

TEST(JsonAnswer, BooleansAreWords) {
  const Json json =
      written(answer_of(output(DataType::boolean, {3}, bytes_of<std::uint8_t>({1, 0, 255}))));
  EXPECT_EQ(json["outputs"][0]["data"], Json::parse("[true,false,true]"));
}

TEST(JsonAnswer, AnEmptyTensorHasNoData) {
  for (const DataType type :
       {DataType::int32, DataType::fp64, DataType::bytes, DataType::boolean}) {
    const Json json = written(answer_of(output(type, {0, 4}, {})));
    EXPECT_EQ(json["outputs"][0]["data"], Json::array());
    EXPECT_EQ(json["outputs"][0]["shape"], Json::parse("[0,4]"));
  }
}

TEST(JsonAnswer, StringsAreEscaped) {
  std::string controls;
  for (char c = 1; c < 0x20; ++c) controls += c;
  const std::vector<std::string> strings{
      "", "plain", "\"\\/", controls, std::string("a\0b", 3), "\x7f", "\u00e9\u20ac\U0001F600"};
  const Json json = written(answer_of(output(
      DataType::bytes, {static_cast<std::int64_t>(strings.size())}, bytes_of_strings(strings))));
  EXPECT_EQ(json["outputs"][0]["data"].get<std::vector<std::string>>(), strings);
}

TEST(JsonAnswer, NamesAndIdsAreEscaped) {
  InferAnswer answer = answer_of(output(DataType::int8, {0}, {}));
  answer.id = "\"},{\"";
  answer.model = "a\\b\n";
  answer.outputs[0].name = "\"";
  const Json json = written(answer);
  EXPECT_EQ(json["id"], answer.id);
  EXPECT_EQ(json["model_name"], answer.model);
  EXPECT_EQ(json["outputs"][0]["name"], "\"");
}

TEST(JsonAnswer, WhatJsonCantHoldIsAnErrorThatSaysWhatToAskFor) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float value : {infinity, -infinity, nan}) {
    EXPECT_THAT(
        error_of(answer_of(output(DataType::fp32, {2}, bytes_of<float>({1, value})))),
        HasSubstr("output 'OUTPUT0' holds a NaN or an infinity: ask for it as binary data"));
  }
  EXPECT_THAT(error_of(answer_of(output(DataType::fp64, {1}, bytes_of<double>({nan})))),
              HasSubstr("ask for it as binary data"));
  for (const DataType type : {DataType::fp16, DataType::bf16}) {
    EXPECT_THAT(error_of(answer_of(output(type, {1}, bytes_of<std::uint16_t>({0})))),
                HasSubstr("has a datatype that JSON can't hold: ask for it as binary data"));
  }
  for (const char* text : {"\xff", "\xc3", "\xed\xa0\x80", "ok\x80"}) {
    EXPECT_THAT(error_of(answer_of(output(DataType::bytes, {1}, bytes_of_strings({text})))),
                HasSubstr("holds strings that are not UTF-8: ask for it as binary data"));
  }
}

TEST(JsonAnswer, BinaryOutputsStandBehindTheJsonInTheirOrder) {
  InferAnswer answer = answer_of(output(DataType::fp16, {2}, bytes_of<std::uint16_t>({1, 2})));
  answer.outputs[0].binary = true;
  answer.outputs.push_back(output(DataType::int8, {1}, bytes_of<std::int8_t>({7})));
  answer.outputs.push_back(output(DataType::bytes, {1}, bytes_of_strings({"\xff"})));
  answer.outputs[2].binary = true;
  std::string json;
  std::vector<std::span<const std::byte>> binary;
  ASSERT_TRUE(write_answer(answer, json, binary));
  const Json outputs = Json::parse(json)["outputs"];
  EXPECT_EQ(outputs[0]["parameters"], Json::parse(R"({"binary_data_size":4})"));
  EXPECT_FALSE(outputs[0].contains("data"));
  EXPECT_EQ(outputs[1]["data"], Json::parse("[7]"));
  EXPECT_EQ(outputs[2]["parameters"], Json::parse(R"({"binary_data_size":5})"));
  ASSERT_EQ(binary.size(), 2);
  EXPECT_EQ(binary[0].data(), answer.outputs[0].bytes.data());
  EXPECT_EQ(binary[1].data(), answer.outputs[2].bytes.data());
}

TEST(JsonAnswer, SharedOutputsHaveNeitherDataNorParameters) {
  InferAnswer answer = answer_of(output(DataType::fp16, {2}, {}));
  answer.outputs[0].shared = SharedPlace{"region \"1\"", 64, 4};
  answer.outputs[0].binary = true;
  std::string json;
  std::vector<std::span<const std::byte>> binary;
  ASSERT_TRUE(write_answer(answer, json, binary));
  EXPECT_THAT(binary, IsEmpty());
  EXPECT_EQ(Json::parse(json)["outputs"][0],
            Json::parse(R"({"name":"OUTPUT0","datatype":"FP16","shape":[2]})"));
}

TEST(JsonAnswer, ErrorsAreJsonWhateverTheirMessageHolds) {
  EXPECT_EQ(Json::parse(error_json("it's \"wrong\"\n"))["error"], "it's \"wrong\"\n");
  EXPECT_EQ(Json::parse(error_json("caf\u00e9"))["error"], "caf\u00e9");
  EXPECT_EQ(Json::parse(error_json("a\xff\xc3z"))["error"], "a??z");
}

}  // namespace
}  // namespace takt::server::http
