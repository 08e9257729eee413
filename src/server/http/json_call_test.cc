// SPDX-License-Identifier: Apache-2.0
// The JSON of inference requests: what is read, and what is refused with which words.
#include "server/http/json_call.h"

#include "server/server_fixture.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <random>

namespace takt::server::http {
namespace {

using server_test::strings_of;
using server_test::values_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr std::size_t kLargeBytes = std::size_t{1} << 20;

class JsonCallTest : public ::testing::Test {
 protected:
  JsonCallTest() {
    const std::array classes{SizeClass{4096, 64}, SizeClass{kLargeBytes, 4}};
    pool_ = *SlotPool::create("test inputs", classes);
  }
  ~JsonCallTest() override { EXPECT_EQ(pool_->in_use(), 0) << "a slot was kept"; }

  // What lies behind the text must not matter: here it would go on with it.
  ApiResult<JsonCall> read(std::string text, char behind = '1') {
    const std::size_t length = text.size();
    text.append(JsonCallReader::padding(), behind);
    return reader_.read(std::span<const char>(text).first(length), binary_bytes_, room_);
  }
  std::string error_of(const std::string& text) {
    const auto call = read(text);
    if (call) return "read";
    EXPECT_EQ(call.error().code, ApiCode::invalid_argument);
    return call.error().message;
  }
  // Of a request with one input of these fields.
  InferCall call_with(const std::string& fields) {
    auto call = read(R"({"inputs":[{)" + fields + "}]}");
    EXPECT_TRUE(call) << fields << ": " << (call ? "" : call.error().message);
    if (!call) return {};
    EXPECT_EQ(call->call.inputs.size(), 1);
    return std::move(call->call);
  }
  std::string error_with(const std::string& fields) {
    return error_of(R"({"inputs":[{)" + fields + "}]}");
  }
  static std::string fields(const std::string& type, const std::string& shape,
                            const std::string& data) {
    return fmt::format(R"("name":"IN","datatype":"{}","shape":{},"data":{})", type, shape, data);
  }
  // One element of a datatype; nothing where it is refused.
  template <typename T>
  std::optional<T> element(const std::string& type, const std::string& text) {
    const auto call = read(R"({"inputs":[{)" + fields(type, "[1]", "[" + text + "]") + "}]}");
    if (!call) {
      EXPECT_EQ(call.error().code, ApiCode::invalid_argument);
      return std::nullopt;
    }
    return values_of<T>(call->call.inputs[0].bytes).at(0);
  }
  template <typename T>
  void expect_whole_numbers(const std::string& type, const std::string& below,
                            const std::string& above) {
    const T low = std::numeric_limits<T>::min();
    const T high = std::numeric_limits<T>::max();
    EXPECT_EQ(element<T>(type, std::to_string(low)), low) << type;
    EXPECT_EQ(element<T>(type, std::to_string(high)), high) << type;
    for (const std::string& text :
         {below, above, std::string("1.0"), std::string("1e0"), std::string("true"),
          std::string("null"), std::string("\"1\""), std::string("{}"), std::string("01"),
          std::string("+1"), std::string("1x"), std::string("-")}) {
      EXPECT_EQ(element<T>(type, text), std::nullopt) << type << " took " << text;
    }
  }
  std::vector<std::string> strings(const std::string& data, std::size_t count) {
    const InferCall call = call_with(fields("BYTES", fmt::format("[{}]", count), data));
    return call.inputs.empty() ? std::vector<std::string>{} : strings_of(call.inputs[0].bytes);
  }
  std::string string_error(const std::string& quoted) {
    return error_with(fields("BYTES", "[1]", "[" + quoted + "]"));
  }

