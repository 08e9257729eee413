// SPDX-License-Identifier: Apache-2.0
#include "config/units.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace takt::config {
namespace {

using namespace std::chrono_literals;

TEST(Units, DurationsNeedAUnit) {
  EXPECT_EQ(parse_duration("500ms").value(), 500ms);
  EXPECT_EQ(parse_duration("1.5 s").value(), 1500ms);
  EXPECT_EQ(parse_duration("250us").value(), 250us);
  EXPECT_EQ(parse_duration("2min").value(), 120s);

  const Result<Duration> bare = parse_duration("500");
  ASSERT_FALSE(bare);
  EXPECT_NE(bare.error().message.find("has no unit"), std::string::npos);
  EXPECT_NE(bare.error().message.find("40ms"), std::string::npos)
      << "the message shows how to write one";
  EXPECT_FALSE(parse_duration("-5ms"));
  EXPECT_FALSE(parse_duration("1e300s"));
  EXPECT_FALSE(parse_duration("nan s"));
  EXPECT_FALSE(parse_duration("ms"));
}

TEST(Units, SizesArePowersOf1024) {
  EXPECT_EQ(parse_bytes("64KiB").value(), 65536U);
  EXPECT_EQ(parse_bytes("8 MiB").value(), 8U << 20U);
  const Result<std::size_t> decimal = parse_bytes("8MB");
  ASSERT_FALSE(decimal);
  EXPECT_NE(decimal.error().message.find("MiB"), std::string::npos);
}

TEST(Units, RatesArePerTime) {
  EXPECT_DOUBLE_EQ(parse_rate("12.5/s").value(), 12.5);
  EXPECT_DOUBLE_EQ(parse_rate("600/min").value(), 10);
  EXPECT_FALSE(parse_rate("0/s"));
  EXPECT_FALSE(parse_rate("12"));
}

TEST(Units, NumbersMayBeFractions) {
  EXPECT_DOUBLE_EQ(parse_number("1/255").value(), 1.0 / 255);
  EXPECT_DOUBLE_EQ(parse_number("0.25").value(), 0.25);
  EXPECT_FALSE(parse_number("1/0"));
  EXPECT_FALSE(parse_number("half"));
  EXPECT_FALSE(parse_number("0.5ms"));
}

TEST(Units, CpusAreANumberOrARange) {
  EXPECT_EQ(parse_cpus("3").value(), std::vector{3});
  EXPECT_EQ(parse_cpus("0-2").value(), (std::vector{0, 1, 2}));
  for (const char* text : {"", "-1", "2-1", "1-", "a", "0-4096", "1.5", "0-1,4"}) {
    const auto cpus = parse_cpus(text);
    ASSERT_FALSE(cpus) << text;
    EXPECT_NE(cpus.error().message.find("0-7"), std::string::npos) << cpus.error().message;
  }
}

}  // namespace
}  // namespace takt::config
