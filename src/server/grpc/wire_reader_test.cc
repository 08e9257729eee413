// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/wire_reader.h"

#include "server/grpc/wire_fixture.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>

namespace takt::server::rpc {
namespace {

using inference::ModelInferRequest;

template <typename T>
std::vector<T> elements(const CallInput& input) {
  const auto* const first = reinterpret_cast<const T*>(input.bytes.data());
  return {first, first + input.bytes.size() / sizeof(T)};
}

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The binary form of strings.
std::string with_lengths(const std::vector<std::string>& strings) {
  std::string bytes;
  for (const std::string& string : strings) {
    bytes += raw<std::uint32_t>({static_cast<std::uint32_t>(string.size())}) + string;
  }
  return bytes;
}

ModelInferRequest two_inputs() {
  ModelInferRequest request;
  request.set_model_name("defects");
  request.set_model_version("3");
  request.set_id("part-17");
  add_raw_input(request, "image", "UINT8", {1, 2, 3}, "abcdef");
  add_raw_input(request, "scale", "FP32", {1}, raw<float>({0.5F}));
  return request;
}

class WireReader : public ::testing::Test, protected CallReader {
 public:
  ~WireReader() override { EXPECT_EQ(pool->in_use(), 0U) << "a slot was leaked"; }

 protected:
  void expect_refused(const std::string& bytes, const std::string& part) {
    const auto call = read(bytes);
    ASSERT_FALSE(call.has_value()) << "expected: " << part;
    EXPECT_EQ(call.error().code, ApiCode::invalid_argument);
    EXPECT_NE(call.error().message.find(part), std::string::npos) << call.error().message;
  }
  void expect_refused(const ModelInferRequest& request, const std::string& part) {
    expect_refused(request.SerializeAsString(), part);
  }
};

TEST_F(WireReader, GivesNamesShapesAndBytes) {
  const auto call = read(two_inputs());
  ASSERT_TRUE(call.has_value()) << call.error().message;
  EXPECT_EQ(call->model, "defects");
  EXPECT_EQ(call->version, "3");
  EXPECT_EQ(call->id, "part-17");
  ASSERT_EQ(call->inputs.size(), 2U);
  EXPECT_EQ(call->inputs[0].name, "image");
  EXPECT_EQ(call->inputs[0].type, DataType::uint8);
  EXPECT_EQ(call->inputs[0].shape, (Shape{1, 2, 3}));
  EXPECT_EQ(text(call->inputs[0].bytes), "abcdef");
  EXPECT_EQ(elements<float>(call->inputs[1]), std::vector{0.5F});
}

TEST_F(WireReader, PutsAllInputsIntoOneSlotEachAligned) {
  const auto call = read(two_inputs());
  ASSERT_TRUE(call.has_value());
  EXPECT_EQ(asked, 1);
  ASSERT_EQ(call->slots.size(), 1U);
  for (const CallInput& input : call->inputs) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(input.bytes.data()) % 64, 0U);
  }
}

TEST_F(WireReader, ReadsTheParametersThatTaktKnows) {
  ModelInferRequest request = two_inputs();
  auto& parameters = *request.mutable_parameters();
  parameters["priority"].set_uint64_param(2);
  parameters["timeout"].set_int64_param(5000);
  parameters["own"].set_double_param(0.5);
  parameters["other"].set_string_param(std::string(5000, 'x'));
  parameters["empty"];
  const auto call = read(request);
  ASSERT_TRUE(call.has_value()) << call.error().message;
  EXPECT_EQ(call->priority, 2U);
  EXPECT_EQ(call->timeout_us, 5000U);
  EXPECT_FALSE(call->sequence);
}

TEST_F(WireReader, SaysWhenARequestBelongsToASequence) {
  const auto sequence = [this](const std::function<void(ModelInferRequest&)>& change) {
    ModelInferRequest request = two_inputs();
    change(request);
    return read(request).value().sequence;
  };
  EXPECT_TRUE(sequence(
      [](auto& request) { (*request.mutable_parameters())["sequence_id"].set_int64_param(7); }));
  EXPECT_TRUE(sequence(
      [](auto& request) { (*request.mutable_parameters())["sequence_id"].set_string_param("a"); }));
  EXPECT_TRUE(sequence(
      [](auto& request) { (*request.mutable_parameters())["sequence_end"].set_bool_param(true); }));
  EXPECT_FALSE(sequence([](auto& request) {
    (*request.mutable_parameters())["sequence_id"].set_int64_param(0);
    (*request.mutable_parameters())["sequence_start"].set_bool_param(false);
  }));
}