  std::shared_ptr<SlotPool> pool_;
  std::uint64_t binary_bytes_ = 0;  // behind the text
  RoomSource room_ = [this](std::size_t bytes) -> ApiResult<Slot> {
    Result<Slot> slot = pool_->acquire(bytes);
    if (!slot) return std::unexpected(to_api_error(slot.error()));
    return std::move(*slot);
  };
  JsonCallReader reader_;
};

// The request --------------------------------------------------------------------------------------

TEST_F(JsonCallTest, EverythingOfARequestIsRead) {
  const auto read_call = read(R"({
    "id": "part 7",
    "parameters": {"priority": 2, "timeout": 2500, "binary_data_output": true},
    "inputs": [
      {"name": "A", "datatype": "INT32", "shape": [2, 2], "data": [1, 2, 3, 4]},
      {"name": "B", "datatype": "FP64", "shape": [1], "data": [0.5], "parameters": {}}],
    "outputs": [{"name": "X"}, {"name": "Y", "parameters": {"binary_data": false}},
                {"name": "Z", "parameters": {"classification": 5, "binary_data": true}}]
  })");
  ASSERT_TRUE(read_call) << read_call.error().message;
  const InferCall& call = read_call->call;
  EXPECT_EQ(call.id, "part 7");
  EXPECT_EQ(call.priority, 2);
  EXPECT_EQ(call.timeout_us, 2500);
  EXPECT_TRUE(call.binary_outputs);
  EXPECT_FALSE(call.sequence);
  ASSERT_EQ(call.inputs.size(), 2);
  EXPECT_EQ(call.inputs[0].name, "A");
  EXPECT_EQ(call.inputs[0].type, DataType::int32);
  EXPECT_EQ(call.inputs[0].shape, (Shape{2, 2}));
  EXPECT_THAT(values_of<std::int32_t>(call.inputs[0].bytes), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(values_of<double>(call.inputs[1].bytes), ElementsAre(0.5));
  ASSERT_EQ(call.outputs.size(), 3);
  EXPECT_EQ(call.outputs[0].name, "X");
  EXPECT_TRUE(call.outputs[0].binary) << "as the request says for all";
  EXPECT_FALSE(call.outputs[1].binary) << "its own word counts";
  EXPECT_TRUE(call.outputs[2].binary);
  EXPECT_EQ(call.outputs[2].classes, 5);
  EXPECT_EQ(call.slots.size(), 2);
  EXPECT_THAT(read_call->binary, IsEmpty());
}

TEST_F(JsonCallTest, TheFieldsOfAnInputMayComeInAnyOrder) {
  std::vector<std::string> parts{R"("data":[[1,2],[3,4]])", R"("datatype":"INT16")",
                                 R"("name":"IN")", R"("parameters":{"mine":[{"data":[9]}]})",
                                 R"("shape":[2,2])"};
  std::ranges::sort(parts);
  do {
    const InferCall call = call_with(fmt::format("{}", fmt::join(parts, ",")));
    ASSERT_EQ(call.inputs.size(), 1) << fmt::format("{}", fmt::join(parts, ","));
    EXPECT_THAT(values_of<std::int16_t>(call.inputs[0].bytes), ElementsAre(1, 2, 3, 4));
  } while (std::ranges::next_permutation(parts).found);
}

TEST_F(JsonCallTest, TheFieldsOfARequestMayComeInAnyOrder) {
  std::vector<std::string> parts{
      R"("id":"7")", R"("inputs":[{"data":["a"],"shape":[1],"datatype":"BYTES","name":"IN"}])",
      R"("outputs":[{"parameters":{},"name":"X"}])", R"("parameters":{"binary_data_output":true})"};
  do {
    const auto call = read("{" + fmt::format("{}", fmt::join(parts, ",")) + "}");
    ASSERT_TRUE(call) << call.error().message;
    EXPECT_EQ(call->call.id, "7");
    EXPECT_EQ(call->call.inputs.size(), 1);
    ASSERT_EQ(call->call.outputs.size(), 1);
    EXPECT_TRUE(call->call.outputs[0].binary);
  } while (std::ranges::next_permutation(parts).found);
}

TEST_F(JsonCallTest, UnknownFieldsAndParametersAreForOtherServers) {
  const auto call = read(R"({"later":{"a":[[1],{"b":"]}"}]},"parameters":{"mine":{"x":[1,2]},
    "headers":null},"inputs":[{"name":"IN","more":[1,[2]],"datatype":"UINT8","shape":[1],
    "parameters":{"mine":[true],"content_type":"np"},"data":[7]}],"outputs":[{"name":"X","etc":{}}]})");
  ASSERT_TRUE(call) << call.error().message;
  EXPECT_THAT(values_of<std::uint8_t>(call->call.inputs[0].bytes), ElementsAre(7));
}

TEST_F(JsonCallTest, AnIdMayBeANumber) {
  const auto id_of = [this](const std::string& id) {
    const auto call = read(R"({"id":)" + id + R"(,"inputs":[]})");
    return call ? call->call.id : "error: " + call.error().message;
  };
  EXPECT_EQ(id_of("42"), "42");
  EXPECT_EQ(id_of(" 42 \n"), "42") << "without the blanks around it";
  EXPECT_EQ(id_of("-7"), "-7");
  EXPECT_EQ(id_of("18446744073709551615"), "18446744073709551615");
  EXPECT_EQ(id_of(R"("a\u00e9\"b")"), "a\u00e9\"b");
  for (const char* id : {"null", "true", "[1]", "12abc", "-", "1e", "01"}) {
    EXPECT_THAT(id_of(id), StartsWith("error: ")) << id;
  }
}

