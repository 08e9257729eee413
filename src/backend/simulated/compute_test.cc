// SPDX-License-Identifier: Apache-2.0
// What simulated.compute makes of a request, and which models it refuses.
#include "backend/simulated/compute.h"

#include "core/half.h"
#include "core/string_tensor.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

namespace takt::simulated {
namespace {

using Strings = std::vector<std::string>;

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> bytes_of(const Strings& strings) {
  std::vector<std::byte> bytes(1024);
  std::size_t used = 0;
  for (const std::string& element : strings) used = put_string(bytes, used, element).value();
  bytes.resize(used);
  return bytes;
}

Strings strings_in(const OutputBuffer& buffer) {
  StringElements elements(buffer.view().bytes);
  Strings found;
  while (const auto element = elements.next()) found.emplace_back(*element);
  EXPECT_TRUE(elements.ok());
  return found;
}

template <typename T>
std::vector<T> numbers_in(const OutputBuffer& buffer) {
  std::vector<T> numbers(buffer.bytes_used / sizeof(T));
  std::memcpy(numbers.data(), buffer.room.data(), buffer.bytes_used);
  return numbers;
}

Signature of_type(DataType type, std::size_t inputs, std::size_t outputs, const Shape& shape) {
  Signature signature{.inputs = {}, .outputs = {}, .batch_max = 8};
  for (std::size_t i = 0; i < inputs; ++i)
    signature.inputs.push_back({"in" + std::to_string(i), type, shape});
  for (std::size_t i = 0; i < outputs; ++i)
    signature.outputs.push_back({"out" + std::to_string(i), type, shape});
  return signature;
}

// One request of one row; each output has `room` bytes.
class SimulatedCompute : public testing::Test {
 protected:
  template <typename T>
  Result<void> add_sub(DataType type, const std::vector<T>& a, const std::vector<T>& b) {
    signature_ = of_type(type, 2, 2, {-1});
    inputs_ = {bytes_of(a), bytes_of(b)};
    sizes_ = {a.size(), b.size()};
    return run(Compute::add_sub, type);
  }
  Result<void> identity(DataType type, std::vector<std::vector<std::byte>> inputs,
                        std::vector<std::size_t> sizes) {
    signature_ = of_type(type, inputs.size(), inputs.size(), {-1});
    inputs_ = std::move(inputs);
    sizes_ = std::move(sizes);
    return run(Compute::identity, type);
  }
  std::string refusal(const Result<void>& result) {
    if (result) return "accepted";
    EXPECT_EQ(result.error().kind, ErrorKind::invalid_input);
    return result.error().message;
  }

  std::size_t room_ = 256;
  std::vector<OutputBuffer> outputs_;

 private:
  Result<void> run(Compute rule, DataType type) {
    std::vector<InputData> inputs;
    inputs.reserve(inputs_.size());
    for (std::size_t i = 0; i < inputs_.size(); ++i)
      inputs.emplace_back(TensorView{type, {1, static_cast<std::int64_t>(sizes_[i])}, inputs_[i]});
    memory_.assign(signature_.outputs.size(), std::vector<std::byte>(room_));
    outputs_.clear();
    for (std::vector<std::byte>& memory : memory_) outputs_.push_back({.room = memory});
    return compute(rule, signature_, {inputs, outputs_, 1});
  }