TEST_F(WireReader, ReadsOutputsWithClassesAndPlaces) {
  ModelInferRequest request = two_inputs();
  request.add_outputs()->set_name("scores");
  (*request.mutable_outputs(0)->mutable_parameters())["classification"].set_int64_param(3);
  request.add_outputs()->set_name("boxes");
  put_in_region(*request.mutable_outputs(1)->mutable_parameters(), "out", 640, 64);
  const auto call = read(request);
  ASSERT_TRUE(call.has_value()) << call.error().message;
  ASSERT_EQ(call->outputs.size(), 2U);
  EXPECT_EQ(call->outputs[0].classes, 3);
  EXPECT_FALSE(call->outputs[0].shared);
  EXPECT_EQ(call->outputs[1].name, "boxes");
  ASSERT_TRUE(call->outputs[1].shared);
  EXPECT_EQ(call->outputs[1].shared->region, "out");
  EXPECT_EQ(call->outputs[1].shared->bytes, 640U);
  EXPECT_EQ(call->outputs[1].shared->offset, 64U);
}

TEST_F(WireReader, SkipsInputsInSharedMemoryWhenItCountsRawContents) {
  ModelInferRequest request;
  put_in_region(*add_input(request, "a", "FP32", {4}).mutable_parameters(), "in", 16, 0);
  add_raw_input(request, "b", "UINT8", {2}, "bb");
  const auto call = read(request);
  ASSERT_TRUE(call.has_value()) << call.error().message;
  ASSERT_TRUE(call->inputs[0].shared);
  EXPECT_TRUE(call->inputs[0].bytes.empty());
  EXPECT_EQ(text(call->inputs[1].bytes), "bb");
}

TEST_F(WireReader, AsksForNoSlotWhereThereAreNoBytes) {
  ModelInferRequest request;
  put_in_region(*add_input(request, "a", "FP32", {4}).mutable_parameters(), "in", 16, 0);
  add_input(request, "b", "FP32", {0, 4});
  const auto call = read(request);
  ASSERT_TRUE(call.has_value()) << call.error().message;
  EXPECT_EQ(asked, 0);
  EXPECT_TRUE(call->slots.empty());
}

TEST_F(WireReader, PassesRawStringsAsTheyAre) {
  ModelInferRequest request;
  add_raw_input(request, "words", "BYTES", {2}, with_lengths({"ab", ""}));
  const auto call = read(request);
  ASSERT_TRUE(call.has_value());
  EXPECT_EQ(text(call->inputs[0].bytes), with_lengths({"ab", ""}));
}

// One input of each type that InferTensorContents has a field for.
TEST_F(WireReader, ReadsEachTypeFromItsField) {
  ModelInferRequest request;
  const auto contents = [&request](const char* type, std::int64_t count) {
    return add_input(request, type, type, {count}).mutable_contents();
  };
  auto* booleans = contents("BOOL", 2);
  booleans->add_bool_contents(true);
  booleans->add_bool_contents(false);
  const std::array<std::pair<const char*, std::int32_t>, 3> signed_types{
      {{"INT8", std::numeric_limits<std::int8_t>::min()},
       {"INT16", std::numeric_limits<std::int16_t>::min()},
       {"INT32", std::numeric_limits<std::int32_t>::min()}}};
  for (const auto& [type, least] : signed_types) {
    auto* integers = contents(type, 2);
    integers->add_int_contents(least);
    integers->add_int_contents(127);
  }
  contents("INT64", 1)->add_int64_contents(std::numeric_limits<std::int64_t>::min());
  const std::array<std::pair<const char*, std::uint32_t>, 3> unsigned_types{
      {{"UINT8", 0xffU}, {"UINT16", 0xffffU}, {"UINT32", 0xffffffffU}}};
  for (const auto& [type, most] : unsigned_types) contents(type, 1)->add_uint_contents(most);
  contents("UINT64", 1)->add_uint64_contents(std::numeric_limits<std::uint64_t>::max());
  auto* floats = contents("FP32", 2);
  floats->add_fp32_contents(-1.5F);
  floats->add_fp32_contents(3.0F);
  contents("FP64", 1)->add_fp64_contents(-0.25);
  auto* strings = contents("BYTES", 2);
  strings->add_bytes_contents("hello");
  strings->add_bytes_contents("");

  const auto call = read(request);
  ASSERT_TRUE(call.has_value()) << call.error().message;
  const std::vector<CallInput>& in = call->inputs;
  ASSERT_EQ(in.size(), 12U);
  EXPECT_EQ(text(in[0].bytes), std::string("\1\0", 2));
  EXPECT_EQ(elements<std::int8_t>(in[1]), (std::vector<std::int8_t>{-128, 127}));
  EXPECT_EQ(elements<std::int16_t>(in[2]), (std::vector<std::int16_t>{-32768, 127}));
  EXPECT_EQ(elements<std::int32_t>(in[3]),
            (std::vector{std::numeric_limits<std::int32_t>::min(), 127}));
  EXPECT_EQ(elements<std::int64_t>(in[4]), std::vector{std::numeric_limits<std::int64_t>::min()});
  EXPECT_EQ(elements<std::uint8_t>(in[5]), std::vector<std::uint8_t>{0xff});
  EXPECT_EQ(elements<std::uint16_t>(in[6]), std::vector<std::uint16_t>{0xffff});
  EXPECT_EQ(elements<std::uint32_t>(in[7]), std::vector{0xffffffffU});
  EXPECT_EQ(elements<std::uint64_t>(in[8]), std::vector{std::numeric_limits<std::uint64_t>::max()});
  EXPECT_EQ(elements<float>(in[9]), (std::vector{-1.5F, 3.0F}));
  EXPECT_EQ(elements<double>(in[10]), std::vector{-0.25});
  EXPECT_EQ(text(in[11].bytes), with_lengths({"hello", ""}));
}