TEST_F(JsonCallTest, ASequenceIsSeen) {
  const auto sequence = [this](const std::string& parameters) {
    const auto call = read(R"({"parameters":{)" + parameters + R"(},"inputs":[]})");
    EXPECT_TRUE(call) << parameters;
    return call && call->call.sequence;
  };
  EXPECT_TRUE(sequence(R"("sequence_id":42,"sequence_start":true,"sequence_end":false)"));
  EXPECT_TRUE(sequence(R"("sequence_id":"line 3")"));
  EXPECT_TRUE(sequence(R"("sequence_start":true)"));
  EXPECT_TRUE(sequence(R"("sequence_end":true)"));
  EXPECT_FALSE(sequence(R"("sequence_id":0,"sequence_start":false)")) << "Triton's clients send it";
  EXPECT_FALSE(sequence(R"("sequence_id":"")"));
}

TEST_F(JsonCallTest, WhatIsNoRequestIsRefused) {
  EXPECT_THAT(error_of(""), HasSubstr("failed to parse the request JSON buffer"));
  EXPECT_THAT(error_of("   "), HasSubstr("failed to parse the request JSON buffer"));
  EXPECT_THAT(error_of("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(error_of("7"), HasSubstr("expected an object"));
  EXPECT_THAT(error_of("\"inputs\""), HasSubstr("expected an object"));
  EXPECT_THAT(error_of("{}"), HasSubstr("unable to find 'inputs'"));
  EXPECT_THAT(error_of("{\"inputs\":[]"), HasSubstr("failed to parse the request JSON buffer"));
  EXPECT_THAT(error_of("{\"inputs\":["), HasSubstr("failed to parse the request JSON buffer"));
  EXPECT_THAT(error_of("{\"inputs\":[},"), HasSubstr("failed to parse the request JSON buffer"));
  EXPECT_THAT(error_of("{\"inputs\" []}"), HasSubstr("failed to parse the request JSON buffer"));
  EXPECT_THAT(error_of("{\"inputs\":[] \"id\":\"1\"}"),
              HasSubstr("failed to parse the request JSON buffer"));
  EXPECT_THAT(error_of("{\"inputs\":{}}"), HasSubstr("inputs: expected an array"));
  EXPECT_THAT(error_of("{\"inputs\":[7]}"), HasSubstr("inputs[0]: expected an object"));
  EXPECT_THAT(error_of("{\"inputs\":[],\"outputs\":7}"), HasSubstr("outputs: expected an array"));
  EXPECT_THAT(error_of("{\"inputs\":[],\"outputs\":[{}]}"),
              HasSubstr("outputs[0]: unable to find 'name'"));
  EXPECT_THAT(error_of("{\"inputs\":[],\"parameters\":[]}"),
              HasSubstr("parameters: expected an object"));
  EXPECT_THAT(error_of("{\"inputs\":[],\"id\":\"\xff\"}"),
              HasSubstr("failed to parse the request JSON buffer"));
}

TEST_F(JsonCallTest, TextBehindTheEndIsRefused) {
  const std::string request = R"({"inputs":[]})";
  for (const std::string behind : {"", " ", "\n\t\r ", "   \n"}) {
    EXPECT_TRUE(read(request + behind)) << "blanks: '" << behind << "'";
    EXPECT_TRUE(read(request + behind, '}'));
    EXPECT_TRUE(read(request + behind, '"'));
    EXPECT_TRUE(read(request + behind, '\0'));
  }
  for (const std::string behind : {"x", " x", "{}", " {}", "}", "]", ",", ":", "1", "\"a\"", "null",
                                   R"({"inputs":[]})", " \n {\"a\":[1,2]} "}) {
    EXPECT_THAT(error_of(request + behind), HasSubstr("failed to parse the request JSON buffer"))
        << "behind it: '" << behind << "'";
  }
  EXPECT_THAT(error_of(request + std::string(1, '\0')),
              HasSubstr("failed to parse the request JSON buffer"));
}

TEST_F(JsonCallTest, APartOfTheRequestComesOnce) {
  for (const std::string part :
       {R"("id":"1")", R"("inputs":[])", R"("outputs":[])", R"("parameters":{})"}) {
    EXPECT_THAT(error_of("{" + part + "," + part + "}"), HasSubstr(": comes twice")) << part;
  }
  EXPECT_EQ(error_of(R"({"inputs":[],"in\u0070uts":[]})"), "inputs: comes twice");
}

TEST_F(JsonCallTest, ParametersHaveTheirTypes) {
  const auto with = [this](const std::string& parameter) {
    return error_of(R"({"inputs":[],"parameters":{)" + parameter + "}}");
  };
  EXPECT_EQ(with(R"("priority":-1)"), "parameters.priority: expected a number of 0 or more");
  EXPECT_EQ(with(R"("timeout":"1")"), "parameters.timeout: expected a number of 0 or more");
  EXPECT_EQ(with(R"("timeout":18446744073709551616)"),
            "parameters.timeout: expected a number of 0 or more");
  EXPECT_EQ(with(R"("binary_data_output":1)"),
            "parameters.binary_data_output: expected true or false");
  EXPECT_EQ(with(R"("sequence_id":true)"), "parameters.sequence_id: expected a string");
  EXPECT_EQ(with(R"("sequence_start":0)"), "parameters.sequence_start: expected true or false");
}

// Values -------------------------------------------------------------------------------------------

TEST_F(JsonCallTest, WholeNumbersAreTakenUpToTheLimitsOfTheirDatatype) {
  expect_whole_numbers<std::int8_t>("INT8", "-129", "128");
  expect_whole_numbers<std::int16_t>("INT16", "-32769", "32768");
  expect_whole_numbers<std::int32_t>("INT32", "-2147483649", "2147483648");
  expect_whole_numbers<std::int64_t>("INT64", "-9223372036854775809", "9223372036854775808");
  expect_whole_numbers<std::uint8_t>("UINT8", "-1", "256");
  expect_whole_numbers<std::uint16_t>("UINT16", "-1", "65536");
  expect_whole_numbers<std::uint32_t>("UINT32", "-1", "4294967296");
  expect_whole_numbers<std::uint64_t>("UINT64", "-1", "18446744073709551616");
}

TEST_F(JsonCallTest, FloatsAreTakenUpToTheirLimits) {
  EXPECT_EQ(element<float>("FP32", "0.1"), 0.1F);
  EXPECT_EQ(element<float>("FP32", "3"), 3.0F) << "a whole number";
  EXPECT_EQ(element<float>("FP32", "-1.5E-2"), -0.015F);
  EXPECT_EQ(element<float>("FP32", "3.4028234663852886e38"), std::numeric_limits<float>::max());
  EXPECT_EQ(element<float>("FP32", "1e-46"), 0.0F);
  EXPECT_TRUE(std::signbit(element<float>("FP32", "-0.0").value_or(1)));
  EXPECT_EQ(element<double>("FP64", "0.1"), 0.1);
  EXPECT_EQ(element<double>("FP64", "1.7976931348623157e308"), std::numeric_limits<double>::max());
  EXPECT_EQ(element<double>("FP64", "5e-324"), std::numeric_limits<double>::denorm_min());
  EXPECT_EQ(element<double>("FP64", "18446744073709551615"), 18446744073709551615.0);
  for (const char* text : {"3.5e38", "-3.5e38", "1e309"}) {
    EXPECT_EQ(element<float>("FP32", text), std::nullopt) << text;
  }
  for (const char* text : {"1e309", "-1e309", "NaN", "Infinity", "-Infinity", "null", "true",
                           "\"1\"", "1.", ".5", "1e", "0x10", "1 2", "--1", "1..2"}) {
    EXPECT_EQ(element<double>("FP64", text), std::nullopt) << text;
  }
}

TEST_F(JsonCallTest, BooleansAreTrueAndFalse) {
  EXPECT_EQ(element<std::uint8_t>("BOOL", "true"), 1);
  EXPECT_EQ(element<std::uint8_t>("BOOL", "false"), 0);
  for (const char* text : {"1", "0", "\"true\"", "null", "truex", "tru"}) {
    EXPECT_EQ(element<std::uint8_t>("BOOL", text), std::nullopt) << text;
  }
}

TEST_F(JsonCallTest, SixteenBitFloatsMustBeBinary) {
  for (const char* type : {"FP16", "BF16"}) {
    EXPECT_THAT(error_with(fields(type, "[1]", "[1]")),
                HasSubstr("send this input as binary data"));
  }
}

TEST_F(JsonCallTest, NestedDataIsTheElementsInTheirOrder) {
  const auto values = [this](const std::string& shape, const std::string& data) {
    const InferCall call = call_with(fields("INT8", shape, data));
    return call.inputs.empty() ? std::vector<std::int8_t>{}
                               : values_of<std::int8_t>(call.inputs[0].bytes);
  };
  EXPECT_THAT(values("[2,3]", "[[1,2,3],[4,5,6]]"), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(values("[2,3]", "[1,2,3,4,5,6]"), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(values("[1,2,1,2]", "[[[[1,2]],[[3,4]]]]"), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(values("[]", "[5]"), ElementsAre(5)) << "a scalar";
  EXPECT_THAT(values("[0]", "[]"), IsEmpty());
  EXPECT_THAT(values("[2,0]", "[[],[]]"), IsEmpty());
  EXPECT_THAT(values("[0,16]", "[]"), IsEmpty());
}

TEST_F(JsonCallTest, ThereMustBeAsManyElementsAsTheShapeSays) {
  EXPECT_EQ(error_with(fields("INT8", "[3]", "[1,2]")),
            "inputs[0].data: unable to parse 'data': its shape asks for 3 elements, got 2");
  EXPECT_EQ(error_with(fields("INT8", "[2]", "[1,2,3]")),
            "inputs[0].data: more than the 2 elements that its shape asks for");
  EXPECT_EQ(error_with(fields("INT8", "[0]", "[1]")),
            "inputs[0].data: more than the 0 elements that its shape asks for");
  EXPECT_THAT(error_with(fields("INT8", "[1]", "[]")), HasSubstr("asks for 1 elements, got 0"));
  EXPECT_THAT(error_with(fields("BYTES", "[2]", "[\"a\"]")),
              HasSubstr("asks for 2 elements, got 1"));
  EXPECT_THAT(error_with(fields("BYTES", "[1]", "[\"a\",\"b\"]")),
              HasSubstr("more than the 1 elements"));
  EXPECT_THAT(error_with(fields("BYTES", "[0]", "[\"\"]")), HasSubstr("more than the 0 elements"));
}

TEST_F(JsonCallTest, AShapeLargerThanTheTextTakesNoMemory) {
  EXPECT_THAT(error_with(fields("FP64", "[100000]", "[1]")),
              HasSubstr("fewer elements than its shape asks for"));
  EXPECT_THAT(error_with(fields("BYTES", "[1099511627776]", "[\"\"]")),
              HasSubstr("fewer elements than its shape asks for"));
  EXPECT_THAT(error_with(fields("FP64", "[1099511627777]", "[1]")),
              HasSubstr("more than 2^40 elements"));
  EXPECT_EQ(pool_->use()[0].in_use_max, 0);
  EXPECT_EQ(pool_->use()[1].in_use_max, 0);
}

TEST_F(JsonCallTest, StringsTakeWhatTheyNeedAndNotTheWholeText) {
  const std::string filler(2 * kLargeBytes, ' ');
  std::string inputs;
  for (int i = 0; i < 8; ++i) {
    inputs += (i == 0 ? "{" : ",{") + fields("BYTES", "[1]", "[\"short\"]") + "}";
  }
  const auto call = read(R"({"inputs":[)" + inputs + "]" + filler + "}");
  ASSERT_TRUE(call) << call.error().message;
  EXPECT_EQ(pool_->use()[1].in_use_max, 0);
}

TEST_F(JsonCallTest, DataIsAnArrayOfElementsOrArrays) {
  for (const char* data : {"5", "\"a\"", "{}", "null", "true"}) {
    EXPECT_EQ(error_with(fields("INT8", "[1]", data)), "inputs[0].data: expected an array") << data;
  }
  EXPECT_EQ(error_with(fields("INT8", "[2]", "[1,{}]")),
            "inputs[0].data: element 1 is not a whole number that the datatype can hold");
  for (const char* data : {"[1 2]", "[1,]", "[,1]", "[1", "[1}", "[[1,2]", "[1]]", "[1:2]"}) {
    EXPECT_NE(error_with(fields("INT8", "[2]", data)), "read") << data;
  }
}

TEST_F(JsonCallTest, NestingHasALimit) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + "7" + std::string(depth, ']');
  };
  EXPECT_EQ(call_with(fields("INT8", "[1]", nested(16))).inputs.size(), 1);
  EXPECT_THAT(error_with(fields("INT8", "[1]", nested(17))), HasSubstr("nested less deeply"));
  EXPECT_THAT(error_with(fields("INT8", "[1]", nested(1'000'000))),
              HasSubstr("nested less deeply"));
  const auto unknown = read(R"({"x":)" + nested(1'000'000) + R"(,"inputs":[]})");
  EXPECT_TRUE(unknown) << "skipped, without a stack for it: " << unknown.error().message;
}

TEST_F(JsonCallTest, StringsAreUnescaped) {
  EXPECT_THAT(strings(R"(["", "a b", "\"\\\/\b\f\n\r\t"])", 3),
              ElementsAre("", "a b", "\"\\/\b\f\n\r\t"));
  EXPECT_THAT(strings(R"(["\u0041\u00e9\u20ac", "\ud83d\ude00", "é€😀"])", 3),
              ElementsAre("A\u00e9\u20ac", "\U0001F600", "\u00e9\u20ac\U0001F600"));
  EXPECT_THAT(strings(R"([["a\u0000b"],["c"]])", 2), ElementsAre(std::string("a\0b", 3), "c"));
  const std::string longest(3000, 'x');
  EXPECT_THAT(strings("[\"" + longest + "\",\"\\u0078\"]", 2), ElementsAre(longest, "x"));
}

TEST_F(JsonCallTest, DamagedStringsAreRefused) {
  for (const std::string text : {R"("\ud83d")", R"("\ude00")", R"("\ud83dx")", R"("\ud83d\u0041")",
                                 R"("\u12")", R"("\x41")", R"("\")", "\"\xc3\"", "\"\xed\xa0\x80\"",
                                 "\"a\nb\"", "\"a\tb\"", R"("a)", R"(a")", "7", "null", "{}"}) {
    EXPECT_NE(string_error(text), "read") << text;
  }
}

// Inputs -------------------------------------------------------------------------------------------

TEST_F(JsonCallTest, AnInputHasNameDatatypeShapeAndData) {
  EXPECT_EQ(error_with(R"("datatype":"INT8","shape":[1],"data":[1])"),
            "inputs[0]: unable to find 'name'");
  EXPECT_EQ(error_with(R"("name":"A","shape":[1],"data":[1])"),
            "inputs[0]: unable to find 'datatype'");
  EXPECT_EQ(error_with(R"("name":"A","datatype":"INT8","data":[1])"),
            "inputs[0].shape: expected an array of dimensions");
  EXPECT_THAT(error_with(R"("name":"A","datatype":"INT8","shape":[1])"),
              HasSubstr("inputs[0]: must have 'data'"));
  EXPECT_EQ(error_with(R"("name":7,"datatype":"INT8","shape":[1],"data":[1])"),
            "inputs[0].name: expected a string");
  EXPECT_THAT(error_with(fields("INT7", "[1]", "[1]")),
              HasSubstr("inputs[0].datatype: unknown data type 'INT7'"));
}

TEST_F(JsonCallTest, TheFieldsOfAnInputComeInAnyOrder) {
  std::vector<std::string> parts{R"("name":"A")", R"("datatype":"INT16")", R"("shape":[2])",
                                 R"("data":[1,2])", R"("mine":{"data":[7]})"};
  std::ranges::sort(parts);
  do {
    const InferCall call = call_with(fmt::format("{}", fmt::join(parts, ",")));
    ASSERT_EQ(call.inputs.size(), 1);
    EXPECT_EQ(call.inputs[0].name, "A");
    EXPECT_THAT(values_of<std::int16_t>(call.inputs[0].bytes), ElementsAre(1, 2));
  } while (std::ranges::next_permutation(parts).found);
}

TEST_F(JsonCallTest, AFieldOfAnInputOrOutputComesOnce) {
  for (const std::string part : {R"("name":"A")", R"("datatype":"INT8")", R"("shape":[1])",
                                 R"("data":[1])", R"("parameters":{})"}) {
    const std::string whole = fields("INT8", "[1]", "[1]") + R"(,"parameters":{})";
    EXPECT_THAT(error_with(whole + "," + part), HasSubstr(": comes twice")) << part;
  }
  EXPECT_EQ(error_of(R"({"inputs":[],"outputs":[{"name":"X","name":"X"}]})"),
            "outputs[0].name: comes twice");
  EXPECT_EQ(error_of(R"({"inputs":[],"outputs":[{"name":"X","parameters":{},"parameters":{}}]})"),
            "outputs[0].parameters: comes twice");
}

// Each is read twice, while simdjson keeps what it has read without looking for room.
TEST_F(JsonCallTest, LongKeysBesideDataThatComeEarlyFindRoom) {
  const std::string key(1 << 20, 'k');
  const InferCall call =
      call_with(R"("name":"A","data":[7],")" + key + R"(":0,"shape":[1],"datatype":"INT8")");
  EXPECT_THAT(values_of<std::int8_t>(call.inputs[0].bytes), ElementsAre(7));
}

// Found by the fuzzer: simdjson looks no further than a value's first character when it skips it.
TEST_F(JsonCallTest, WhatIsNoJsonBetweenTheFieldsIsNoInput) {
  EXPECT_NE(error_with(R"("name":"A","shape":[4],"datatype":"INT8","parameters":{"a[n":"in",)"
                       R"("outputs":"b":16,"utw":,A#,3],"c":4}}:[{"name":"Y","d":4})"),
            "read");
}

TEST_F(JsonCallTest, AShapeIsWholeNumbersOfZeroOrMore) {
  for (const char* shape :
       {"[-1]", "[1.0]", "[\"1\"]", "[null]", "[[1]]", "[9223372036854775808]"}) {
    EXPECT_EQ(error_with(fields("INT8", shape, "[1]")),
              "inputs[0].shape: expected whole numbers of 0 or more")
        << shape;
  }
  EXPECT_THAT(error_with(fields("INT8", "1", "[1]")), HasSubstr("expected an array of dimensions"));
  EXPECT_EQ(call_with(fields("INT8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[1]")).inputs.size(), 1);
  EXPECT_THAT(error_with(fields("INT8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[1]")),
              HasSubstr("more than 16 dimensions"));
}

TEST_F(JsonCallTest, ThereIsALimitToInputs) {
  const auto with = [this](std::size_t count) {
    std::string list;
    for (std::size_t i = 0; i < count; ++i) {
      list += (i == 0 ? "{" : ",{") + fields("INT8", "[0]", "[]") + "}";
    }
    return error_of(R"({"inputs":[)" + list + "]}");
  };
  EXPECT_EQ(with(1024), "read");
  EXPECT_EQ(with(1025), "inputs: more than 1024");
}

TEST_F(JsonCallTest, BinaryInputsAreRoomInTheOrderOfTheInputs) {
  binary_bytes_ = 15;
  const auto read_call = read(R"({"inputs":[
    {"name":"A","datatype":"FP16","shape":[3],"parameters":{"binary_data_size":6}},
    {"name":"B","datatype":"INT8","shape":[1],"data":[1]},
    {"name":"C","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":9}}]})");
  ASSERT_TRUE(read_call) << read_call.error().message;
  const InferCall& call = read_call->call;
  ASSERT_EQ(read_call->binary.size(), 2);
  EXPECT_EQ(read_call->binary[0].size(), 6);
  EXPECT_EQ(read_call->binary[0].data(), call.inputs[0].bytes.data());
  EXPECT_EQ(read_call->binary[1].size(), 9);
  EXPECT_EQ(read_call->binary[1].data(), call.inputs[2].bytes.data());
  EXPECT_EQ(call.slots.size(), 3);
  for (const CallInput& input : call.inputs) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(input.bytes.data()) % 64, 0);
  }
}

