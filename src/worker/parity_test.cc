// SPDX-License-Identifier: Apache-2.0
#include "worker/parity.h"

#include "worker/batch_run.h"
#include "worker/instance_fixture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace takt::worker {
namespace {

repository::ReferenceTensor tensor(const std::vector<float>& values) {
  repository::ReferenceTensor made{
      .name = "y", .type = DataType::fp32, .shape = {1, 4}, .bytes = {}};
  made.bytes.resize(values.size() * sizeof(float));
  std::memcpy(made.bytes.data(), values.data(), made.bytes.size());
  return made;
}

repository::Reference doubled() {
  return {.tolerance = {.absolute = 0.01, .relative = 0.001},
          .cases = {{.name = "case_0",
                     .rows = 1,
                     .inputs = {tensor({1, 2, 3, 100})},
                     .outputs = {tensor({2, 4, 6, 200})}}}};
}

Result<void> parity_of(const repository::Reference& reference, float factor) {
  ScaleInstance instance(factor);
  const Signature signature = scale_signature(4);
  return check_parity(reference, signature, instance, *output_bytes(signature, 0));
}

TEST(Parity, AVersionThatGivesItsReferencesPasses) {
  EXPECT_TRUE(parity_of(doubled(), 2.0F));
  EXPECT_TRUE(parity_of(doubled(), 2.001F)) << "0.01 + 0.001 * |expected| is allowed";
}

TEST(Parity, AMismatchNamesCaseOutputElementAndTolerance) {
  const Result<void> checked = parity_of(doubled(), 2.1F);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().kind, ErrorKind::invalid_input);
  for (const char* part : {"reference/case_0", "'y'", "element 0", "2.1", "0.01"}) {
    EXPECT_NE(checked.error().message.find(part), std::string::npos) << checked.error().message;
  }
}

TEST(Parity, UnsignedBytesAreCastToTheTypeOfTheInput) {
  repository::Reference reference = doubled();
  reference.cases[0].inputs[0] = {
      .name = "",
      .type = DataType::uint8,
      .shape = {1, 4},
      .bytes = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{100}}};
  EXPECT_TRUE(parity_of(reference, 2.0F));
}

TEST(Parity, NothingFitsANotANumber) {
  const repository::ReferenceTensor one = tensor({1, 1, 1, 1});
  const repository::ReferenceTensor nan =
      tensor({1, std::numeric_limits<float>::quiet_NaN(), 1, 1});
  const repository::Tolerance wide{.absolute = 1e9, .relative = 1};
  EXPECT_EQ(first_mismatch(one.view(), one.view(), wide), "");
  EXPECT_NE(first_mismatch(one.view(), nan.view(), wide), "");
  EXPECT_NE(first_mismatch(nan.view(), nan.view(), wide), "");
}

TEST(Parity, HalfPrecisionIsCompared) {
  const auto halves = [](DataType type, std::vector<std::uint16_t> bits) {
    repository::ReferenceTensor made{.name = "", .type = type, .shape = {2}, .bytes = {}};
    made.bytes.resize(bits.size() * 2);
    std::memcpy(made.bytes.data(), bits.data(), made.bytes.size());
    return made;
  };
  const repository::Tolerance tolerance{.absolute = 0.01, .relative = 0};
  // 1.5 and -2^-24, the smallest subnormal number; then 1.5625.
  const auto fp16 = halves(DataType::fp16, {0x3e00, 0x8001});
  EXPECT_EQ(first_mismatch(fp16.view(), fp16.view(), tolerance), "");
  const auto other = halves(DataType::fp16, {0x3e40, 0x8001});
  EXPECT_NE(first_mismatch(fp16.view(), other.view(), tolerance).find("1.5625, expected 1.5"),
            std::string::npos);
  const auto bf16 = halves(DataType::bf16, {0x3fc0, 0x4000});
  const auto far = halves(DataType::bf16, {0x3fc0, 0x4040});
  EXPECT_NE(first_mismatch(bf16.view(), far.view(), tolerance).find("element 1 is 3, expected 2"),
            std::string::npos);
}

TEST(Parity, EqualInfinitiesFit) {
  const float inf = std::numeric_limits<float>::infinity();
  const auto endless = tensor({inf, -inf, 1, 1});
  EXPECT_EQ(first_mismatch(endless.view(), endless.view(), {}), "");
  EXPECT_NE(first_mismatch(endless.view(), tensor({-inf, -inf, 1, 1}).view(), {}), "");
}

// Batches may run by other code than single rows.
TEST(Parity, ABatchThatMixesItsRowsIsFound) {
  ScaleInstance instance(2.0F);
  instance.wrong_in_batches = true;
  const Signature signature = scale_signature(4);
  const auto bytes = *output_bytes(signature, 0);
  const Result<void> checked = check_parity(doubled(), signature, instance, bytes);
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().message.find("in a batch of two"), std::string::npos);
  const Signature single = scale_signature(1);
  EXPECT_TRUE(check_parity(doubled(), single, instance, bytes));
}

TEST(Parity, StringsMustBeTheSame) {
  const auto strings = [](std::string_view text, Shape shape) {
    const auto bytes = std::as_bytes(std::span(text));
    return repository::ReferenceTensor{.name = "",
                                       .type = DataType::bytes,
                                       .shape = std::move(shape),
                                       .bytes = {bytes.begin(), bytes.end()}};
  };
  const auto expected = strings({"\1\0\0\0a\2\0\0\0bc", 11}, {2});
  EXPECT_EQ(first_mismatch(expected.view(), expected.view(), {}), "");
  const auto other = strings({"\1\0\0\0a\2\0\0\0bd", 11}, {2});
  EXPECT_TRUE(first_mismatch(expected.view(), other.view(), {})
                  .starts_with("element 1 is 'bd', expected 'bc': the model judges differently"));
  const auto fewer = strings({"\1\0\0\0a", 5}, {2});
  EXPECT_TRUE(first_mismatch(expected.view(), fewer.view(), {})
                  .starts_with("element 1 is missing, expected 'bc'"));
}

TEST(Parity, AnotherShapeIsAMismatch) {
  repository::ReferenceTensor flat = tensor({1, 1, 1, 1});
  flat.shape = {4};
  EXPECT_NE(first_mismatch(tensor({1, 1, 1, 1}).view(), flat.view(), {}).find("[4]"),
            std::string::npos);
}

}  // namespace
}  // namespace takt::worker