// Each element in a field of its own, as proto2 writers send it.
TEST_F(WireReader, ReadsUnpackedElementsAndDimensions) {
  const std::string input =
      "\x0a\x01x\x12\x05INT16"  // name, datatype
      "\x18\x02\x18\x01"        // shape: 2, 1
      "\x2a\x05\x10\x05\x10\xac\x02";
  const std::string message =
      "\x0a\x01m\x2a" + std::string(1, static_cast<char>(input.size())) + input;
  const auto call = read(message);
  ASSERT_TRUE(call.has_value()) << call.error().message;
  EXPECT_EQ(call->inputs[0].shape, (Shape{2, 1}));
  EXPECT_EQ(elements<std::int16_t>(call->inputs[0]), (std::vector<std::int16_t>{5, 300}));
}

TEST_F(WireReader, TakesFieldsInAnyOrder) {
  const ModelInferRequest whole = two_inputs();
  ModelInferRequest tensors = whole;
  tensors.clear_model_name();
  tensors.clear_raw_input_contents();
  ModelInferRequest rest;
  rest.set_model_name(whole.model_name());
  *rest.mutable_raw_input_contents() = whole.raw_input_contents();
  const auto call = read(rest.SerializeAsString() + tensors.SerializeAsString());
  ASSERT_TRUE(call.has_value()) << call.error().message;
  EXPECT_EQ(call->model, "defects");
  EXPECT_EQ(text(call->inputs[0].bytes), "abcdef");
}

TEST_F(WireReader, PassesOverFieldsThatItDoesNotKnow) {
  const std::string unknown = std::string("\xf8\x01\x05\xf9\x01") + "12345678" + "\xfa\x01\x03" +
                              "abc" + "\xfd\x01" + "1234";
  const auto call = read(two_inputs().SerializeAsString() + unknown);
  EXPECT_TRUE(call.has_value());
}

TEST_F(WireReader, RefusesDataThatDoNotBelongToTheInputs) {
  ModelInferRequest both = two_inputs();
  both.mutable_inputs(0)->mutable_contents()->add_uint_contents(1);
  expect_refused(both, "input 'image': contents must not be set beside raw_input_contents");

  ModelInferRequest missing = two_inputs();
  missing.mutable_raw_input_contents()->RemoveLast();
  expect_refused(missing,
                 "expected 2 raw input contents, one for each input outside of shared "
                 "memory, got 1");
  ModelInferRequest more = two_inputs();
  more.add_raw_input_contents("x");
  expect_refused(more, "expected 2 raw input contents");

  ModelInferRequest none;
  add_input(none, "x", "FP32", {2});
  expect_refused(none, "input 'x': no data");

  ModelInferRequest placed;
  auto& input = add_input(placed, "x", "FP32", {1});
  put_in_region(*input.mutable_parameters(), "in", 4, 0);
  input.mutable_contents()->add_fp32_contents(1);
  expect_refused(placed, "input 'x': contents, and a place in shared memory as well");
}