TEST_F(JsonCallTest, BinaryDataIsAllThatFollowsTheJson) {
  const std::string input =
      R"({"name":"A","datatype":"INT8","shape":[4],"parameters":{"binary_data_size":4}})";
  const auto with = [&](std::uint64_t follow) {
    binary_bytes_ = follow;
    return error_of(R"({"inputs":[)" + input + "," + input + "]}");
  };
  EXPECT_EQ(with(8), "read");
  EXPECT_EQ(with(9), "the inputs state 8 bytes of binary data, but 9 follow the JSON");
  EXPECT_EQ(with(7),
            "inputs[1]: 4 bytes of binary data, but 3 are left of the 7 that follow the JSON");
  EXPECT_EQ(with(0),
            "inputs[0]: 4 bytes of binary data, but 0 are left of the 0 that follow the JSON");
  binary_bytes_ = 8;
  EXPECT_THAT(error_with(fields("INT8", "[1]", "[1]")), HasSubstr("but 8 follow the JSON"));
}

TEST_F(JsonCallTest, BinaryDataThatDoesntComeTakesNoMemory) {
  EXPECT_THAT(error_of(R"({"inputs":[{"name":"A","datatype":"INT8","shape":[1000000],
    "parameters":{"binary_data_size":1000000}}]})"),
              HasSubstr("1000000 bytes of binary data, but 0 are left"));
  EXPECT_EQ(pool_->use()[1].in_use_max, 0);
}