  Signature signature_;
  std::vector<std::vector<std::byte>> inputs_;
  std::vector<std::size_t> sizes_;  // elements
  std::vector<std::vector<std::byte>> memory_;
};

TEST_F(SimulatedCompute, IdentityGivesEachInputBackWithItsShape) {
  const std::vector<float> first{1, -2, 3};
  const std::vector<float> second{4};
  ASSERT_TRUE(identity(DataType::fp32, {bytes_of(first), bytes_of(second)}, {3, 1}));
  EXPECT_EQ(numbers_in<float>(outputs_[0]), first);
  EXPECT_EQ(outputs_[0].shape, (Shape{1, 3}));
  EXPECT_EQ(outputs_[0].type, DataType::fp32);
  EXPECT_EQ(numbers_in<float>(outputs_[1]), second);
  EXPECT_EQ(outputs_[1].shape, (Shape{1, 1}));
}

TEST_F(SimulatedCompute, IdentityGivesStringsBackByteForByte) {
  const Strings strings{"", std::string("\0\xff", 2), "takt"};
  ASSERT_TRUE(identity(DataType::bytes, {bytes_of(strings)}, {3}));
  EXPECT_EQ(strings_in(outputs_[0]), strings);
  EXPECT_EQ(outputs_[0].bytes_used, 3 * 4 + 6);
  EXPECT_EQ(outputs_[0].shape, (Shape{1, 3}));
}

TEST_F(SimulatedCompute, IdentityFillsItsRoomAndNoMore) {
  const Strings strings{"takt"};
  room_ = 8;
  EXPECT_TRUE(identity(DataType::bytes, {bytes_of(strings)}, {1}));
  room_ = 7;
  EXPECT_EQ(refusal(identity(DataType::bytes, {bytes_of(strings)}, {1})),
            "output 'out0' needs more than its room of 7 bytes; send less, or raise the parameter "
            "output_bytes_max in config.pbtxt");
}

TEST_F(SimulatedCompute, IntegersAreAddedAndSubtractedAndWrap) {
  const auto check = [this]<typename T>(DataType type, T /*of the type*/) {
    SCOPED_TRACE(takt::to_string(type));
    constexpr T kMax = std::numeric_limits<T>::max();
    constexpr T kMin = std::numeric_limits<T>::min();
    // Beside each that wraps lies one into which nothing may carry.
    ASSERT_TRUE(add_sub<T>(type, {kMax, 7, kMin, 7}, {1, 5, 1, 5}));
    EXPECT_EQ(numbers_in<T>(outputs_[0]), (std::vector<T>{kMin, 12, static_cast<T>(kMin + 1), 12}));
    EXPECT_EQ(numbers_in<T>(outputs_[1]), (std::vector<T>{static_cast<T>(kMax - 1), 2, kMax, 2}));
    EXPECT_EQ(outputs_[1].type, type);
    EXPECT_EQ(outputs_[1].shape, (Shape{1, 4}));
  };
  check(DataType::int8, std::int8_t{});
  check(DataType::int16, std::int16_t{});
  check(DataType::int32, std::int32_t{});
  check(DataType::int64, std::int64_t{});
  check(DataType::uint8, std::uint8_t{});
  check(DataType::uint16, std::uint16_t{});
  check(DataType::uint32, std::uint32_t{});
  check(DataType::uint64, std::uint64_t{});
}

TEST_F(SimulatedCompute, FloatingPointNumbersAreAddedAndSubtracted) {
  ASSERT_TRUE(add_sub<float>(DataType::fp32, {1.5F, -1}, {0.25F, 1e30F}));
  EXPECT_EQ(numbers_in<float>(outputs_[0]), (std::vector<float>{1.75F, 1e30F}));
  EXPECT_EQ(numbers_in<float>(outputs_[1]), (std::vector<float>{1.25F, -1e30F}));
  ASSERT_TRUE(add_sub<double>(DataType::fp64, {1e-300}, {2e-300}));
  EXPECT_EQ(numbers_in<double>(outputs_[1]), (std::vector<double>{-1e-300}));
  using Halves = std::vector<std::uint16_t>;
  ASSERT_TRUE(add_sub<std::uint16_t>(DataType::fp16, {to_fp16(1.5F)}, {to_fp16(0.25F)}));
  EXPECT_EQ(numbers_in<std::uint16_t>(outputs_[0]), Halves{to_fp16(1.75F)});
  EXPECT_EQ(numbers_in<std::uint16_t>(outputs_[1]), Halves{to_fp16(1.25F)});
  ASSERT_TRUE(add_sub<std::uint16_t>(DataType::bf16, {to_bf16(1.5F)}, {to_bf16(0.25F)}));
  EXPECT_EQ(numbers_in<std::uint16_t>(outputs_[0]), Halves{to_bf16(1.75F)});
}

TEST_F(SimulatedCompute, StringsAreAddedAsDecimalIntegersAndWrap) {
  const std::string max = "9223372036854775807";
  const std::string min = "-9223372036854775808";
  ASSERT_TRUE(
      add_sub<std::string>(DataType::bytes, {"12", "-3", max, min}, {"5", "007", "1", "1"}));
  EXPECT_EQ(strings_in(outputs_[0]), (Strings{"17", "4", min, "-9223372036854775807"}));
  EXPECT_EQ(strings_in(outputs_[1]), (Strings{"7", "-10", "9223372036854775806", max}));
  EXPECT_EQ(outputs_[0].shape, (Shape{1, 4}));
  EXPECT_EQ(outputs_[0].type, DataType::bytes);
}

TEST_F(SimulatedCompute, AStringThatIsNoIntegerIsNamed) {
  const auto refused = [this](const std::string& text) {
    return refusal(add_sub<std::string>(DataType::bytes, {"1", "2"}, {"3", text}));
  };
  EXPECT_EQ(refused("4x"), "input 'in1': element 1 is '4x'; expected a decimal integer of 64 bits");
  for (const std::string text : {"", " 4", "4 ", "+4", "0x4", "4.0", "9223372036854775808"}) {
    EXPECT_NE(refused(text).find("element 1 is '" + text + "'"), std::string::npos) << text;
  }
  EXPECT_NE(refusal(add_sub<std::string>(DataType::bytes, {"one"}, {"2"})).find("input 'in0'"),
            std::string::npos);
}

TEST_F(SimulatedCompute, StringsThatDoNotFitAreRefused) {
  room_ = 6;
  EXPECT_TRUE(add_sub<std::string>(DataType::bytes, {"12"}, {"5"}));
  EXPECT_NE(refusal(add_sub<std::string>(DataType::bytes, {"99"}, {"5"})).find("output 'out0'"),
            std::string::npos);
  EXPECT_NE(refusal(add_sub<std::string>(DataType::bytes, {"-9"}, {"5"})).find("output 'out1'"),
            std::string::npos);
}

TEST_F(SimulatedCompute, NumbersThatDoNotFitAreRefused) {
  room_ = 8;
  EXPECT_TRUE(add_sub<float>(DataType::fp32, {1, 2}, {3, 4}));
  room_ = 7;
  EXPECT_NE(refusal(add_sub<float>(DataType::fp32, {1, 2}, {3, 4})).find("room of 7 bytes"),
            std::string::npos);
}

TEST_F(SimulatedCompute, InputsOfOpenSizeMustHaveTheSame) {
  EXPECT_EQ(refusal(add_sub<float>(DataType::fp32, {1, 2}, {3})),
            "inputs 'in0' [1,2] and 'in1' [1,1] differ in shape");
}

std::string refused_model(Compute rule, Signature signature) {
  BatchRules rules = make_batch_rules(std::move(signature), {}).value();
  const Result<void> checked = check_compute(rule, rules);
  if (checked) return "accepted";
  EXPECT_EQ(checked.error().kind, ErrorKind::invalid_input);
  return checked.error().message;
}

TEST(SimulatedComputeModel, IdentityNeedsAnOutputLikeEachInput) {
  const auto refused = [](Signature signature) {
    return refused_model(Compute::identity, std::move(signature));
  };
  EXPECT_EQ(refused(of_type(DataType::bytes, 1, 1, {-1})), "accepted");
  EXPECT_EQ(refused(of_type(DataType::boolean, 3, 3, {2})), "accepted");
  EXPECT_EQ(refused(of_type(DataType::fp32, 2, 1, {4})),
            "parameter 'simulated.compute', value 'identity': expected as many outputs as inputs, "
            "the model has 2 and 1");
  Signature other = of_type(DataType::fp32, 2, 2, {4});
  other.outputs[1].type = DataType::int32;
  EXPECT_NE(refused(other).find("'out1' is INT32[4], but 'in1' is FP32[4]"), std::string::npos);
  other = of_type(DataType::fp32, 1, 1, {-1});
  other.outputs[0].shape = {4};
  EXPECT_NE(refused(other).find("'out0' is FP32[4], but 'in0' is FP32[-1]"), std::string::npos);
}

TEST(SimulatedComputeModel, AddSubNeedsTwoInputsAndTwoOutputsOfOneKindOfNumber) {
  const auto refused = [](Signature signature) {
    return refused_model(Compute::add_sub, std::move(signature));
  };
  EXPECT_EQ(refused(of_type(DataType::int32, 2, 2, {16})), "accepted");
  EXPECT_EQ(refused(of_type(DataType::bytes, 2, 2, {16})), "accepted");
  EXPECT_NE(refused(of_type(DataType::int32, 2, 1, {16})).find("the model has 2 and 1"),
            std::string::npos);
  EXPECT_NE(refused(of_type(DataType::int32, 1, 2, {16})).find("the model has 1 and 2"),
            std::string::npos);
  EXPECT_NE(refused(of_type(DataType::boolean, 2, 2, {16})).find("'in0' is BOOL[16]; expected an"),
            std::string::npos);
  for (const std::size_t odd : {0U, 1U, 2U}) {
    Signature other = of_type(DataType::int32, 2, 2, {16});
    (odd == 0 ? other.inputs[1] : other.outputs[odd - 1]).type = DataType::int64;
    EXPECT_NE(refused(other).find("INT64[16], but 'in0' is INT32[16]"), std::string::npos);
  }
}

TEST(SimulatedComputeModel, ImagesCannotBeComputedWith) {
  const std::vector<InputPlan> plans{{"in0", ImagePreprocess{}}};
  const auto rules = make_batch_rules(of_type(DataType::fp32, 1, 1, {1, 8, 8}), plans);
  const Result<void> checked = check_compute(Compute::identity, rules.value());
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().message.find("'in0' takes images"), std::string::npos)
      << checked.error().message;
}

}  // namespace
}  // namespace takt::simulated