TEST_F(WireReader, RefusesContentsThatAreNotOfTheShape) {
  const auto with_floats = [](int count, const std::vector<std::int64_t>& shape) {
    ModelInferRequest request;
    auto* contents = add_input(request, "x", "FP32", shape).mutable_contents();
    for (int i = 0; i < count; ++i) contents->add_fp32_contents(1);
    return request;
  };
  expect_refused(with_floats(3, {2}), "input 'x': contents: more elements than the shape has");
  expect_refused(with_floats(1, {2}), "input 'x': contents: fewer elements than the shape has");
  expect_refused(with_floats(1, {1 << 20, 1 << 10}), "contents: fewer elements");
  expect_refused(with_floats(1, {-1}), "negative dimension");
  expect_refused(with_floats(1, {1LL << 40, 1LL << 40}), "more than 2^40 elements");
  EXPECT_LE(asked, 2) << "room is asked for only where the bytes could be enough";

  ModelInferRequest strings;
  add_input(strings, "x", "BYTES", {2}).mutable_contents()->add_bytes_contents("one");
  expect_refused(strings, "input 'x': contents: 1 strings; the shape has 2");
}

TEST_F(WireReader, RefusesElementsOfAnotherType) {
  ModelInferRequest wrong;
  add_input(wrong, "x", "FP32", {1}).mutable_contents()->add_int64_contents(1);
  expect_refused(wrong, "elements of FP32 belong in fp32_contents, not in int64_contents");
  ModelInferRequest half;
  add_input(half, "x", "FP16", {1}).mutable_contents()->add_fp32_contents(1);
  expect_refused(half, "there is no field for FP16; send it in raw_input_contents");
  ModelInferRequest unknown;
  add_raw_input(unknown, "x", "FP31", {1}, "1234");
  expect_refused(unknown, "unknown data type 'FP31'");
}

TEST_F(WireReader, RefusesNumbersThatATypeCannotHold) {
  const auto with = [](const char* type, std::int32_t value) {
    ModelInferRequest request;
    auto* contents = add_input(request, "x", type, {1}).mutable_contents();
    if (*type == 'U') {
      contents->add_uint_contents(static_cast<std::uint32_t>(value));
    } else {
      contents->add_int_contents(value);
    }
    return request;
  };
  expect_refused(with("INT8", 128), "128 is no INT8; expected -128 to 127");
  expect_refused(with("INT8", -129), "-129 is no INT8");
  expect_refused(with("INT16", 40000), "40000 is no INT16");
  expect_refused(with("UINT8", 256), "256 is no UINT8; expected 0 to 255");
  expect_refused(with("UINT16", 70000), "70000 is no UINT16");
}

TEST_F(WireReader, RefusesParametersOfTheWrongType) {
  const auto with = [](const std::function<void(ModelInferRequest&)>& change) {
    ModelInferRequest request = two_inputs();
    change(request);
    return request;
  };
  expect_refused(with([](auto& r) { (*r.mutable_parameters())["priority"].set_int64_param(-1); }),
                 "parameter 'priority': expected an int64_param or uint64_param of 0 or more");
  expect_refused(with([](auto& r) { (*r.mutable_parameters())["timeout"].set_string_param("5"); }),
                 "parameter 'timeout'");
  expect_refused(
      with([](auto& r) { (*r.mutable_parameters())["sequence_start"].set_int64_param(1); }),
      "parameter 'sequence_start': expected a bool_param");
  expect_refused(with([](auto& r) {
                   auto& parameters = *r.mutable_inputs(0)->mutable_parameters();
                   parameters["shared_memory_region"].set_string_param("in");
                 }),
                 "shared_memory_region needs a shared_memory_byte_size");
  expect_refused(with([](auto& r) {
                   auto& parameters = *r.mutable_inputs(0)->mutable_parameters();
                   parameters["shared_memory_offset"].set_int64_param(8);
                 }),
                 "the place in shared memory has no shared_memory_region");
}

