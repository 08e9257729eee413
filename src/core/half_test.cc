// SPDX-License-Identifier: Apache-2.0
#include "core/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace takt {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Fp16, KnownBitsAreTheirNumbers) {
  EXPECT_EQ(from_fp16(0x3c00), 1.0F);
  EXPECT_EQ(from_fp16(0xc100), -2.5F);
  EXPECT_EQ(from_fp16(0x7bff), 65504.0F) << "the largest";
  EXPECT_EQ(from_fp16(0x0400), 0x1p-14F) << "the smallest normal one";
  EXPECT_EQ(from_fp16(0x8001), -0x1p-24F) << "the smallest of all";
  EXPECT_EQ(from_fp16(0x7c00), kInfinity);
  EXPECT_TRUE(std::isnan(from_fp16(0x7c01)));
}

TEST(Fp16, EveryNumberComesBack) {
  for (int bits = 0; bits <= 0xffff; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = from_fp16(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(from_fp16(to_fp16(value))));
    } else {
      ASSERT_EQ(to_fp16(value), half) << value;
    }
  }
}

// Between each number and the next: the middle goes to the even one, what lies beside it to its own.
TEST(Fp16, TheNearestIsTakenAndOfTwoTheEven) {
  for (std::uint16_t half = 0; half < 0x7bff; ++half) {
    const auto next = static_cast<std::uint16_t>(half + 1);
    const float middle = (from_fp16(half) + from_fp16(next)) / 2;
    ASSERT_EQ(to_fp16(middle), half % 2 == 0 ? half : next) << middle;
    ASSERT_EQ(to_fp16(std::nextafter(middle, 0.0F)), half) << middle;
    ASSERT_EQ(to_fp16(std::nextafter(middle, kInfinity)), next) << middle;
  }
}

TEST(Fp16, WhatIsTooLargeIsInfinity) {
  EXPECT_EQ(to_fp16(65519.0F), 0x7bff);
  EXPECT_EQ(to_fp16(65520.0F), 0x7c00);
  EXPECT_EQ(to_fp16(-1e30F), 0xfc00);
  EXPECT_EQ(to_fp16(-kInfinity), 0xfc00);
}

TEST(Bf16, IsTheUpperHalfOfAFloat) {
  EXPECT_EQ(from_bf16(0x3fc0), 1.5F);
  for (int bits = 0; bits <= 0xffff; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = from_bf16(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(from_bf16(to_bf16(value))));
    } else {
      ASSERT_EQ(to_bf16(value), half) << value;
    }
  }
}

TEST(Bf16, TheNearestIsTakenAndOfTwoTheEven) {
  EXPECT_EQ(to_bf16(1.00390625F), 0x3f80) << "half way from 1 to 1.0078125";
  EXPECT_EQ(to_bf16(1.01171875F), 0x3f82) << "half way from there to 1.015625";
  EXPECT_EQ(to_bf16(std::nextafter(1.00390625F, 2.0F)), 0x3f81);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()), 0x7f80);
}

}  // namespace
}  // namespace takt