TEST_F(JsonCallTest, AnInputHasOneSourceOfItsBytes) {
  const std::string base = R"("name":"A","datatype":"INT8","shape":[1])";
  EXPECT_THAT(error_with(base + R"(,"data":[1],"parameters":{"binary_data_size":1})"),
              HasSubstr("expected either 'data', binary data or shared memory, got two of them"));
  EXPECT_THAT(error_with(base + R"(,"data":[1],"parameters":{"shared_memory_region":"r",
                                    "shared_memory_byte_size":1})"),
              HasSubstr("got two of them"));
  EXPECT_THAT(error_with(base + R"(,"parameters":{"binary_data_size":1,"shared_memory_region":"r",
                                    "shared_memory_byte_size":1})"),
              HasSubstr("got two of them"));
  EXPECT_THAT(error_with(base + R"(,"parameters":{"binary_data_size":-1})"),
              HasSubstr("inputs[0].parameters.binary_data_size: expected a number of 0 or more"));
  EXPECT_THAT(error_with(base + R"(,"parameters":7)"),
              HasSubstr("inputs[0].parameters: expected an object"));
}

TEST_F(JsonCallTest, SharedMemoryIsAPlace) {
  const InferCall call = call_with(
      R"("name":"A","datatype":"INT8","shape":[3],"parameters":{"shared_memory_region":"r",
         "shared_memory_offset":64,"shared_memory_byte_size":3})");
  ASSERT_TRUE(call.inputs[0].shared);
  EXPECT_EQ(call.inputs[0].shared->region, "r");
  EXPECT_EQ(call.inputs[0].shared->offset, 64);
  EXPECT_EQ(call.inputs[0].shared->bytes, 3);
  EXPECT_THAT(call.slots, IsEmpty());
  EXPECT_THAT(error_with(R"("name":"A","datatype":"INT8","shape":[3],
                            "parameters":{"shared_memory_region":"r"})"),
              HasSubstr("'shared_memory_byte_size' must be given with a region"));
  const auto output = read(R"({"inputs":[],"outputs":[{"name":"X","parameters":{
    "shared_memory_region":"r","shared_memory_byte_size":8}}]})");
  ASSERT_TRUE(output);
  EXPECT_EQ(output->call.outputs[0].shared->bytes, 8);
}