TEST_F(WireReader, BoundsWhatARequestMayHave) {
  const auto with = [](const std::function<void(ModelInferRequest&)>& change) {
    ModelInferRequest request = two_inputs();
    change(request);
    return request;
  };
  expect_refused(with([](auto& r) { r.set_id(std::string(1025, 'x')); }),
                 "a request's id of 1025 bytes; at most 1024");
  expect_refused(with([](auto& r) { r.mutable_inputs(0)->set_name(std::string(1025, 'x')); }),
                 "a tensor's name of 1025 bytes");
  expect_refused(with([](auto& r) {
                   for (int i = 0; i < 1023; ++i) add_input(r, "x", "FP32", {0});
                 }),
                 "more than 1024 inputs");
  expect_refused(with([](auto& r) {
                   for (int i = 0; i < 1025; ++i) r.add_outputs()->set_name("y");
                 }),
                 "more than 1024 outputs");
  expect_refused(with([](auto& r) {
                   for (int i = 0; i < 1023; ++i) r.add_raw_input_contents("");
                 }),
                 "more than 1024 raw input contents");
  expect_refused(with([](auto& r) {
                   for (int i = 0; i < 17; ++i) r.mutable_inputs(0)->add_shape(1);
                 }),
                 "input 'image': more than 16 dimensions");
  expect_refused(with([](auto& r) {
                   for (int i = 0; i < 65; ++i) (*r.mutable_parameters())[std::to_string(i)];
                 }),
                 "more than 64 parameters");
  expect_refused(with([](auto& r) {
                   auto& parameters = *r.mutable_inputs(0)->mutable_parameters();
                   for (int i = 0; i < 65; ++i) parameters[std::to_string(i)];
                 }),
                 "input 'image': more than 64 parameters");
}

TEST_F(WireReader, RefusesTextThatIsNotUtf8) {
  for (const std::string& bytes :
       {std::string("\xff"), std::string("\xc0\x80"), std::string("\xed\xa0\x80"),
        std::string("a\xe2\x82"), std::string("\xf5\x80\x80\x80")}) {
    const std::string message = "\x1a" + std::string(1, static_cast<char>(bytes.size())) + bytes;
    expect_refused(message, "a request's id that is not UTF-8");
  }
  EXPECT_TRUE(read("\x1a\x04\xf0\x9f\x98\x80").has_value());
}

TEST_F(WireReader, RefusesMalformedBytes) {
  const auto message = [](std::initializer_list<int> bytes) {
    std::string text;
    for (const int byte : bytes) text += static_cast<char>(byte);
    return text;
  };
  const std::string what = "the bytes are no ModelInferRequest";
  expect_refused(message({0x0a}), what);             // a length is missing
  expect_refused(message({0x0a, 0x05, 'a'}), what);  // a length that lies
  expect_refused(message({0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}), what);
  expect_refused(message({0x00, 0x00}), what);                    // field 0
  expect_refused(message({0x0b, 0x0c}), what);                    // a group
  expect_refused(message({0x0e}), what);                          // wire type 6
  expect_refused(message({0xff, 0xff, 0xff, 0xff, 0x7f}), what);  // a tag beyond 32 bits
  expect_refused(message({0x08, 0x01}), what);                    // a name that is a number
  expect_refused(message({0x28, 0x01}), what);                    // an input that is a number
  expect_refused(message({0x38, 0x01}), what);                    // raw contents that are a number
  // Varints of eleven bytes, and of more than 64 bits.
  expect_refused(message({0x78, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}),
                 what);
  expect_refused(message({0x78, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02}), what);
}

