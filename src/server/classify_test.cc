// SPDX-License-Identifier: Apache-2.0
// The largest values of a tensor, row by row.
#include "server/classify.h"

#include "server/server_fixture.h"

#include <limits>

namespace takt::server {
namespace {

using server_test::bytes_of;
using server_test::strings_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Case {
  DataType type = DataType::fp32;
  Shape shape;
  std::vector<std::byte> bytes;
  int classes = 1;
  bool batched = false;
  std::vector<std::string> labels{};
};

ApiResult<AnswerOutput> classified(const Case& given) {
  AnswerOutput out;
  out.name = "scores";
  return classify(std::move(out), {given.type, given.shape, given.bytes}, given.classes,
                  given.batched, given.labels);
}

std::vector<std::string> classes_of(const Case& given) {
  const auto made = classified(given);
  EXPECT_TRUE(made) << (made ? "" : made.error().message);
  if (!made) return {};
  EXPECT_EQ(made->type, DataType::bytes);
  EXPECT_EQ(made->bytes.data(), made->made.data());
  return strings_of(made->bytes);
}

template <typename T>
std::vector<std::string> largest_of(DataType type, const std::vector<T>& values, int classes = 2) {
  return classes_of({type, {static_cast<std::int64_t>(values.size())}, bytes_of(values), classes});
}

TEST(Classify, TheLargestComeFirstWithTheirPlace) {
  EXPECT_THAT(largest_of<float>(DataType::fp32, {0.25, 4, -1, 0.5}, 3),
              ElementsAre("4.000000:1", "0.500000:3", "0.250000:0"));
}

TEST(Classify, LabelsFollowWhereThereAreSome) {
  EXPECT_THAT(
      classes_of(
          {DataType::fp32, {3}, bytes_of<float>({1, 2, 3}), 3, false, {"good", "bad: hole"}}),
      ElementsAre("3.000000:2", "2.000000:1:bad: hole", "1.000000:0:good"));
}

TEST(Classify, EqualValuesStayInTheirOrder) {
  EXPECT_THAT(largest_of<std::int32_t>(DataType::int32, {7, 9, 7, 9, 7}, 5),
              ElementsAre("9:1", "9:3", "7:0", "7:2", "7:4"));
  EXPECT_THAT(largest_of<float>(DataType::fp32, {-0.0F, 0.0F}),
              ElementsAre("-0.000000:0", "0.000000:1"));
}

TEST(Classify, ANanComesLast) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_THAT(largest_of<float>(DataType::fp32, {nan, -infinity, nan, infinity, 0}, 5),
              ElementsAre("inf:3", "0.000000:4", "-inf:1", "nan:0", "nan:2"));
}

TEST(Classify, EachRowOfABatchHasItsOwn) {
  const Case given{DataType::int64, {2, 3}, bytes_of<std::int64_t>({1, 2, 3, 6, 5, 4}), 2, true};
  EXPECT_THAT(classes_of(given), ElementsAre("3:2", "2:1", "6:0", "5:1"));
  EXPECT_EQ(classified(given)->shape, (Shape{2, 2}));
}

TEST(Classify, WithoutABatchDimensionTheTensorIsOneRow) {
  const Case given{DataType::int64, {2, 3}, bytes_of<std::int64_t>({1, 2, 3, 6, 5, 4}), 2, false};
  EXPECT_THAT(classes_of(given), ElementsAre("6:3", "5:4"));
  EXPECT_EQ(classified(given)->shape, (Shape{2}));
}

TEST(Classify, NoMoreClassesComeThanThereAreValues) {
  const Case given{DataType::int64, {2, 1}, bytes_of<std::int64_t>({1, 2}), 1 << 20, true};
  EXPECT_THAT(classes_of(given), ElementsAre("1:0", "2:0"));
  EXPECT_EQ(classified(given)->shape, (Shape{2, 1}));
}

TEST(Classify, AnEmptyTensorHasNone) {
  for (const Shape& shape : {Shape{0, 4}, Shape{4, 0}, Shape{0}}) {
    const Case given{DataType::fp32, shape, {}, 2, true};
    EXPECT_THAT(classes_of(given), IsEmpty()) << takt::to_string(shape);
    EXPECT_EQ(classified(given)->shape, (Shape{shape[0], 0})) << takt::to_string(shape);
  }
}

TEST(Classify, AScalarIsItsOwnClass) {
  EXPECT_THAT(classes_of({DataType::fp32, {}, bytes_of<float>({2})}), ElementsAre("2.000000:0"));
}

TEST(Classify, EveryDatatypeIsReadAsWhatItIs) {
  EXPECT_THAT(largest_of<std::uint8_t>(DataType::boolean, {0, 1}), ElementsAre("1:1", "0:0"));
  EXPECT_THAT(largest_of<std::uint8_t>(DataType::uint8, {127, 255}), ElementsAre("255:1", "127:0"));
  EXPECT_THAT(largest_of<std::uint16_t>(DataType::uint16, {1, 65535}),
              ElementsAre("65535:1", "1:0"));
  EXPECT_THAT(largest_of<std::uint32_t>(DataType::uint32, {1, 4294967295U}),
              ElementsAre("4294967295:1", "1:0"));
  EXPECT_THAT(largest_of<std::uint64_t>(DataType::uint64, {1, ~std::uint64_t{0}}),
              ElementsAre("18446744073709551615:1", "1:0"));
  EXPECT_THAT(largest_of<std::int8_t>(DataType::int8, {-128, 127}), ElementsAre("127:1", "-128:0"));
  EXPECT_THAT(largest_of<std::int16_t>(DataType::int16, {-32768, 5}),
              ElementsAre("5:1", "-32768:0"));
  EXPECT_THAT(largest_of<std::int32_t>(DataType::int32, {-7, 5}), ElementsAre("5:1", "-7:0"));
  EXPECT_THAT(
      largest_of<std::int64_t>(DataType::int64, {std::numeric_limits<std::int64_t>::min(), 5}),
      ElementsAre("5:1", "-9223372036854775808:0"));
  EXPECT_THAT(largest_of<double>(DataType::fp64, {-0.5, 1e10}),
              ElementsAre("10000000000.000000:1", "-0.500000:0"));
  EXPECT_THAT(largest_of<std::uint16_t>(DataType::fp16, {0xc000, 0x3800}),
              ElementsAre("0.500000:1", "-2.000000:0"));
  EXPECT_THAT(largest_of<std::uint16_t>(DataType::bf16, {0xc020, 0x3f80}),
              ElementsAre("1.000000:1", "-2.500000:0"));
}

TEST(Classify, StringsAreRefused) {
  const auto refused = classified({DataType::bytes, {1}, server_test::bytes_of_strings({"a"})});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ApiCode::invalid_argument);
  EXPECT_THAT(refused.error().message, HasSubstr("output 'scores' holds strings"));
}

}  // namespace
}  // namespace takt::server