TEST_F(JsonCallTest, ClassesAreBounded) {
  const auto with = [this](const std::string& classes) {
    return error_of(R"({"inputs":[],"outputs":[{"name":"X","parameters":{"classification":)" +
                    classes + "}}]}");
  };
  EXPECT_EQ(with("0"), "read");
  EXPECT_EQ(with("1048576"), "read");
  EXPECT_EQ(with("1048577"),
            "outputs[0].parameters.classification: more classes than any model has");
  EXPECT_THAT(with("-1"), HasSubstr("expected a number of 0 or more"));
}

TEST_F(JsonCallTest, WhatTheSourceOfMemorySaysComesBack) {
  room_ = [](std::size_t /*bytes*/) -> ApiResult<Slot> {
    return refuse(ApiCode::resource_exhausted, "no room");
  };
  const auto call = read(R"({"inputs":[{)" + fields("INT8", "[1]", "[1]") + "}]}");
  ASSERT_FALSE(call);
  EXPECT_EQ(call.error().code, ApiCode::resource_exhausted);
  EXPECT_EQ(call.error().message, "no room");
}

TEST_F(JsonCallTest, AReaderReadsRequestsOfAnySizeOneAfterTheOther) {
  for (const std::size_t count : {1, 1000, 3, 100'000, 2, 70'000}) {
    std::string data = "[";
    for (std::size_t i = 0; i < count; ++i) data += i == 0 ? "7" : ",7";
    const InferCall call = call_with(fields("UINT8", fmt::format("[{}]", count), data + "]"));
    ASSERT_EQ(call.inputs.size(), 1);
    EXPECT_EQ(call.inputs[0].bytes.size(), count);
    EXPECT_NE(error_of("{"), "read") << "an error between them";
  }
}