TEST_F(WireReader, PassesOverDeepNestingWithoutFollowingIt) {
  std::string nested;
  for (int i = 0; i < 10'000; ++i) {
    std::string outer = "\x7a";
    for (std::size_t size = nested.size();; size >>= 7U) {
      outer += static_cast<char>(size < 0x80 ? size : (size & 0x7f) | 0x80);
      if (size < 0x80) break;
    }
    if (outer.size() + nested.size() > 60'000) break;
    nested = outer + nested;
  }
  EXPECT_TRUE(read(nested).has_value());
}

TEST_F(WireReader, GivesBackTheSlotOfARequestThatItRefuses) {
  ModelInferRequest request;
  auto* contents = add_input(request, "x", "INT8", {2}).mutable_contents();
  contents->add_int_contents(1);
  contents->add_int_contents(1000);
  expect_refused(request, "1000 is no INT8");
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(pool->in_use(), 0U);
}

TEST_F(WireReader, PassesOnThatThereIsNoRoom) {
  ModelInferRequest request;
  add_raw_input(request, "x", "UINT8", {100'000}, std::string(100'000, 'x'));
  const auto call = read(request);
  ASSERT_FALSE(call.has_value());
  EXPECT_EQ(call.error().code, ApiCode::payload_too_large);
}

TEST_F(WireReader, FindsTheIdOfARequestThatIsWrongOtherwise) {
  ModelInferRequest request = two_inputs();
  request.mutable_inputs(0)->set_datatype("FP31");
  const Split whole(request.SerializeAsString(), {3, 5, 7});
  EXPECT_EQ(read_request_id(whole.pieces()), "part-17");
  const Split cut(request.SerializeAsString() + "\x0a", {});
  EXPECT_EQ(read_request_id(cut.pieces()), "part-17");
  const Split bad("\x1a\x01\xff", {});
  EXPECT_EQ(read_request_id(bad.pieces()), "");
}

ModelInferRequest any_request() {
  ModelInferRequest request = two_inputs();
  if (*rc::gen::arbitrary<bool>()) {
    (*request.mutable_parameters())["priority"].set_uint64_param(
        *rc::gen::arbitrary<std::uint64_t>());
  }
  const auto numbers = *rc::gen::arbitrary<std::vector<std::int64_t>>();
  const bool raw_contents = *rc::gen::arbitrary<bool>();
  if (!raw_contents) {
    request.clear_inputs();
    request.clear_raw_input_contents();
  }
  const auto count = static_cast<std::int64_t>(numbers.size());
  if (raw_contents) {
    add_raw_input(request, "numbers", "INT64", {count}, raw(numbers));
  } else {
    auto* contents = add_input(request, "numbers", "INT64", {count}).mutable_contents();
    for (const std::int64_t number : numbers) contents->add_int64_contents(number);
    auto* strings = add_input(request, "strings", "BYTES", {count}).mutable_contents();
    for (const std::int64_t number : numbers) strings->add_bytes_contents(std::to_string(number));
  }
  return request;
}

RC_GTEST_PROP(WireReaderProperty, AnySplitOfTheBytesGivesTheSame, ()) {
  CallReader reader;
  const std::string bytes = any_request().SerializeAsString();
  const auto sizes = *rc::gen::container<std::vector<std::size_t>>(
      rc::gen::inRange<std::size_t>(0, bytes.size() / 3 + 2));
  const auto whole = reader.read(bytes);
  const auto split = reader.read(bytes, sizes);
  RC_ASSERT(whole.has_value());
  RC_ASSERT(split.has_value());
  RC_ASSERT(same(*whole, *split));
}

RC_GTEST_PROP(WireReaderProperty, NumbersComeAsTheyWereSent, ()) {
  CallReader reader;
  const ModelInferRequest request = any_request();
  const auto call = reader.read(request);
  RC_ASSERT(call.has_value());
  std::vector<std::int64_t> sent(request.inputs(0).contents().int64_contents().begin(),
                                 request.inputs(0).contents().int64_contents().end());
  const auto& numbers = *std::ranges::find(call->inputs, "numbers", &CallInput::name);
  if (request.raw_input_contents_size() > 0) {
    RC_ASSERT(text(numbers.bytes) == request.raw_input_contents(2));
  } else {
    RC_ASSERT(elements<std::int64_t>(numbers) == sent);
  }
}

TEST_F(WireReader, TakesEveryByteStringWithoutHarm) {
  ModelInferRequest request = two_inputs();
  request.clear_raw_input_contents();
  auto* contents = request.mutable_inputs(0)->mutable_contents();
  for (std::uint32_t i = 0; i < 6; ++i) contents->add_uint_contents(i);
  request.mutable_inputs(1)->mutable_contents()->add_fp32_contents(1);
  (*request.mutable_parameters())["timeout"].set_int64_param(1000);
  request.add_outputs()->set_name("y");
  const std::array bases{two_inputs().SerializeAsString(), request.SerializeAsString()};
  std::mt19937 random(20240611);
  int accepted = 0;
  constexpr int kRounds = 20'000;
  for (int i = 0; i < kRounds; ++i) {
    const std::string bytes = mutated(bases[random() % bases.size()], random);
    const auto call = read(bytes, {random() % 20, random() % 20, random() % 20});
    accepted += call ? 1 : 0;
    ASSERT_TRUE(call || call.error().code == ApiCode::invalid_argument ||
                call.error().code == ApiCode::payload_too_large);
    if (!call) continue;
    // What protobuf makes of it, written anew, is the same.
    ModelInferRequest parsed;
    ASSERT_TRUE(parsed.ParseFromString(bytes));
    const auto again = read(parsed);
    ASSERT_TRUE(again && same(*call, *again));
  }
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, kRounds);
}

}  // namespace
}  // namespace takt::server::rpc
