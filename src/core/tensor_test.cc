// SPDX-License-Identifier: Apache-2.0
#include "core/tensor.h"

#include <gtest/gtest.h>

namespace takt {
namespace {

TEST(DataType, NamesOfTheProtocolAndOfConfigPbtxtAreRead) {
  EXPECT_EQ(parse_data_type("FP32").value(), DataType::fp32);
  EXPECT_EQ(parse_data_type("TYPE_UINT8").value(), DataType::uint8);
  EXPECT_EQ(parse_data_type("TYPE_STRING").value(), DataType::bytes);
  EXPECT_EQ(parse_data_type("float").error().kind, ErrorKind::invalid_input);
}

TEST(DataType, EveryTypeReadsBackItsOwnName) {
  for (int i = 0; i <= static_cast<int>(DataType::bytes); ++i) {
    const auto type = static_cast<DataType>(i);
    EXPECT_EQ(parse_data_type(to_string(type)).value(), type);
  }
}

TEST(Shape, BytesAreElementsTimesSize) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(byte_size(DataType::fp32, shape).value(), 96U);
  EXPECT_EQ(to_string(shape), "[2,3,4]");
  EXPECT_EQ(byte_size(DataType::int64, Shape{}).value(), 8U) << "a scalar has one element";
}

TEST(Shape, AHostileShapeIsRefusedInsteadOfOverflowing) {
  EXPECT_FALSE(byte_size(DataType::fp32, Shape{-1, 3}).has_value());
  EXPECT_FALSE(byte_size(DataType::fp32, Shape{1LL << 32, 1LL << 32, 1LL << 32}).has_value());
  EXPECT_FALSE(byte_size(DataType::bytes, Shape{1}).has_value());
  EXPECT_EQ(byte_size(DataType::fp32, Shape{0, 1LL << 39}).value(), 0U);
  EXPECT_FALSE(element_count(Shape{0, -1}).has_value())
      << "a zero does not excuse a negative dimension";
}

}  // namespace
}  // namespace takt