// Mutations ----------------------------------------------------------------------------------------

// Changes, inserts, removes, repeats or moves a few bytes. mt19937's numbers are the same everywhere.
std::string mutate(std::string text, std::mt19937& random) {
  constexpr std::string_view kAlphabet = "{}[]\",:\\u0123456789-+.eEtrfalsn \n\x00\xff\xc3\xa9";
  const auto below = [&random](std::size_t bound) {
    return random() % std::max<std::size_t>(bound, 1);
  };
  const auto changes = 1 + below(4);
  for (std::size_t i = 0; i < changes && !text.empty(); ++i) {
    const std::size_t at = below(text.size());
    const std::size_t length = below(12);
    const char c = kAlphabet[below(kAlphabet.size())];
    switch (below(5)) {
      case 0:
        text[at] = c;
        break;
      case 1:
        text.insert(at, 1, c);
        break;
      case 2:
        text.erase(at, length);
        break;
      case 3:
        text.insert(at, text.substr(at, length));
        break;
      default:
        text.insert(below(text.size()), text.substr(at, length));
        break;
    }
  }
  return text;
}

TEST_F(JsonCallTest, MutatedRequestsAreReadOrRefusedAndKeepNoSlot) {
  const std::array requests{
      std::string(
          R"({"id":"7","inputs":[{"name":"A","datatype":"INT32","shape":[2,2],"data":[[1,-2],[3,40]]}]})"),
      std::string(
          R"({"inputs":[{"data":["a\u00e9","\ud83d\ude00"],"shape":[2],"datatype":"BYTES","name":"A"}],
        "outputs":[{"name":"X","parameters":{"classification":2}}],"parameters":{"timeout":5}})"),
      std::string(R"({"inputs":[{"name":"A","datatype":"FP32","shape":[3],"data":[1e3,-0.5,2]},
        {"name":"B","shape":[2],"datatype":"BOOL","data":[true,false]},
        {"name":"C","shape":[1],"datatype":"FP16","parameters":{"binary_data_size":2}}],"id":42,
        "parameters":{"binary_data_output":true,"sequence_id":0,"more":{"a":[1,{}]}}})")};
  std::mt19937 random(20260301);
  std::size_t taken = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::size_t which = random() % requests.size();
    const std::string text = mutate(requests[which], random);
    binary_bytes_ = which == 2 ? 2 : 0;
    const auto call = read(text, static_cast<char>(random()));
    if (call) {
      ++taken;
      for (const CallInput& input : call->call.inputs) {
        if (input.shared || input.type == DataType::bytes || !call->binary.empty()) continue;
        ASSERT_EQ(input.bytes.size(), byte_size(input.type, input.shape).value()) << text;
      }
    } else {
      ASSERT_NE(call.error().message, "") << text;
    }
  }
  EXPECT_GT(taken, 500) << "hardly any mutation was read: they test too little";
  EXPECT_LT(taken, 9'500);
}

}  // namespace
}  // namespace takt::server::http
